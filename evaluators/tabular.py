"""Looks quality up in a table of trained architectures instead of training: a tabular benchmark."""

from __future__ import annotations

import csv
import gzip
import inspect
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from evaluators.evaluator import DataError, Evaluation, EvaluationFailure, EvaluationJob, Evaluator, QualityMetric
from search_spaces.catalog import load_space
from search_spaces.registry import unknown_name
from search_spaces.space.genotype import GenotypeError

DEFAULT_COLUMN = "mini_c10_val"
"""CIFAR-10 validation after 12 epochs: what a search may see. The columns of test accuracies are for evaluating it."""


class NotTabulated(EvaluationFailure):
    """The table has no figure for this architecture."""

    code = "not_tabulated"


@dataclass(frozen=True)
class ArchitectureTable:
    """The numeric columns of a CSV file by name, a value or None for each architecture, and the file's digest."""

    digest: str
    architectures: dict[str, int]
    columns: dict[str, list[float | None]]
    texts: dict[str, str]
    """For each column that is not numeric, the cell that shows it."""


@dataclass(frozen=True)
class TabularQuality(Evaluator):
    """Reports the accuracy that a CSV file, or one with ``.gz``, has for an architecture.

    space: its notation reads the column ``architecture_column``, with its default options. column: the one reported as
    ``accuracy``; ``DEFAULT_COLUMN`` if there, or the only numeric one. One with values above 1 is in per cent. noise:
    standard deviation, in percentage points, of a normal deviate added to it, which depends on the architecture and
    the seed alone. An accuracy stays within 0..1.
    """

    path: str
    space: str = "nasbench201"
    column: str = ""
    architecture_column: str = "arch_str"
    noise: float = 0.0

    time_limit_s = 60.0
    isolated = False

    def __post_init__(self) -> None:
        for name in ("path", "space", "column", "architecture_column"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a text")
        number = isinstance(self.noise, int | float) and not isinstance(self.noise, bool)
        if not number or not isfinite(self.noise) or self.noise < 0:
            raise ValueError(f"noise is {self.noise!r}; it must be a number of percentage points, 0 or more")

    @property
    def name(self) -> str:
        return "tabular"

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("accuracy"),)

    def describe(self) -> str:
        """The table and its column in words. Raises ``DataError``."""
        noise = f" with noise of {self.noise:g} points" if self.noise else ""
        return f"column {self.reported_column} of the table {self.path}{noise}"

    def load(self) -> ArchitectureTable:
        """The table, read once a process. Raises ``DataError``."""
        return load_table(self.path, self.space, self.architecture_column)

    @property
    def columns(self) -> tuple[str, ...]:
        """The numeric columns, in the file's order. Raises ``DataError``."""
        return tuple(self.load().columns)

    @property
    def reported_column(self) -> str:
        """The column that is reported. Raises ``DataError`` where it does not exist or none can be chosen."""
        table, columns = self.load(), self.columns
        if self.column in table.texts:
            raise DataError(f"{self.path}: the column {self.column!r} is not numeric: {table.texts[self.column]}")
        if self.column:
            if self.column not in columns:
                raise DataError(f"{self.path}: {unknown_name('column', self.column, list(columns))}")
            return self.column
        if DEFAULT_COLUMN in columns:
            return DEFAULT_COLUMN
        if len(columns) != 1:
            raise DataError(f"{self.path}: name the column with the accuracy; there are {', '.join(columns) or 'none'}")
        return columns[0]

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        """``accuracy`` (0..1) of ``job.architecture``. Raises ``NotTabulated``, ``DataError``."""
        architecture = job.architecture
        if not architecture:
            raise EvaluationFailure(
                f"the table {self.path} is read by architecture, and a network alone does not say which it is"
            )
        table, column = self.load(), self.reported_column
        row = table.architectures.get(architecture)
        if row is None:
            raise NotTabulated(f"the table {self.path} has no architecture {architecture!r}")
        values = table.columns[column]
        value = values[row]
        if value is None:
            raise NotTabulated(f"the table {self.path} has no {column} for the architecture {architecture!r}")
        value /= _accuracy_scale(self.path, self.space, self.architecture_column, column)
        if self.noise:
            value += self.noise / 100 * standard_normal(architecture, job.seed)
        return Evaluation({"accuracy": min(max(value, 0.0), 1.0)})

    def cache_identity(self, fidelity: float) -> Mapping[str, Any]:
        """What a stored result depends on: this evaluator, the file's bytes, column and noise. Raises ``DataError``."""
        return {
            "evaluator": "tabular/1",
            "data": self.load().digest,
            "fidelity": {"column": self.reported_column, "noise": float(self.noise)},
        }


def tabular_quality(path: str, **settings: Any) -> TabularQuality:
    """The evaluator for ``table:PATH``. Raises ``UnknownName`` for an unknown setting."""
    setting_names = [field.name for field in fields(TabularQuality) if field.name != "path"]
    for name in settings:
        if name not in setting_names:
            raise unknown_name("setting of tables", name, setting_names)
    return TabularQuality(path=path, **settings)


def standard_normal(architecture: str, seed: int) -> float:
    """A standard normal deviate, the same for the same architecture and seed in every process."""
    key = blake2b(f"{seed}:{architecture}".encode(), digest_size=16).digest()
    return float(np.random.default_rng(int.from_bytes(key, "little")).standard_normal())


@lru_cache(maxsize=64)
def _accuracy_scale(path: str, space: str, architecture_column: str, column: str) -> float:
    """The value that stands for an accuracy of 1 in a column: 1, or 100 in per cent."""
    values = [v for v in load_table(path, space, architecture_column).columns[column] if v is not None]
    if min(values) < 0 or max(values) > 100:
        raise DataError(
            f"{path}: the column {column!r} is no accuracy, 0 to 1 or 0 to 100 per cent: it holds values from"
            f" {min(values):g} to {max(values):g}"
        )
    return 100.0 if max(values) > 1 else 1.0


@lru_cache(maxsize=4)
def load_table(path: str, space: str, architecture_column: str) -> ArchitectureTable:
    """Read a CSV file with a header, a row for each architecture. Raises ``DataError``, ``UnknownName``."""
    content = _read_bytes(path)
    try:
        text = (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no gzip file: {error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file: {error}") from None
    header = rows[0] if rows else []
    if architecture_column not in header:
        raise DataError(f"{path}: {unknown_name('column', architecture_column, header)}; set architecture_column")
    if len(set(header)) < len(header):
        raise DataError(f"{path}: the header names a column twice: {', '.join(header)}")
    if len(rows) < 2:
        raise DataError(f"{path} has a header and no rows")
    table = ArchitectureTable(xxhash.xxh3_128_hexdigest(content), {}, {}, {})
    column_index = header.index(architecture_column)
    canonical = _canonical_notation(space)
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} fields for {len(header)} columns")
        try:
            architecture = canonical(row[column_index])
        except GenotypeError as error:
            raise DataError(f"{path}: row {number}: {error}") from None
        if architecture in table.architectures:
            before = table.architectures[architecture] + 1
            raise DataError(f"{path}: rows {before} and {number} are of one architecture, {architecture!r}")
        table.architectures[architecture] = number - 1
    for name, cells in zip(header, zip(*rows[1:], strict=True), strict=True):
        if name != architecture_column:
            try:
                table.columns[name] = _numbers(cells)
            except ValueError as error:
                table.texts[name] = str(error)
    return table


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"no table {path!r}: {error.strerror or error}") from None


def _canonical_notation(name: str) -> Callable[[str], str]:
    """A function from an architecture in a space's notation to its canonical text."""
    space = load_space(name)
    notation = space.notation
    if notation is None:
        return lambda text: space.format(space.parse(text))
    # Not through Space.parse, which builds the network: a table has thousands of rows.
    options = {option: space.option(option) for option in inspect.signature(space.function).parameters}
    return lambda text: notation.format(notation.parse(text, options), options)


def _numbers(cells: Sequence[str]) -> list[float | None]:
    """The values of a column, None where a cell is empty or nan. ``ValueError`` says which row is no number."""
    values: list[float | None] = []
    for number, cell in enumerate(cells, start=1):
        try:
            value = float(cell) if cell.strip() else float("nan")
        except ValueError:
            raise ValueError(f"row {number} holds {cell!r}") from None
        if not isfinite(value) and not isnan(value):
            raise ValueError(f"row {number} holds {cell!r}")
        values.append(None if isnan(value) else value)
    if not any(value is not None for value in values):
        raise ValueError("it is empty")
    return values
