"""Operations of a space measured one by one on a real device, for people who make a table of it.

Each is the difference of two tiny networks (``operations_alone``), measured in turns, by the median of these
differences. A few whole networks are measured too, from which the table gets its overheads and its interval.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, pstdev

from evaluators.devices.catalog import open_device
from evaluators.devices.device import Device, DeviceError, DeviceQuarantined
from evaluators.devices.retrying import RetryingDevice
from hardware_models.calibrate import suggest_networks
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT
from hardware_models.operation_table.isolate import OperationInstance, network_pair
from hardware_models.operation_table.operation_csv import COLUMNS
from hardware_models.operation_table.select import networks_of, operation_inventory, select_operations
from search_spaces.catalog import load_space
from search_spaces.graph.operations import GraphError
from search_spaces.space.space import Space

Report = Callable[[str], None]
NETWORKS, ROUNDS = 8, 3
MAX_RELATIVE_DIFFERENCE = 0.03
"""How far apart two rounds may be, as a share, to do without a third."""
CsvLine = tuple[str, ...]


def measure_operations(
    space: str,
    device: str | Device,
    samples: int,
    to: Path,
    *,
    networks: int = NETWORKS,
    rounds: int = ROUNDS,
    seed: int = 0,
    report: Report = lambda text: None,
) -> int:
    """Measure the most informative operations of a space and a few whole networks into a CSV file; how many lines.

    A line is written as soon as it is known. A file that is there is gone on with: what it holds is not measured again.
    What could not be measured is reported and left out. Raises ``DeviceError`` where the device fails too often in a
    row or no operation could be measured, ``HardwareError`` for a file that holds something else, ``OSError``.
    """
    loaded = load_space(space)
    measured_keys = _measured_keys(to, space)
    opened = open_device(device) if isinstance(device, str) else device
    session = _MeasuringSession(RetryingDevice(opened, report=report), rounds, seed, report)
    written = operations = 0
    try:
        with to.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(COLUMNS)
            for number, (key, measure) in enumerate(
                _measurement_plan(session, loaded, space, samples, networks, seed), start=1
            ):
                if key in measured_keys:
                    operations += not key.startswith("=")
                    continue
                line = session.try_measure(key, measure)
                if line is None:
                    continue
                writer.writerow(line)
                file.flush()
                written += 1
                operations += not key.startswith("=")
                report(f"{number} of {samples + networks}: {line[3]} ms, {key.lstrip('=')}")
    finally:
        opened.close()
    if not operations:
        raise DeviceError(f"none of {samples} operations could be measured on {session.device.name}")
    return written


def _measured_keys(to: Path, space: str) -> set[str]:
    """What a file holds already: operations by text, networks by architecture behind an equals sign."""
    if not to.exists():
        return set()
    with to.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if len(lines) < 2:
        to.unlink()
        return set()
    if tuple(lines[0]) != COLUMNS:
        raise ValueError(f"{str(to)!r} holds no measured operations: move it away, or name another with --out")
    return {line[0] or f"={line[2]}" for line in lines[1:] if line[0] or line[1] == space}


def _measurement_plan(
    session: _MeasuringSession, loaded: Space, space: str, samples: int, networks: int, seed: int
) -> list[tuple[str, Callable[[], CsvLine]]]:
    """Everything to measure, whole networks spread among the operations, so that drift falls on both alike."""
    chosen = select_operations(operation_inventory(networks_of(loaded, seed)), samples)
    network_genotypes = suggest_networks(loaded, networks, seed=seed) if networks else []
    tasks: list[tuple[str, Callable[[], CsvLine]]] = [
        (used.operation.text, partial(session.operation, used)) for used in chosen
    ]
    for index, genotype in enumerate(network_genotypes):
        text = loaded.format(genotype)
        spacing = len(chosen) // max(1, len(network_genotypes)) + 1
        network_task = f"={text}", lambda text=text: session.network(loaded, space, text)
        tasks.insert(min(len(tasks), index * spacing), network_task)
    return tasks


class _MeasuringSession:
    """One device, and how it is asked."""

    def __init__(self, device: RetryingDevice, rounds: int, seed: int, report: Report) -> None:
        self.device = device
        self._rounds = rounds
        self._seed = seed
        self._report = report
        self._number_format = device.precision if device.precision in BYTES_PER_ELEMENT else DEFAULT_NUMBER_FORMAT

    def try_measure(self, key: str, measure: Callable[[], CsvLine]) -> CsvLine | None:
        """A line of the file; ``None`` where it could not be measured, which is reported."""
        try:
            return measure()
        except DeviceQuarantined:
            raise
        except (DeviceError, GraphError) as error:
            self._report(f"{key.lstrip('=')} could not be measured: {error}")
            return None

    def operation(self, used: OperationInstance) -> CsvLine:
        """The median over rounds of the difference of its two networks, by copies; 0 where it is not above noise.

        There are no more rounds once two agree.
        """
        pair = network_pair(used)
        found: list[float] = []
        source = warnings = ""
        while len(found) < self._rounds and not (
            len(found) == 2 and abs(found[0] - found[1]) < MAX_RELATIVE_DIFFERENCE * min(found)
        ):
            longer = self.device.measure(pair.longer, seed=self._seed)
            shorter = self.device.measure(pair.shorter, seed=self._seed)
            found.append((longer.latency_ms - shorter.latency_ms) / pair.copies)
            source, warnings = longer.source, "; ".join((*longer.warnings, *shorter.warnings))
        spread = f"{pstdev(found):.3g}"
        figures = (f"{max(0.0, median(found)):.5g}", self._number_format, spread)
        return (used.operation.text, "", "", *figures, source, warnings)

    def network(self, loaded: Space, space: str, text: str) -> CsvLine:
        """One whole network."""
        found = self.device.measure(loaded.graph(loaded.parse(text)), seed=self._seed)
        figures = (f"{found.latency_ms:.5g}", self._number_format, f"{found.std_ms:.3g}")
        return ("", space, text, *figures, found.source, "; ".join(found.warnings))
