"""Single runs of a bench: what counts as an evaluation, when a run ends, and the contenders."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from nas.bench import contenders
from nas.bench.contenders import contender, default_names, missing_package
from nas.bench.pymoo_searcher import PymooSearcher
from nas.bench.single_run import RunBudget, run_contender, run_search
from nas.bench.tables.table import TabularBenchmark
from nas.searchers.protocol import Outcome
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype
from tests.support.invented_table import NETWORKS, Scripted


def test_an_evaluation_is_of_a_key_and_repeats_cost_nothing(one: TabularBenchmark) -> None:
    copies = [Genotype({"width1": 8, "width2": 4, "kernel": 3, "spare": spare}) for spare in "abcd"]
    other = Genotype({"width1": 4, "width2": 4, "kernel": 1, "spare": "a"})
    searcher = Scripted([*copies, other])
    trace = run_search(one, searcher, RunBudget(evaluations=2, asks_each=10))
    assert trace.evaluations == 2
    assert trace.asks == 5
    assert trace.asks_at == [1, 5]
    assert [outcome.genotype for outcome in searcher.outcomes] == [*copies, other]
    assert {outcome.losses for outcome in searcher.outcomes[:4]} == {one.losses(copies[0])}
    assert trace.seconds == [one.seconds(copies[0]), one.seconds(copies[0]) + one.seconds(other)]
    assert math.isnan(trace.without_cache(0))
    assert trace.without_cache(4) == trace.value[0]


def test_a_searcher_that_repeats_itself_comes_to_an_end(one: TabularBenchmark) -> None:
    trace = run_search(one, Scripted([next(iter(one.space.enumerate()))]), RunBudget(evaluations=20, asks_each=3))
    assert (trace.evaluations, trace.asks) == (1, 60)
    trace = run_search(one, Scripted([next(iter(one.space.enumerate()))]), RunBudget(evaluations=20, idle=7))
    assert (trace.evaluations, trace.asks) == (1, 8)


def test_several_in_flight_end_in_the_order_of_their_times(one: TabularBenchmark) -> None:
    widths = (16, 4, 8, 12)
    genotypes = [Genotype({"width1": w, "width2": 4, "kernel": 1, "spare": "a"}) for w in widths]
    assert one.optimum.least not in {one.losses(genotype)[0] for genotype in genotypes}
    searcher = Scripted(genotypes)
    trace = run_search(one, searcher, RunBudget(evaluations=4, in_flight=2))
    # 164 s and 44 s start together; then 84 s until 128, then 124 s until 252
    assert [outcome.genotype["width1"] for outcome in searcher.outcomes] == [4, 8, 16, 12]
    assert trace.seconds == [44.0, 128.0, 164.0, 252.0]


def test_asking_for_a_network_in_flight_shares_its_outcome(one: TabularBenchmark) -> None:
    copies = [Genotype({"width1": 8, "width2": 4, "kernel": 3, "spare": spare}) for spare in "ab"]
    searcher = Scripted(copies)
    trace = run_search(one, searcher, RunBudget(evaluations=2, asks_each=3, in_flight=2))
    assert trace.evaluations == 1
    assert len(searcher.outcomes) == trace.asks == 6


def test_all_networks_have_the_whole_front(two: TabularBenchmark) -> None:
    trace = run_search(two, Scripted(list(two.space.enumerate())), RunBudget(NETWORKS, 10))
    assert trace.value[-1] == pytest.approx(two.optimum.hypervolume, rel=1e-12)
    assert trace.reached == trace.evaluations
    assert set(trace.front) == set(two.optimum.front)
    assert all(math.isnan(seconds) for seconds in trace.seconds)


def test_random_search_takes_half_of_the_networks(one: TabularBenchmark) -> None:
    """Without paying twice, the rank of the best of N is uniform: (N + 1) / 2 on average."""
    evaluations = [run_contender(one, "random", seed, RunBudget(NETWORKS, 100)).reached or 0 for seed in range(200)]
    assert abs(np.mean(evaluations) - (NETWORKS + 1) / 2) < 4 * math.sqrt((NETWORKS**2 - 1) / 12 / 200)


@pytest.mark.parametrize("name", default_names())
@pytest.mark.parametrize("objectives", [1, 2])
def test_every_contender_runs_and_repeats(
    name: str, objectives: int, one: TabularBenchmark, two: TabularBenchmark
) -> None:
    if missing_package(name):
        pytest.skip(missing_package(name))
    table = one if objectives == 1 else two
    run_budget = RunBudget(evaluations=14, asks_each=5, in_flight=1)
    trace, again = (run_contender(table, name, 5, run_budget) for _ in range(2))
    assert (trace.value, trace.asks_at, trace.front) == (again.value, again.asks_at, again.front)
    assert 1 <= trace.evaluations <= 14
    assert trace.asks >= trace.evaluations
    assert trace.overhead_s > 0
    better = -np.diff(trace.value) if objectives == 1 else np.diff(trace.value)
    assert (better >= 0).all()
    if objectives == 2:
        assert trace.value[-1] <= table.optimum.hypervolume * (1 + 1e-12)


def test_a_generation_in_flight_is_filled_up_at_random(two: TabularBenchmark) -> None:
    pytest.importorskip("pymoo")
    searcher = PymooSearcher(two.space, random.Random(0), objectives=2, population=6)
    genotypes = [searcher.ask() for _ in range(10)]
    for genotype in reversed(genotypes):
        searcher.tell(Outcome(genotype, two.losses(genotype)))
    searcher.tell(Outcome(genotypes[0], (math.inf, 1.0)))
    assert searcher.ask() in set(two.space.enumerate())
    with pytest.raises(UnknownName, match="integers"):
        PymooSearcher(two.space, random.Random(0), algorithm="integer")


def test_contenders_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contender("optuna-tpe").is_external
    assert not contender("evolution").is_external
    with pytest.raises(UnknownName, match="evolution"):
        contender("evolutoin")
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None)
    assert missing_package("pymoo-nsga2") == "pymoo is not installed"
    assert not missing_package("evolution")


def test_a_run_budget_counts_from_one() -> None:
    with pytest.raises(ValueError, match="in_flight"):
        RunBudget(in_flight=0)
