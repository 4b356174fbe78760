"""A user's own table: a CSV file of architectures of a space, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from evaluators.tabular import ArchitectureTable, load_table
from nas.bench.tables.listed_space import ListedSpace
from nas.bench.tables.table import BenchError, TabularBenchmark, first_occurrences
from nas.hashing import functional_hash
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.catalog import load_space
from search_spaces.registry import unknown_name

DIRECTIONS = ("max", "min", "seconds")


def own_table(path: str, space: str, columns: Sequence[str], architectures: str = "architecture") -> TabularBenchmark:
    """The table of a CSV file with a header, a row for each architecture as ``space`` writes it.

    ``columns``: one or two objectives, ``NAME`` or ``NAME:max`` to be maximised (their loss is the negative),
    ``NAME:min`` to be minimised; ``NAME:seconds`` is the time of a training. Networks with one functional key have the
    figures of the first. Rows without a figure are left out; where not every genotype of the space has a row, the
    space is that of the listed ones. Raises ``BenchError``, ``DataError``, ``UnknownName``.
    """
    table = load_table(path, space, architectures)
    objectives, seconds_column = _objectives(columns, table, path)
    loaded = load_space(space)
    figures = [table.columns[name] for name, _ in objectives]
    complete = [(text, row) for text, row in table.architectures.items() if all(f[row] is not None for f in figures)]
    genotypes = [loaded.parse(text) for text, _ in complete]
    rows = [row for _, row in complete]
    if not rows:
        raise BenchError(f"{path}: no row has a figure in every column")
    graphs = [loaded.graph(genotype) for genotype in genotypes]
    numbers, firsts = first_occurrences([functional_hash(graph) for graph in graphs])
    signs = [1.0 if direction == "min" else -1.0 for _, direction in objectives]
    losses = np.array([[s * _finite_or_nan(f[rows[i]]) for s, f in zip(signs, figures, strict=True)] for i in firsts])
    seconds = table.columns[seconds_column] if seconds_column else []
    features = np.array([graph_features(graph) for graph in graphs])[firsts]
    is_complete = len(genotypes) == loaded.size()
    genotype_dicts = [dict(genotype) for genotype in genotypes]
    make_space: Callable[[], ChoiceSpace] = (
        partial(load_space, space)
        if is_complete
        else partial(ListedSpace, genotype_dicts, loaded.decisions(), loaded.name)
    )
    return TabularBenchmark(
        name=Path(path).name.partition(".")[0],
        title=f"{Path(path).name}: {', '.join(name for name, _ in objectives)}",
        objectives=tuple(
            f"negative {name}" if sign < 0 else name for (name, _), sign in zip(objectives, signs, strict=True)
        ),
        make_space=make_space,
        numbers=dict(zip([tuple(genotype.values()) for genotype in genotypes], numbers, strict=True)),
        keys=[str(number) for number in range(len(firsts))],
        validation=losses,
        test=losses,
        training_s=np.array([_finite_or_nan(seconds[rows[i]]) if seconds else np.nan for i in firsts]),
        features=features,
    )


def _finite_or_nan(value: float | None) -> float:
    return float("nan") if value is None or not isfinite(value) else value


def _objectives(columns: Sequence[str], table: ArchitectureTable, path: str) -> tuple[list[tuple[str, str]], str]:
    """The objectives as (column, direction), and the column with seconds, or nothing."""
    objectives, seconds_column = [], ""
    for text in columns:
        name, _, direction = text.partition(":")
        direction = direction or "max"
        if direction not in DIRECTIONS:
            raise BenchError(f"--column {text!r}: a column is NAME, NAME:max, NAME:min or NAME:seconds")
        if name not in table.columns:
            raise BenchError(f"{path}: {unknown_name('numeric column', name, list(table.columns))}")
        if direction == "seconds":
            seconds_column = name
        else:
            objectives.append((name, direction))
    if not 1 <= len(objectives) <= 2:
        raise BenchError(f"a bench has one or two objectives; --column named {len(objectives)}")
    return objectives, seconds_column
