"""Learn the devices of ``datasets.DEVICE_SOURCES`` from published measurements, and state the error on networks left
out.

    python -m hardware_models.linear.fit_published_devices zcu102 a100 --data ../shared/data --write

Without names, all of them. A device file says which rows it rests on and how far they were off when left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_models.device_file.writer import shipped_file, toml_string
from hardware_models.linear.fit import (
    FitNoise,
    OperationCounter,
    design_matrix,
    fit_linear,
    held_out_coverage,
    held_out_predictions,
    to_rates,
)
from hardware_models.linear.model import Rates, rates_toml
from hardware_models.measured.datasets import DATASET_READERS, DEVICE_SOURCES, DatasetNetwork, DeviceSource
from hardware_models.measured.prediction_error import accuracy_metrics, interval_factor
from search_spaces.registry import import_object, named_row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


MAX_NETWORKS = 2500


DEVICE_FOLDER = Path(__file__).parents[1] / "devices"


@dataclass(frozen=True, eq=False)
class FigureFit:
    """One figure of a device: its rates, its errors by name, and measured and held-out figures."""

    rates: Rates
    errors: dict[str, float]
    names: tuple[str, ...]
    measured: npt.NDArray[np.float64]
    held_out_predictions: npt.NDArray[np.float64]


@lru_cache(maxsize=8)
def _dataset_networks(reader: str, folder: Path, max_rows: int) -> list[DatasetNetwork]:
    rows: list[DatasetNetwork] = import_object(DATASET_READERS[reader])(folder, max_rows)
    return rows


def fit_figure(rows: Sequence[tuple[DatasetNetwork, float]], noise: FitNoise) -> FigureFit:
    """Rates from measured networks, each with its figure. Raises ``ValueError`` where there are none."""
    import numpy as np

    operations = OperationCounter()
    matrix = design_matrix([operations.of(row.graph) for row, _ in rows])
    measured = np.array([value for _, value in rows])
    names = tuple(row.name for row, _ in rows)
    held_out_ms = held_out_predictions(matrix, measured, noise, groups=names)
    coefficients = fit_linear(matrix, measured, noise)
    factor = interval_factor(held_out_ms, measured)
    errors = accuracy_metrics(held_out_ms, measured)
    errors["interval_coverage"] = round(held_out_coverage(matrix, measured, noise, groups=names), 4)
    return FigureFit(to_rates(coefficients, matrix, factor), errors, names, measured, held_out_ms)


def _measured_figures(
    source: DeviceSource, folder: Path, column_of: dict[str, str], max_rows: int
) -> list[tuple[DatasetNetwork, float]]:
    rows = []
    for reader, column in column_of.items():
        column, is_throughput = column.removeprefix("per_second:"), column.startswith("per_second:")
        for row in _dataset_networks(reader, folder, max_rows):
            value = row.values[column]
            if value == value and value > 0:
                rows.append((row, 1000 / value if is_throughput else value))
    return rows


def fit_published_device(source: DeviceSource, folder: Path, max_rows: int = MAX_NETWORKS) -> dict[str, FigureFit]:
    """The figures of a device, ``latency`` and perhaps ``energy``. Raises ``HardwareError``."""
    noise = FitNoise(source.scatter, source.spread)
    figure_fits = {"latency": fit_figure(_measured_figures(source, folder, dict(source.readers), max_rows), noise)}
    if source.energy:
        reader = next(iter(source.readers))
        figure_fits["energy"] = fit_figure(_measured_figures(source, folder, {reader: source.energy}, max_rows), noise)
    return figure_fits


def published_device_toml(source: DeviceSource, figure_fits: dict[str, FigureFit], version: int = 1) -> str:
    """The device file."""
    lines = [
        f"# {' '.join(source.about.split())}",
        "# Written by hardware_models/linear/fit_published_devices.py; errors are those on networks left out of the fit"
        " (5 folds).",
        'kind = "learned"',
        f"version = {version}",
        f'number_format = "{source.number_format}"'
        + ("  # assumed: the source does not say" * source.number_format_assumed),
        f"about = {toml_string(source.about)}",
        f"source = {toml_string(source.source)}",
        f'measured = "{source.measured}"',
    ]
    lines += [f"batch = {source.batch}"] if source.batch else []
    lines += [f"runtime = {toml_string(source.runtime)}"] if source.runtime else []
    for figure, figure_fit in figure_fits.items():
        lines += rates_toml(figure, figure_fit.rates, figure_fit.errors)
    return "\n".join(lines) + "\n"


def errors_markdown(errors: dict[tuple[str, str], dict[str, float]]) -> str:
    """Held-out errors as a table in Markdown."""
    names = list(next(iter(errors.values())))
    lines = ["| device | figure | " + " | ".join(names) + " |", "|---|---|" + "--:|" * len(names)]
    for (device, figure), row in errors.items():
        lines.append(f"| {device} | {figure} | " + " | ".join(f"{row[n]:g}" for n in names) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.linear.fit_published_devices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="*", help="names of datasets.DEVICE_SOURCES; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--rows", type=int, default=MAX_NETWORKS, help="most networks of each data set")
    parser.add_argument("--write", action="store_true", help="write the device files")
    parser.add_argument("--csv", type=Path, help="write the held-out errors to this file")
    options = parser.parse_args(arguments)
    errors: dict[tuple[str, str], dict[str, float]] = {}
    for name in options.devices or DEVICE_SOURCES:
        source = named_row("learned device", name, DEVICE_SOURCES)
        figure_fits = fit_published_device(source, options.data, options.rows)
        for figure, figure_fit in figure_fits.items():
            factor = figure_fit.rates.factor or 1.0
            errors[name, figure] = {**figure_fit.errors, "interval_factor": round(factor, 3)}
            print(name, figure, errors[name, figure], flush=True)
        if options.write:
            shipped_file(DEVICE_FOLDER, name).write_text(published_device_toml(source, figure_fits), encoding="utf-8")
    print(errors_markdown(errors))
    if options.csv:
        names = list(next(iter(errors.values())))
        lines = [",".join(("device", "figure", *names))]
        lines += [",".join((*key, *(f"{row[n]:g}" for n in names))) for key, row in errors.items()]
        options.csv.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
