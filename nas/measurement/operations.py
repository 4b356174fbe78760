"""Operations of a space measured one by one on a real device, for people who make a table of it.

Each is the median difference of two tiny networks (``operation_table.isolate``), measured in turns. A few whole
networks are measured too, from which the table gets its overheads and its interval.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median, pstdev

from evaluators.devices.catalog import open_device
from evaluators.devices.device import Device, DeviceError, DeviceQuarantined
from evaluators.devices.retrying import RetryingDevice
from hardware_models.calibrate import suggest_networks
from hardware_models.device_file.number_format import BYTES_PER_ELEMENT, DEFAULT_NUMBER_FORMAT
from hardware_models.operation_table.isolate import OperationInstance, network_pair
from hardware_models.operation_table.operation_csv import COLUMNS, MeasuredOperation, network_row, operation_row
from hardware_models.operation_table.select import networks_of, operation_inventory, select_operations
from nas.measurement.networks import measured_network
from search_spaces.catalog import load_space
from search_spaces.graph.operations import GraphError
from search_spaces.space.space import Space

Report = Callable[[str], None]
NETWORKS, ROUNDS = 8, 3
MAX_RELATIVE_DIFFERENCE = 0.03
"""Two rounds that differ by less, relative to the smaller, need no third."""
CsvRow = tuple[str, ...]
_NETWORK_PREFIX = "="  # before the architecture of a whole network, in keys


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
    """Measure the most informative operations of a space and a few whole networks into a CSV file; how many rows.

    A row is written as soon as it is measured. A file that exists is completed: what it holds is not measured again.
    What could not be measured is reported and left out. Raises ``DeviceError`` where the device fails too often in a
    row or no operation could be measured, ``ValueError`` for a file that holds something else, ``OSError``.
    """
    loaded = load_space(space)
    measured_keys = _measured_keys(to, space)
    raw_device = open_device(device) if isinstance(device, str) else device
    session = _MeasuringSession(RetryingDevice(raw_device, report=report), rounds, seed, report)
    row_count = operation_count = 0
    try:
        with to.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(COLUMNS)
            plan = _measurement_plan(session, loaded, space, samples, networks, seed)
            for number, (key, measure) in enumerate(plan, start=1):
                is_operation = not key.startswith(_NETWORK_PREFIX)
                if key in measured_keys:
                    operation_count += is_operation
                    continue
                row = session.try_measure(key, measure)
                if row is None:
                    continue
                writer.writerow(row)
                file.flush()
                row_count += 1
                operation_count += is_operation
                report(f"{number} of {samples + networks}: {row[3]} ms, {key.removeprefix(_NETWORK_PREFIX)}")
    finally:
        raw_device.close()
    if not operation_count:
        raise DeviceError(f"none of {samples} operations could be measured on {session.device.name}")
    return row_count


def _measured_keys(to: Path, space: str) -> set[str]:
    """The keys of what a file holds: operations by text, networks by architecture behind ``_NETWORK_PREFIX``."""
    if not to.exists():
        return set()
    with to.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2:
        to.unlink()
        return set()
    if tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{str(to)!r} holds no measured operations: move it away, or name another with --out")
    return {row[0] or _NETWORK_PREFIX + row[2] for row in rows[1:] if row[0] or row[1] == space}


def _measurement_plan(
    session: _MeasuringSession, loaded: Space, space: str, samples: int, networks: int, seed: int
) -> list[tuple[str, Callable[[], CsvRow]]]:
    """Everything to measure, whole networks spread among the operations, so that drift falls on both alike."""
    operations = select_operations(operation_inventory(networks_of(loaded, seed)), samples)
    network_genotypes = suggest_networks(loaded, networks, seed=seed) if networks else []
    tasks: list[tuple[str, Callable[[], CsvRow]]] = [
        (instance.operation.text, partial(session.operation, instance)) for instance in operations
    ]
    for index, genotype in enumerate(network_genotypes):
        text = loaded.format(genotype)
        spacing = len(operations) // max(1, len(network_genotypes)) + 1
        network_task = _NETWORK_PREFIX + text, partial(session.network, loaded, space, text)
        tasks.insert(min(len(tasks), index * spacing), network_task)
    return tasks


class _MeasuringSession:
    """One device, and how it measures: rounds, seed, number format."""

    def __init__(self, device: RetryingDevice, rounds: int, seed: int, report: Report) -> None:
        self.device = device
        self._rounds = rounds
        self._seed = seed
        self._report = report
        self._number_format = device.precision if device.precision in BYTES_PER_ELEMENT else DEFAULT_NUMBER_FORMAT

    def try_measure(self, key: str, measure: Callable[[], CsvRow]) -> CsvRow | None:
        """A row of the file; ``None`` where it could not be measured, which is reported."""
        try:
            return measure()
        except DeviceQuarantined:
            raise
        except (DeviceError, GraphError) as error:
            self._report(f"{key.removeprefix(_NETWORK_PREFIX)} could not be measured: {error}")
            return None

    def operation(self, instance: OperationInstance) -> CsvRow:
        """The line of one operation."""
        return operation_row(self._measure_operation(instance))

    def _measure_operation(self, instance: OperationInstance) -> MeasuredOperation:
        """The median over rounds of the difference of its two networks, by copies; 0 where it is not above noise.

        There are no more rounds once two agree.
        """
        pair = network_pair(instance)
        differences_ms: list[float] = []
        source = warnings = ""
        while len(differences_ms) < self._rounds and not _agree(differences_ms):
            longer = self.device.measure(pair.longer, seed=self._seed)
            shorter = self.device.measure(pair.shorter, seed=self._seed)
            differences_ms.append((longer.latency_ms - shorter.latency_ms) / pair.copies)
            source, warnings = longer.source, "; ".join((*longer.warnings, *shorter.warnings))
        latency_ms = max(0.0, median(differences_ms))
        return MeasuredOperation(
            instance.operation, latency_ms, self._number_format, pstdev(differences_ms), source, warnings
        )

    def network(self, loaded: Space, space: str, text: str) -> CsvRow:
        """The line of one whole network."""
        network = measured_network(loaded, loaded.parse(text), self.device, self._seed)
        return network_row(network, space, text, self._number_format)


def _agree(rounds_ms: Sequence[float]) -> bool:
    """Whether there are two rounds that are close enough to do without a third."""
    return len(rounds_ms) == 2 and abs(rounds_ms[0] - rounds_ms[1]) < MAX_RELATIVE_DIFFERENCE * min(rounds_ms)
