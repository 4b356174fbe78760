"""Networks measured on a real device, for people who calibrate a model of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from evaluators.devices.catalog import open_device
from evaluators.devices.device import Device, DeviceError, DeviceQuarantined, LatencyMeasurement
from evaluators.devices.retrying import RetryingDevice
from hardware_models.calibrate import suggest_networks
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph

COLUMNS = ("space", "architecture", "latency_ms", "std_ms", "source", "remark")


def measure_network(graph: Graph, device: str | Device, *, seed: int = 0) -> LatencyMeasurement:
    """One network on a device, given by address or as an object. Raises ``DeviceError``, ``AddressError``."""
    raw_device = open_device(device) if isinstance(device, str) else device
    try:
        return RetryingDevice(raw_device).measure(graph, seed=seed)
    finally:
        raw_device.close()


def measure_samples(
    space: str,
    device: str | Device,
    samples: int,
    to: Path,
    *,
    seed: int = 0,
    report: Callable[[str], None] = lambda text: None,
) -> int:
    """Measure the most informative networks of a space into a CSV file, a row as soon as it is measured; how many.

    A network that could not be measured is reported and left out. Raises ``DeviceError`` where the device fails too
    often in a row or none could be measured, ``OSError`` where the file cannot be written.
    """
    loaded = load_space(space)
    raw_device = open_device(device) if isinstance(device, str) else device
    retrying_device, measured_count = RetryingDevice(raw_device, report=report), 0
    try:
        with to.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for number, genotype in enumerate(suggest_networks(loaded, samples, seed=seed), start=1):
                try:
                    measurement = retrying_device.measure(loaded.graph(genotype), seed=seed)
                except DeviceQuarantined:
                    raise
                except DeviceError as error:
                    report(f"network {number} could not be measured: {error}")
                    continue
                text = loaded.format(genotype)
                figures = (
                    f"{measurement.latency_ms:.5g}",
                    f"{measurement.std_ms:.3g}",
                    measurement.source,
                    "; ".join(measurement.warnings),
                )
                writer.writerow((space, text, *figures))
                file.flush()
                measured_count += 1
                report(f"{number} of {samples}: {measurement.latency_ms:.3g} ms")
    finally:
        raw_device.close()
    if not measured_count:
        raise DeviceError(f"none of {samples} networks could be measured on {retrying_device.name}")
    return measured_count
