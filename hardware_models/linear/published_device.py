"""From a public data set to a learned device: its rates, its errors on networks left out, its device file's header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hardware_models.device_file.header import DeviceHeader
from hardware_models.linear.fit import (
    FitNoise,
    OperationCounter,
    design_matrix,
    fit_linear,
    held_out_coverage,
    held_out_predictions,
    to_rates,
)
from hardware_models.linear.model import LinearModel, Rates, rounded_rates
from hardware_models.measured.datasets import DeviceSource, dataset_networks
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.measured.prediction_error import accuracy_metrics, interval_factor

MAX_NETWORKS = 2500
_FIT_PROGRAM = "hardware_models/linear/fit_published_devices.py"


def source_networks(source: DeviceSource, folder: Path, max_rows: int = MAX_NETWORKS) -> list[MeasuredNetwork]:
    """The networks that a device is learned from. Raises ``HardwareError``."""
    columns = source.readers.items()
    return [network for reader, column in columns for network in dataset_networks(reader, folder, max_rows)[column]]


def fit_published_device(source: DeviceSource, folder: Path, max_rows: int = MAX_NETWORKS) -> dict[str, Rates]:
    """The rates of a device by figure, ``latency`` and perhaps ``energy``. Raises ``HardwareError``."""
    noise, networks = FitNoise(source.scatter, source.spread), source_networks(source, folder, max_rows)
    rates = {"latency": fit_figure(networks, [network.latency_ms for network in networks], noise)}
    if source.energy:
        reader, column = next(iter(source.readers.items()))
        energies = [(n, n.energy_mj) for n in dataset_networks(reader, folder, max_rows)[column] if n.energy_mj]
        rates["energy"] = fit_figure([n for n, _ in energies], [energy_mj for _, energy_mj in energies], noise)
    return rates


def fit_figure(networks: Sequence[MeasuredNetwork], figures: Sequence[float], noise: FitNoise) -> Rates:
    """Rates from networks and a figure of each, with the errors on those left out. ``ValueError`` without networks."""
    import numpy as np

    operations = OperationCounter()
    matrix = design_matrix([operations.of(network.graph) for network in networks])
    measured, names = np.array(figures), tuple([network.name for network in networks])
    held_out = held_out_predictions(matrix, measured, noise, groups=names)
    coefficients = fit_linear(matrix, measured, noise)
    errors = accuracy_metrics(held_out, measured)
    errors["interval_coverage"] = round(held_out_coverage(matrix, measured, noise, groups=names), 4)
    return replace(to_rates(coefficients, matrix, interval_factor(held_out, measured)), errors=errors)


def published_device(
    name: str, source: DeviceSource, rates: Mapping[str, Rates], version: int = 1
) -> tuple[DeviceHeader, LinearModel]:
    """What is written into the device file: its header, and the model in as many digits as the file keeps."""
    header = DeviceHeader(
        source.about,
        source.source,
        batch=source.batch,
        runtime=source.runtime,
        remarks=(
            " ".join(source.about.split()),
            f"Written by {_FIT_PROGRAM}; errors are those on networks left out of the fit (5 folds).",
        ),
        number_format_remark="assumed: the source does not say" * source.number_format_assumed,
    )
    model = LinearModel(
        name,
        version,
        {figure: rounded_rates(fitted) for figure, fitted in rates.items()},
        executed_graph=source.measured,
        number_format=source.number_format,
    )
    return header, model
