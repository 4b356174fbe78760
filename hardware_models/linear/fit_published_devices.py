"""Learn the devices of ``datasets.SOURCES`` from published measurements, and state the error on networks left out.

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

from hardware_models.device_file.writer import quoted
from hardware_models.linear.fit import Operations, Stiffness, design, fit, fresh_coverage, held_out, to_rates
from hardware_models.linear.model import Rates, rates_text
from hardware_models.measured.datasets import READERS, SOURCES, Measured, Source
from hardware_models.measured.prediction_error import interval_factor, scores
from search_spaces.registry import import_object, named_row

if TYPE_CHECKING:
    import numpy
    import numpy.typing


MOST_ROWS = 2500


DEVICES = Path(__file__).parents[1] / "devices"


@dataclass(frozen=True, eq=False)
class Learned:
    """One figure of a device: its rates, its errors by name, and measured and held-out figures."""

    rates: Rates
    errors: dict[str, float]
    names: tuple[str, ...]
    measured: numpy.typing.NDArray[numpy.float64]
    held_out: numpy.typing.NDArray[numpy.float64]


@lru_cache(maxsize=8)
def _rows(reader: str, folder: Path, most: int) -> list[Measured]:
    rows: list[Measured] = import_object(READERS[reader])(folder, most)
    return rows


def learn_rates(rows: Sequence[tuple[Measured, float]], stiffness: Stiffness) -> Learned:
    """Rates from measured networks, each with its figure. Raises ``ValueError`` where there are none."""
    import numpy

    operations = Operations()
    matrix = design([operations.of(row.graph) for row, _ in rows])
    measured = numpy.array([value for _, value in rows])
    names = tuple(row.name for row, _ in rows)
    left_out = held_out(matrix, measured, stiffness, groups=names)
    found = fit(matrix, measured, stiffness)
    factor = interval_factor(left_out, measured)
    errors = scores(left_out, measured)
    errors["interval_coverage"] = round(fresh_coverage(matrix, measured, stiffness, groups=names), 4)
    return Learned(to_rates(found, matrix, factor), errors, names, measured, left_out)


def _figures(source: Source, folder: Path, column_of: dict[str, str], most: int) -> list[tuple[Measured, float]]:
    rows = []
    for reader, column in column_of.items():
        column, rate = column.removeprefix("per_second:"), column.startswith("per_second:")
        for row in _rows(reader, folder, most):
            value = row.values[column]
            if value == value and value > 0:
                rows.append((row, 1000 / value if rate else value))
    return rows


def learn(source: Source, folder: Path, most: int = MOST_ROWS) -> dict[str, Learned]:
    """The figures of a device, ``latency`` and perhaps ``energy``. Raises ``HardwareError``."""
    stiffness = Stiffness(source.scatter, source.spread)
    found = {"latency": learn_rates(_figures(source, folder, dict(source.readers), most), stiffness)}
    if source.energy:
        reader = next(iter(source.readers))
        found["energy"] = learn_rates(_figures(source, folder, {reader: source.energy}, most), stiffness)
    return found


def toml_text(source: Source, found: dict[str, Learned], version: int = 1) -> str:
    """The device file."""
    lines = [
        f"# {' '.join(source.about.split())}",
        "# Written by hardware_models/linear/fit_published_devices.py; errors are those on networks left out of the fit (5 folds).",
        'kind = "learned"',
        f"version = {version}",
        f'number_format = "{source.number_format}"' + ("  # assumed: the source does not say" * source.assumed),
        f"about = {quoted(source.about)}",
        f"source = {quoted(source.source)}",
        f'measured = "{source.measured}"',
    ]
    lines += [f"batch = {source.batch}"] if source.batch else []
    lines += [f"runtime = {quoted(source.runtime)}"] if source.runtime else []
    for figure, learned in found.items():
        lines += rates_text(figure, learned.rates, learned.errors)
    return "\n".join(lines) + "\n"


def table(errors: dict[tuple[str, str], dict[str, float]]) -> str:
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
    parser.add_argument("devices", nargs="*", help="names of datasets.SOURCES; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--rows", type=int, default=MOST_ROWS, help="most networks of each data set")
    parser.add_argument("--write", action="store_true", help="write the device files")
    parser.add_argument("--csv", type=Path, help="write the held-out errors to this file")
    given = parser.parse_args(arguments)
    errors: dict[tuple[str, str], dict[str, float]] = {}
    for name in given.devices or SOURCES:
        source = named_row("learned device", name, SOURCES)
        found = learn(source, given.data, given.rows)
        for figure, learned in found.items():
            factor = learned.rates.factor or 1.0
            errors[name, figure] = {**learned.errors, "interval_factor": round(factor, 3)}
            print(name, figure, errors[name, figure], flush=True)
        if given.write:
            (DEVICES / f"{name}.toml").write_text(toml_text(source, found), encoding="utf-8")
    print(table(errors))
    if given.csv:
        names = list(next(iter(errors.values())))
        lines = [",".join(("device", "figure", *names))]
        lines += [",".join((*key, *(f"{row[n]:g}" for n in names))) for key, row in errors.items()]
        given.csv.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
