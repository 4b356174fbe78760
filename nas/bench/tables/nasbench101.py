"""The sample of NAS-Bench-101: 1,000 cells, as a space of those alone."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from hardware_models.measured.datasets.files import read_csv
from nas.bench.tables.listed_space import ListedSpace
from nas.bench.tables.table import TabularBenchmark, existing_file, first_occurrences
from nas.hashing import functional_hash
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.catalog import load_space
from search_spaces.registry import unknown_name


@lru_cache(maxsize=2)
def open_table(name: str, data: Path) -> TabularBenchmark:
    """``nb101``: validation error after 108 epochs of one training. Raises ``UnknownName``, ``BenchError``."""
    if name != "nb101":
        raise unknown_name("table", name, ["nb101"])
    frame = read_csv(existing_file(data / "nb101_sample" / "nb101_1000_graphs.csv.gz", "sample of NAS-Bench-101"))
    texts = [f"{ops}|{edges}" for ops, edges in zip(frame["ops"], frame["edges"], strict=True)]
    space = load_space("nasbench101")
    assert space.notation is not None
    genotypes = [space.notation.parse(text, {}) for text in texts]
    keys, figures = [], []
    for genotype in genotypes:
        graph = space.graph(genotype)
        keys.append(functional_hash(graph))
        figures.append(graph_features(graph))
    numbers, firsts = first_occurrences(keys)
    features = np.array(figures, float)[firsts]
    errors = 100 - 100 * frame["val_acc_108ep"].to_numpy(float)[firsts, None]
    return TabularBenchmark(
        name=name,
        title="NAS-Bench-101, 1,000 cells",
        objectives=("error_percent",),
        make_space=partial(ListedSpace, genotypes, space.decisions(), name),
        numbers=dict(zip([tuple(genotype.values()) for genotype in genotypes], numbers, strict=True)),
        keys=[keys[i] for i in firsts],
        validation=errors,
        test=errors,
        training_s=frame["train_time_s_108"].to_numpy(float)[firsts],
        features=features,
    )
