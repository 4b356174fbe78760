"""Networks measured on a real device, for people who calibrate a model of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from evaluators.devices.catalog import open_device
from evaluators.devices.device import Device, DeviceError, DeviceQuarantined, Measurement
from evaluators.devices.retrying import Flaky
from hardware_models.calibrate import suggest
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph

COLUMNS = ("space", "architecture", "latency_ms", "std_ms", "source", "remark")


def measure_network(graph: Graph, device: str | Device, *, seed: int = 0) -> Measurement:
    """One network on a device, given by address or as an object. Raises ``DeviceError``, ``AddressError``."""
    opened = open_device(device) if isinstance(device, str) else device
    try:
        return Flaky(opened).measure(graph, seed=seed)
    finally:
        opened.close()


def measure_samples(
    space: str,
    device: str | Device,
    samples: int,
    to: Path,
    *,
    seed: int = 0,
    report: Callable[[str], None] = lambda text: None,
) -> int:
    """Measure the most informative networks of a space into a CSV file, a row as soon as it is known; how many.

    A network that could not be measured is reported and left out. Raises ``DeviceError`` where the device fails too
    often in a row or none could be measured, ``OSError`` where the file cannot be written.
    """
    loaded = load_space(space)
    opened = open_device(device) if isinstance(device, str) else device
    flaky, done = Flaky(opened, report=report), 0
    try:
        with to.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for number, genotype in enumerate(suggest(loaded, samples, seed=seed), start=1):
                try:
                    found = flaky.measure(loaded.graph(genotype), seed=seed)
                except DeviceQuarantined:
                    raise
                except DeviceError as error:
                    report(f"network {number} could not be measured: {error}")
                    continue
                text = loaded.format(genotype)
                figures = (f"{found.latency_ms:.5g}", f"{found.std_ms:.3g}", found.source, "; ".join(found.warnings))
                writer.writerow((space, text, *figures))
                file.flush()
                done += 1
                report(f"{number} of {samples}: {found.latency_ms:.3g} ms")
    finally:
        opened.close()
    if not done:
        raise DeviceError(f"none of {samples} networks could be measured on {flaky.name}")
    return done
