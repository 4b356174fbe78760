"""Bench tables: an invented one, listed spaces, and those of measured networks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nas.bench.single_run import RunBudget, run_contender
from nas.bench.tables import accel_nasbench
from nas.bench.tables.best_known_front import best_known_vectors
from nas.bench.tables.listed_space import ListedSpace
from nas.bench.tables.own_csv import own_table
from nas.bench.tables.table import BenchError, TabularBenchmark, hypervolume_reference, open_table
from nas.hashing import functional_hash
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.catalog import load_space
from search_spaces.families.nasbench201 import parse_string
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype, GenotypeError
from tests.support.invented_table import NETWORKS, figures

Shared = Callable[[str], Path]


def test_copies_of_a_network_are_one_and_have_the_first_rows_figures(one: TabularBenchmark) -> None:
    assert one.networks == NETWORKS
    assert one.space.size() == 4 * NETWORKS
    copies = [Genotype({"width1": 8, "width2": 4, "kernel": 3, "spare": spare}) for spare in "abcd"]
    assert {one.losses(copy) for copy in copies} == {(-figures(copies[0])[0],)}
    assert len({one.featurize(copy).key for copy in copies}) == 1
    assert one.seconds(copies[1]) == 84.0
    losses = {one.featurize(genotype).key: one.losses(genotype)[0] for genotype in one.space.enumerate()}
    assert len(losses) == NETWORKS
    assert one.optimum.least == one.optimum.least_test_loss == min(losses.values())


def test_features_are_those_of_the_graph(one: TabularBenchmark, files: tuple[Path, str]) -> None:
    space = load_space(files[1])
    genotype = space.sample(random.Random(3))
    graph = space.graph(genotype)
    assert one.featurize(genotype).features == pytest.approx(graph_features(graph))


def test_the_front_is_that_of_brute_force(two: TabularBenchmark) -> None:
    losses = {two.losses(genotype) for genotype in two.space.enumerate()}
    front = {a for a in losses if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in losses)}
    assert set(two.optimum.front) == front
    assert two.optimum.exact


def test_the_reference_is_the_median_and_a_tenth_beyond_the_fronts_worst() -> None:
    losses = np.array([[1.0, 9.0], [2.0, 4.0], [3.0, 3.0], [4.0, 9.0], [5.0, 1.0]])
    assert hypervolume_reference(((1.0, 9.0), (2.0, 4.0), (3.0, 3.0), (5.0, 1.0)), losses) == pytest.approx((3.0, 9.5))


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["accuracy"], "known: acc"),
        (["acc:up"], "NAME:min"),
        (["train_s:seconds"], "named 0"),
        (["acc", "latency", "train_s"], "named 3"),
    ],
)
def test_columns_that_make_no_bench(files: tuple[Path, str], columns: list[str], text: str) -> None:
    with pytest.raises(BenchError, match=text):
        own_table(str(files[0]), files[1], columns)


def test_a_table_of_a_sample_is_searched_within_it(files: tuple[Path, str], tmp_path: Path) -> None:
    lines = files[0].read_text().splitlines()
    (tmp_path / "part.csv").write_text("\n".join([lines[0], *lines[1:200:7]]) + "\n")
    table = own_table(str(tmp_path / "part.csv"), files[1], ["acc"])
    assert table.space.size() == len(lines[1:200:7])
    assert isinstance(table.space, ListedSpace)
    trace = run_contender(table, "evolution", 0, RunBudget(30, 50))
    assert trace.value[-1] == 0


def test_names_of_tables_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="nb201_c100"):
        open_table("nb301_c100", tmp_path)
    with pytest.raises(BenchError, match="--data"):
        open_table("nb201_c100", tmp_path)
    with pytest.raises(UnknownName, match="zcu102"):
        open_table("accel@zcu103", tmp_path)


# -- listed spaces -----------------------------------------------------------------------------------------------------


@pytest.fixture
def listed() -> ListedSpace:
    options = dict.fromkeys("abc", (0, 1, 2))
    return ListedSpace([{"a": 0, "b": 0, "c": 0}, {"a": 0, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}], options)


def test_a_listed_space_stays_in_its_list(listed: ListedSpace) -> None:
    rng = random.Random(0)
    members = set(listed.enumerate())
    for _ in range(50):
        a, b = listed.sample(rng), listed.sample(rng)
        assert {a, b, listed.crossover(a, b, rng), listed.complete({"b": 1}, rng)} <= members
        assert listed.mutate(a, rng) in members - {a}
        assert listed.decode(listed.encode(a)) == a
    assert listed.complete({"b": 1}, rng) == Genotype({"a": 0, "b": 1, "c": 1})
    assert listed.decode([2, 2, 0]) == Genotype({"a": 2, "b": 2, "c": 2})


def test_a_listed_space_draws_evenly(listed: ListedSpace) -> None:
    rng = random.Random(1)
    samples = [listed.sample(rng)["a"] for _ in range(3000)]
    assert abs(samples.count(2) - 1000) < 4 * math.sqrt(3000 * 2 / 9)


def test_a_listed_space_refuses_what_the_other_space_lacks(listed: ListedSpace) -> None:
    with pytest.raises(GenotypeError, match="cannot be 7"):
        listed.encode({"a": 7})
    with pytest.raises(GenotypeError, match="no genotype"):
        ListedSpace([], {"a": (0, 1)})


# -- measured tables ---------------------------------------------------------------------------------------------------


def test_nasbench201s_optima_are_the_published_ones(shared: Shared) -> None:
    data = shared("data/nb201_accuracy").parent
    best = {"nb201_c10": (6111, 94.3733), "nb201_c100": (9930, 73.5133), "nb201_in16": (857, 47.3111)}
    frame = pd.read_csv(data / "nb201_accuracy" / "nb201_accuracy.csv.gz").set_index("arch_idx")
    for name, (index, accuracy) in best.items():
        table = open_table(name, data)
        assert table.networks == 5260
        genotype = Genotype(parse_string(frame["arch_str"][index], {}))
        assert table.losses(genotype)[0] == pytest.approx(100 - accuracy)
        assert table.optimum.least == pytest.approx(100 - accuracy)
    validation = open_table("nb201_c100_val", data)
    assert validation.optimum.least == pytest.approx(100 - frame["mini_c100_val"].max(), abs=0.5)
    assert validation.test_losses(Genotype(parse_string(frame["arch_str"][9930], {})))[0] == pytest.approx(26.4867)
    against = open_table("nb201_c100@pi5", data)
    assert against.objectives == ("error_percent", "latency_ms")
    with pytest.raises(UnknownName, match="pixel3"):
        open_table("nb201_c10@pixel33", data)


def test_nasbench201s_features_are_those_of_the_whole_networks(shared: Shared) -> None:
    table = open_table("nb201_c10", shared("data/nb201_accuracy").parent)
    space, rng = load_space("nasbench201"), random.Random(0)
    dead = Genotype(dict.fromkeys(table.space.decisions(), "none"))
    for genotype in [dead, *(space.sample(rng) for _ in range(12))]:
        graph, known = space.graph(genotype), table.featurize(genotype)
        assert known.features == pytest.approx(graph_features(graph))
        twin = space.sample(rng)
        same = functional_hash(graph) == functional_hash(space.graph(twin))
        assert (known.key == table.featurize(twin).key) == same


def test_nasbench101s_sample_is_a_thousand_networks(shared: Shared) -> None:
    table = open_table("nb101", shared("data/nb101_sample").parent)
    assert (table.networks, table.space.size()) == (1000, 1000)
    assert table.optimum.least == pytest.approx(5.3285)
    trace = run_contender(table, "evolution", 0, RunBudget(500))
    assert trace.reached is not None


def test_the_surrogates_errors_and_counts(shared: Shared) -> None:
    table = open_table("accel@zcu102", shared("data/accel_nasbench").parent)
    assert isinstance(table, accel_nasbench.SurrogateBenchmark)
    assert table.errors["accuracy_rows"] == 512
    assert table.errors["accuracy_r2"] > 0.975
    assert table.errors["time_spearman"] > 0.999
    assert table.networks == table.space.size() == 36**6 * 48
    rng = random.Random(0)
    keys = set()
    for _ in range(5):
        genotype = table.space.sample(rng)
        parts = [
            [int(str(genotype[f"stage{s}.{name}"])) for s in range(1, 8)]
            for name in accel_nasbench.CHOICE_NAMES.values()
        ]
        graph = accel_nasbench.network(*parts)
        assert table.featurize(genotype).features == pytest.approx(graph_features(graph))
        keys.add(table.featurize(genotype).key)
    assert len(keys) == 5
    assert not table.optimum.exact
    trace = run_contender(table, "random", 0, RunBudget(60))
    assert 0 < trace.value[-1] < table.optimum.hypervolume


def test_a_long_evolution_finds_a_front_that_is_known() -> None:
    """Twelve choices of 0..3, squares against 36 less their sum: each total is best divided evenly."""
    start = np.zeros((1, 12), np.int64)

    def losses(choices: Any) -> Any:
        total = choices.sum(axis=1)
        return np.stack([(choices**2).sum(axis=1), 36.0 - total], axis=1)

    front = losses(best_known_vectors(losses, [4] * 12, start, generations=150, children=200))
    even = [
        [(total // 12) ** 2 * (12 - total % 12) + (total // 12 + 1) ** 2 * (total % 12), 36 - total]
        for total in range(37)
    ]
    assert sorted(front.tolist()) == sorted(even)
