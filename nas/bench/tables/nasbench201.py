"""NAS-Bench-201's tables: 15,625 cells of 5,260 distinct networks, three data sets, latencies of devices.

All genotypes with one functional key have the row of the class's first index: training noise does not tell equal
networks apart, and training one of them again is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware_models.measured.datasets.files import read_csv
from nas.bench.tables.table import BenchError, Floats, TabularBenchmark, existing_file, first_occurrences
from nas.hashing import functional_hash
from nas.searchers.choice_space import FlatSpace
from nas.searchers.surrogates.graph_features import PEAK_INDEX, graph_counts
from search_spaces.catalog import load_space
from search_spaces.registry import import_object, unknown_name
from search_spaces.space.genotype import DecisionValue
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import pandas as pd

SPACE = "nasbench201"
CELLS_PER_STAGE = 5
# Of a cell's operations, those that bear on its output: half as many as cells
_LIVE_CELL_TERMS = "search_spaces.families.nasbench201:live_cell_terms"


@dataclass(frozen=True)
class BenchDataset:
    """What a network is trained on: its columns in the table, training images, and pixels as a part of 32x32."""

    title: str
    test: str
    validation: str
    training_images: int
    relative_pixels: float = 1.0


DATASETS = {
    "c10": BenchDataset("CIFAR-10", "c10_test_200ep", "mini_c10_val", 50_000),
    "c100": BenchDataset("CIFAR-100", "c100_test_200ep", "mini_c100_val", 50_000),
    "in16": BenchDataset("ImageNet16-120", "in16_test_200ep", "mini_in16_val", 151_700, 0.25),
}
# Devices whose figures are in another file, by the column there
PI5 = {"pi5": "lat_ms__pi5__litert__cifar100", "pi5_onnx": "lat_ms__pi5__onnx__cifar100"}
# The forward pass of a batch on this device gives a training's time
TIMING_DEVICE, TIMING_BATCH = "1080ti_256", 256


@dataclass(frozen=True)
class CellTable:
    """All cells, and the distinct networks among them: ``firsts`` are their first rows."""

    frame: pd.DataFrame
    values: list[tuple[DecisionValue, ...]]
    numbers: list[int]
    firsts: list[int]
    keys: list[str]
    features: Floats


@lru_cache(maxsize=2)
def read_cells(data: Path) -> CellTable:
    """The cells of ``nb201_accuracy``, each with its network's key and ``graph_features`` (CIFAR-10's network)."""
    frame = read_csv(existing_file(data / "nb201_accuracy" / "nb201_accuracy.csv.gz", "table of NAS-Bench-201"))
    one, none = load_space(SPACE, cells=1), load_space(SPACE, cells=0)
    live_cell_terms = import_object(_LIVE_CELL_TERMS)
    assert one.notation is not None
    decisions = [one.notation.parse(text, {}) for text in frame["arch_str"]]
    values = [tuple(decisions_of_cell.values()) for decisions_of_cell in decisions]
    stem = _graph_counts(none, decisions[0])
    keys: list[str] = []
    key_of_terms: dict[Any, str] = {}
    features: dict[str, Floats] = {}
    for cell, decisions_of_cell in zip(values, decisions, strict=True):
        terms = live_cell_terms(tuple(map(str, cell)), False)
        key = key_of_terms.get(terms)
        if key is None:
            key = key_of_terms[terms] = functional_hash(one.graph(decisions_of_cell))
            if key not in features:
                features[key] = _features(_graph_counts(one, decisions_of_cell), stem, dead=not terms[-1])
        keys.append(key)
    numbers, firsts = first_occurrences(keys)
    distinct = [keys[i] for i in firsts]
    return CellTable(frame, values, numbers, firsts, distinct, np.array([features[key] for key in distinct]))


def _features(single: Floats, stem: Floats, dead: bool) -> Floats:
    """A network's features, from the counts of one with a single cell a stage and of one without (``stem``).

    ``dead``: whether the cell's output is zero, so that more cells add nothing.
    """
    counts = single.copy() if dead else stem + CELLS_PER_STAGE * (single - stem)
    counts[PEAK_INDEX] = single[PEAK_INDEX]
    return np.log1p(counts)


def _graph_counts(space: Space, decisions: dict[str, DecisionValue]) -> Floats:
    return np.array(graph_counts(space.graph(decisions)), float)


def latencies(cells: CellTable, data: Path, device: str) -> Floats:
    """The latency in ms of each distinct network, that of its first cell. Raises ``BenchError``, ``UnknownName``."""
    if device in PI5:
        path = existing_file(
            data / "nb201_latency_pi5_pixel" / "pi5_pixel_6466.csv.gz", "latencies of a Raspberry Pi 5"
        )
        column = read_csv(path).set_index("canonical_idx")[PI5[device]]
        rows = cells.frame["canonical_idx"].to_numpy()[cells.firsts]
    else:
        frame = _read_help_latencies(data)
        if device not in frame.columns:
            raise unknown_name("device with NAS-Bench-201's latencies", device, [*frame.columns, *PI5])
        column, rows = frame[device], cells.frame["arch_idx"].to_numpy()[cells.firsts]
    return column.loc[rows].to_numpy(float)


@lru_cache(maxsize=2)
def _read_help_latencies(data: Path) -> pd.DataFrame:
    path = existing_file(data / "nb201_latency_help" / "nb201_latency_ms.csv.gz", "latencies of NAS-Bench-201's cells")
    return read_csv(path).set_index("arch_idx")


def training_seconds(cells: CellTable, data: Path, dataset: BenchDataset, epochs: int) -> Floats:
    """Three times a GTX 1080 Ti's measured forward pass, for every batch of 256 images; ``nan`` without the file."""
    try:
        batch_ms = latencies(cells, data, TIMING_DEVICE)
    except BenchError:
        return np.full(len(cells.firsts), np.nan)
    return 3 * batch_ms / 1000 * dataset.training_images / TIMING_BATCH * epochs * dataset.relative_pixels


def open_table(name: str, data: Path) -> TabularBenchmark:
    """``nb201_SET``, ``nb201_SET_val`` or ``nb201_SET@DEVICE``. Raises ``UnknownName``, ``BenchError``."""
    chosen, at, device = name.removeprefix("nb201_").partition("@")
    dataset_name = chosen.removesuffix("_val")
    dataset = DATASETS.get(dataset_name)
    if dataset is None or (at and chosen != dataset_name):
        raise unknown_name(
            "table", name, [f"nb201_{one}{suffix}" for one in DATASETS for suffix in ("", "_val", "@pixel3")]
        )
    cells = read_cells(data)
    test = _errors(cells, dataset.test)
    validation, epochs, title = test, 200, f"NAS-Bench-201, {dataset.title}"
    objectives: tuple[str, ...] = ("error_percent",)
    if chosen != dataset_name:
        validation, epochs, title = _errors(cells, dataset.validation), 12, f"{title}, seen after 12 epochs"
    columns = [validation]
    if at:
        columns.append(latencies(cells, data, device))
        objectives, title = ("error_percent", "latency_ms"), f"{title} against {device}"
    table = np.stack(columns, axis=1)
    return TabularBenchmark(
        name=name,
        title=title,
        objectives=objectives,
        make_space=partial(FlatSpace, load_space(SPACE).decisions(), SPACE),
        numbers=dict(zip(cells.values, cells.numbers, strict=True)),
        keys=cells.keys,
        validation=table,
        test=test[:, None] if len(columns) == 1 else table,
        training_s=training_seconds(cells, data, dataset, epochs),
        features=cells.features,
    )


def _errors(cells: CellTable, column: str) -> Floats:
    rows: Sequence[int] = cells.firsts
    return 100 - cells.frame[column].to_numpy(float)[rows]
