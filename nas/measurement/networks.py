"""Networks measured on a real device, for people who calibrate a model of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from evaluators.devices.catalog import open_device
from evaluators.devices.device import Device, DeviceError, DeviceQuarantined, LatencyMeasurement
from evaluators.devices.retrying import RetryingDevice
from hardware_models.calibrate import suggest_networks
from hardware_models.measured.latency_csv import COLUMNS, csv_row
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


def measure_network(graph: Graph, device: str | Device, *, seed: int = 0) -> LatencyMeasurement:
    """One network on a device, given by address or as an object. Raises ``DeviceError``, ``AddressError``."""
    raw_device = open_device(device) if isinstance(device, str) else device
    try:
        return RetryingDevice(raw_device).measure(graph, seed=seed)
    finally:
        raw_device.close()


def measured_network(space: Space, genotype: Genotype, device: Device, seed: int) -> MeasuredNetwork:
    """One network of a space on a device that is open. Raises ``DeviceError``."""
    graph = space.graph(genotype)
    found = device.measure(graph, seed=seed)
    return MeasuredNetwork(
        space.format(genotype),
        graph,
        found.latency_ms,
        space,
        genotype,
        found.std_ms,
        source=found.source,
        remark="; ".join(found.warnings),
    )


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
                    network = measured_network(loaded, genotype, retrying_device, seed)
                except DeviceQuarantined:
                    raise
                except DeviceError as error:
                    report(f"network {number} could not be measured: {error}")
                    continue
                writer.writerow(csv_row(network, space, loaded.format(genotype)))
                file.flush()
                measured_count += 1
                report(f"{number} of {samples}: {network.latency_ms:.3g} ms")
    finally:
        raw_device.close()
    if not measured_count:
        raise DeviceError(f"none of {samples} networks could be measured on {retrying_device.name}")
    return measured_count
