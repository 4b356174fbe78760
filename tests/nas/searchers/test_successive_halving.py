"""Searchers around searchers: repair, warm start from an earlier study, successive halving, and shorter trainings."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_models.catalog import load_hardware
from nas.candidates.candidate import Candidate, Measurement, Status
from nas.candidates.fidelity import exact_fraction
from nas.candidates.objectives import Objective
from nas.candidates.pareto import dominates
from nas.searchers.catalog import make_searcher
from nas.searchers.choice_space import FlatSpace
from nas.searchers.multi_fidelity import as_multi_fidelity
from nas.searchers.protocol import KnownFeatures, Outcome, Searcher
from nas.searchers.repair import RepairEffects, RepairingSearcher, repair_genotype
from nas.searchers.successive_halving import SuccessiveHalving
from nas.searchers.warm_start import (
    PriorStudyModel,
    WarmStartSearcher,
    adapt_genotype,
    transfer_from_study,
    with_prior_model,
)
from nas.testing.searchers import SearcherContract
from search_spaces.catalog import load_space
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space
from tests.support.random_spaces import spaces

GRID: Any = FlatSpace(dict.fromkeys("abcdef", (0, 1, 2, 3)))


def total(genotype: Genotype) -> int:
    return sum(int(str(value)) for value in genotype.values())


def limited(genotype: Genotype) -> KnownFeatures:
    """No more than 4 in all."""
    return KnownFeatures(
        genotype.to_json(), (float(total(genotype)),), constraint_violation=max(0.0, total(genotype) - 4.0)
    )


def short(genotype: Genotype) -> KnownFeatures:
    """No more than four decisions, as in networks of one layer."""
    return KnownFeatures(
        genotype.to_json(), (float(len(genotype)),), constraint_violation=max(0.0, len(genotype) - 4.0)
    )


def additive(seed: int) -> dict[tuple[str, Any], float]:
    rng = random.Random(seed)
    return {(name, option): rng.random() for name, options in GRID.options.items() for option in options}


def summed(weights: dict[tuple[str, Any], float], genotype: Genotype) -> float:
    return sum(weights[item] for item in genotype.items())


class Scripted:
    """Asks for a list of genotypes, and remembers the outcomes that it was told."""

    def __init__(self, genotypes: Sequence[Genotype]) -> None:
        self.remaining = list(genotypes)
        self.received: list[Outcome] = []

    def ask(self) -> Genotype:
        return self.remaining.pop(0)

    def tell(self, outcome: Outcome) -> None:
        self.received.append(outcome)


class TestRepairing(SearcherContract):
    asks = 60

    def make_searcher(self, space: Space, rng: random.Random, earlier_outcomes: Sequence[Outcome] = ()) -> Searcher:
        return RepairingSearcher(make_searcher("evolution", space, rng, earlier_outcomes), space, rng, short)


class TestAdvised(SearcherContract):
    asks = 60

    def make_searcher(self, space: Space, rng: random.Random, earlier_outcomes: Sequence[Outcome] = ()) -> Searcher:
        warm_start_points = [space.sample(random.Random(seed)) for seed in range(5)]
        return WarmStartSearcher(make_searcher("nsga2", space, rng, earlier_outcomes), warm_start_points)


class TestHalvingAroundEvolution(SearcherContract):
    asks = 60

    def make_searcher(self, space: Space, rng: random.Random, earlier_outcomes: Sequence[Outcome] = ()) -> Searcher:
        return make_searcher("halving:evolution", space, rng, earlier_outcomes, featurize=short)


class TestHalvingAroundProcesses(SearcherContract):
    asks = 14

    def make_searcher(self, space: Space, rng: random.Random, earlier_outcomes: Sequence[Outcome] = ()) -> Searcher:
        return make_searcher("halving:gp", space, rng, earlier_outcomes, featurize=short)


# -- repair ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(spaces(6), st.integers(0, 20), st.integers(0, 12))
def test_repair_breaks_limits_less_within_few_attempts(space: Space, seed: int, attempts: int) -> None:
    featurized = 0

    def featurize(genotype: Genotype) -> KnownFeatures:
        nonlocal featurized
        featurized += 1
        return KnownFeatures("", constraint_violation=max(0.0, total(genotype) - 1.0))

    rng = random.Random(seed)
    before = space.sample(rng)
    after = repair_genotype(space, before, featurize, rng, attempts)
    assert featurized <= 1 + attempts
    assert after == before or featurize(after).constraint_violation < featurize(before).constraint_violation
    assert space.decode(space.encode(after)) == after


def test_what_keeps_the_limits_stays_and_what_can_be_repaired_is() -> None:
    for genotype in itertools.islice(GRID.enumerate(), 0, None, 97):
        after = repair_genotype(GRID, genotype, limited, random.Random(0), attempts=100)
        assert limited(after).constraint_violation == 0
        assert limited(genotype).constraint_violation > 0 or after == genotype


def test_a_limit_that_nothing_keeps_ends_the_repair() -> None:
    def featurize(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures("", constraint_violation=1.0 + total(genotype))

    after = repair_genotype(GRID, GRID.decode([3] * 6), featurize, random.Random(0), attempts=500)
    assert after == GRID.decode([0] * 6)
    nothing = FlatSpace({})
    assert repair_genotype(
        nothing, nothing.decode([]), lambda g: KnownFeatures("", constraint_violation=1.0), random.Random(0)
    ) == Genotype({})


def test_the_change_with_most_effect_comes_first() -> None:
    weights = {"a": 1.0, "b": 10.0, "c": 100.0}
    space: Any = FlatSpace(dict.fromkeys(weights, (0, 1)))
    effects = RepairEffects()

    def featurize(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures(
            "", constraint_violation=sum(weights[name] * int(str(value)) for name, value in genotype.items())
        )

    everything = space.decode([1, 1, 1])
    for seed in range(3):
        repair_genotype(space, everything, featurize, random.Random(seed), 30, effects)
    assert repair_genotype(space, everything, featurize, random.Random(9), 1, effects) == space.decode([1, 1, 0])
    assert [effects.expected(name, 1, 0) for name in "abc"] == [2.0, 20.0, 200.0]  # both ways: of the old and the new


def test_repairs_learn_to_meet_a_latency_that_few_networks_keep() -> None:
    space, hardware = load_space("mobiledet"), load_hardware("edgetpu")

    def featurize(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures(
            "", constraint_violation=max(0.0, hardware.estimate(space.graph(genotype)).latency_ms / 5.0 - 1)
        )

    rng = random.Random(0)
    samples = [space.sample(rng) for _ in range(24)]
    assert sum(featurize(genotype).constraint_violation == 0 for genotype in samples) <= 2
    effects = RepairEffects()
    after = [repair_genotype(space, genotype, featurize, rng, 30, effects) for genotype in samples]
    assert sum(featurize(genotype).constraint_violation == 0 for genotype in after[12:]) >= 11


def test_what_was_repaired_leaves_nothing_open() -> None:
    unrepaired = [GRID.decode([3] * 6), GRID.decode([0] * 6), GRID.decode([3] * 6)]
    inner = Scripted(unrepaired)
    searcher = RepairingSearcher(inner, GRID, random.Random(0), limited, attempts=200)
    proposed = [searcher.ask() for _ in unrepaired]
    assert all(limited(genotype).constraint_violation == 0 for genotype in proposed)
    assert proposed[1] == unrepaired[1]
    for genotype in reversed(proposed):
        searcher.tell(Outcome(genotype, (1.0, 2.0)))
    broken = Outcome(unrepaired[0], (inf, inf), 14.0)
    good = [Outcome(genotype, (1.0, 2.0)) for genotype in proposed]
    assert inner.received == [broken, good[2], good[1], broken, good[0]]
    searcher.tell(good[0])
    assert inner.received[-1] == good[0]
    assert len(inner.received) == 6


def test_attempts_count_from_zero() -> None:
    with pytest.raises(ValueError, match="attempts"):
        RepairingSearcher(Scripted([]), GRID, random.Random(0), limited, attempts=-1)


# -- warm start ------------------------------------------------------------------------------------------------------


def test_what_a_space_shares_with_an_earlier_one_is_kept() -> None:
    space: Any = FlatSpace({"a": (0, 1), "b": (0, 1), "new": tuple(range(50))})
    rng = random.Random(0)
    kept = [adapt_genotype(space, Genotype({"a": 1, "b": 0, "old": 7}), rng) for _ in range(5)]
    assert all(one is not None and (one["a"], one["b"]) == (1, 0) for one in kept)
    assert len({one["new"] for one in kept if one is not None}) > 1
    assert adapt_genotype(space, Genotype({"a": 1, "old": 7}), rng) is not None
    assert adapt_genotype(space, Genotype({"a": 1, "b": 5, "old": 7}), rng) is None  # the option 5 is none of b's


@settings(max_examples=25)
@given(spaces(5), st.integers(0, 9))
def test_a_genotype_of_the_same_space_is_adapted_to_itself(space: Space, seed: int) -> None:
    genotype = space.sample(random.Random(seed))
    assert adapt_genotype(space, genotype, random.Random(0)) == genotype


def test_warm_start_points_are_asked_for_first_and_once() -> None:
    points = [GRID.decode([index] * 6) for index in range(4)]
    inner = Scripted([points[3]])
    searcher = WarmStartSearcher(inner, [points[0], points[1], points[0], points[2]])
    searcher.tell(Outcome(points[1], (0.0,)))  # a study that goes on knows it
    assert [searcher.ask() for _ in range(3)] == [points[0], points[2], points[3]]
    assert inner.received == [Outcome(points[1], (0.0,))]


def test_a_prior_model_predicts_held_out_losses() -> None:
    weights, rng = additive(0), random.Random(0)
    sampled = [GRID.sample(rng) for _ in range(80)]
    prior_model = PriorStudyModel(GRID, [(g, (summed(weights, g), inf)) for g in sampled])
    assert prior_model.predicted_objectives == (0,)  # nothing is to be learnt from failures alone
    assert prior_model.correlations[0] > 0.9
    assert prior_model.correlations[1] == 0.0
    best, worst = (pick(GRID.enumerate(), key=lambda g: summed(weights, g)) for pick in (min, max))
    assert prior_model.predict(best) < prior_model.predict(worst)
    with pytest.raises(ValueError, match="adapt"):
        prior_model.predict(Genotype({"a": 9}))


def test_a_prior_model_that_predicts_nothing_is_not_trusted() -> None:
    rng = random.Random(1)
    predicted_objectives = 0
    for seed in range(8):
        weights = additive(seed)
        sampled = [GRID.sample(rng) for _ in range(60)]
        losses = [summed(weights, g) for g in sampled]
        rng.shuffle(losses)
        predicted_objectives += len(
            PriorStudyModel(GRID, [(g, (v,)) for g, v in zip(sampled, losses, strict=True)]).predicted_objectives
        )
    assert predicted_objectives == 0
    assert PriorStudyModel(GRID, [(GRID.sample(rng), (0.0,))] * 9).predicted_objectives == ()


def test_the_prior_model_is_one_more_feature() -> None:
    weights, rng = additive(0), random.Random(0)
    sampled = [GRID.sample(rng) for _ in range(40)]
    prior_model = PriorStudyModel(GRID, [(g, (summed(weights, g),)) for g in sampled])
    known_features = with_prior_model(limited, prior_model)(sampled[0])
    assert known_features.features == (*limited(sampled[0]).features, *prior_model.predict(sampled[0]))
    assert (known_features.key, known_features.constraint_violation) == (
        limited(sampled[0]).key,
        limited(sampled[0]).constraint_violation,
    )


def plain(genotype: Genotype) -> KnownFeatures:
    return KnownFeatures(genotype.to_json(), (float(total(genotype)),))


def evaluations_until_best(weights: dict[tuple[str, Any], float], seed: int, start: Sequence[Outcome]) -> int:
    """How many genotypes a search asks for until it meets the best of the grid, 60 at most."""
    best = min(summed(weights, genotype) for genotype in GRID.enumerate())
    featurize = (
        plain if not start else with_prior_model(plain, PriorStudyModel(GRID, [(o.genotype, o.losses) for o in start]))
    )
    searcher = make_searcher("gp", GRID, random.Random(seed), featurize=featurize)
    if start:
        searcher = WarmStartSearcher(searcher, [o.genotype for o in sorted(start, key=lambda o: o.losses)[:8]])
    for ask_count in range(1, 61):
        genotype = searcher.ask()
        loss = summed(weights, genotype)
        if loss <= best + 1e-9:
            return ask_count
        searcher.tell(Outcome(genotype, (loss,)))
    return 60


def test_an_earlier_study_of_a_like_task_saves_evaluations() -> None:
    weights, rng = additive(3), random.Random(3)
    like = {item: weight + rng.gauss(0, 0.1) for item, weight in weights.items()}
    cold, warm = [], []
    for seed in range(3):
        start = [Outcome(g, (summed(like, g),)) for g in (GRID.sample(rng) for _ in range(60))]
        cold.append(evaluations_until_best(weights, seed, ()))
        warm.append(evaluations_until_best(weights, seed, start))
    assert sum(warm) < 0.75 * sum(cold)


def candidate(
    number: int, metrics: dict[str, float], status: Status = "trained", constraint_violation: float = 0.0
) -> Candidate:
    genotype = GRID.decode([number // 4**index % 4 for index in range(6)])
    measured = {name: Measurement(value, "trained:digits") for name, value in metrics.items()}
    return Candidate(number, str(number), "", genotype, measured, status, constraint_violation=constraint_violation)


def test_an_earlier_study_gives_its_front_and_a_model_of_trained_objectives() -> None:
    objectives = [Objective("accuracy", "maximize"), Objective("latency_ms", "minimize")]
    weights = additive(5)
    study = [
        candidate(n, {"accuracy": -summed(weights, candidate(n, {}).genotype), "latency_ms": float(n % 11)})
        for n in random.Random(0).sample(range(4**6), 60)
    ]
    scored = [candidate(1, {"latency_ms": 0.0, "score": 99.0}, "scored"), candidate(2, {}, "failed")]
    warm_start_points, prior_model = transfer_from_study([*study, *scored], objectives, GRID, random.Random(0), count=5)
    losses = {c.genotype: tuple(o.loss(c.metrics) for o in objectives) for c in study}
    first = {g for g, own in losses.items() if not any(dominates(other, own) for other in losses.values())}
    assert len(warm_start_points) == len(set(warm_start_points)) == 5
    assert set(warm_start_points) <= first or first <= set(warm_start_points)
    assert prior_model is not None
    assert prior_model.predicted_objectives == (0,)
    assert len(prior_model.correlations) == 1  # latency is known without a model
    assert len(transfer_from_study(study, objectives, GRID, random.Random(0), count=500)[0]) == 60


def test_where_nothing_was_trained_scores_stand_for_quality() -> None:
    objectives = [Objective("accuracy", "maximize")]
    weights = additive(5)
    numbers = random.Random(0).sample(range(4**6), 40)
    study = [candidate(n, {"score": summed(weights, candidate(n, {}).genotype)}, "scored") for n in numbers]
    warm_start_points, prior_model = transfer_from_study(study, objectives, GRID, random.Random(0), count=1)
    assert warm_start_points == [max(study, key=lambda c: c.metrics["score"]).genotype]
    assert prior_model is not None
    broken = [candidate(9, {"accuracy": 1.0}, "trained", constraint_violation=1.0), candidate(8, {"accuracy": 0.5})]
    assert transfer_from_study(broken, objectives, GRID, random.Random(0)) == ([broken[1].genotype], None)
    assert transfer_from_study([], objectives, GRID, random.Random(0)) == ([], None)
    assert transfer_from_study(broken, [Objective("map", "maximize")], GRID, random.Random(0)) == ([], None)


# -- successive halving ----------------------------------------------------------------------------------------------


def halving(inner: str = "sobol", space: Any = GRID, **options: Any) -> SuccessiveHalving:
    searcher = make_searcher(f"halving:{inner}", space, random.Random(0), **options)
    assert isinstance(searcher, SuccessiveHalving)
    return searcher


def test_the_best_third_moves_up_as_soon_as_it_is_there() -> None:
    searcher = halving(eta=3, rungs=2)
    assert searcher.fidelities == (1 / 3, 1.0)
    script = {  # losses in the lowest rung, in the order of the asking, and which of them moves up after each
        0: (5.0, None),
        1: (4.0, None),
        2: (3.0, 2),  # one of three
        3: (9.0, None),  # of four the same one
        4: (9.0, None),
        5: (1.0, 5),  # two of six: this one and the one that was promoted
        6: (2.0, 6),  # it has displaced that one
    }
    new_genotypes = []
    for loss, promoted in script.values():
        genotype, fidelity = searcher.ask_with_fidelity()
        assert fidelity == 1 / 3
        new_genotypes.append(genotype)
        searcher.tell_with_fidelity(Outcome(genotype, (loss,)), fidelity)
        if promoted is not None:
            again, fidelity = searcher.ask_with_fidelity()
            assert (again, fidelity) == (new_genotypes[promoted], 1.0)
            searcher.tell_with_fidelity(Outcome(again, (0.5,)), fidelity)
    assert len(set(new_genotypes)) == len(new_genotypes)


def test_the_highest_promotion_comes_first() -> None:
    searcher = halving(eta=2, rungs=3)
    assert searcher.fidelities == (0.25, 0.5, 1.0)
    fidelities = []
    for index in range(14):
        genotype, fidelity = searcher.ask_with_fidelity()
        fidelities.append(fidelity)
        searcher.tell_with_fidelity(Outcome(genotype, (float(-index),)), fidelity)
    # Each is better than all before: of every two of a rung, the later moves up.
    assert fidelities[:7] == [0.25, 0.25, 0.5, 0.25, 0.5, 1.0, 0.25]


def test_halving_spends_its_time_on_the_best() -> None:
    weights = additive(7)
    for name in ("random", "evolution", "gp"):
        searcher = halving(name, featurize=plain, objectives=1)
        rungs: dict[float, list[float]] = {fidelity: [] for fidelity in searcher.fidelities}
        for _ in range(40):
            genotype, fidelity = searcher.ask_with_fidelity()
            loss = summed(weights, genotype)
            rungs[fidelity].append(loss)
            searcher.tell_with_fidelity(Outcome(genotype, (loss,)), fidelity)
        low, middle, high = (rungs[fidelity] for fidelity in searcher.fidelities)
        assert len(low) > len(middle) > len(high) > 0
        assert sum(high) / len(high) < sum(middle) / len(middle) < sum(low) / len(low)
        assert min(high) <= sorted(low)[1]


def test_of_several_objectives_the_front_moves_up_by_room() -> None:
    searcher = halving(eta=3, rungs=2)
    losses = [(0.0, 8.0), (1.0, 4.0), (1.1, 3.9), (4.0, 0.0), (5.0, 5.0), (9.0, 9.0)]
    suggestions = [searcher.ask_with_fidelity() for _ in losses]  # all at once
    for (genotype, fidelity), own in zip(suggestions, losses, strict=True):
        searcher.tell_with_fidelity(Outcome(genotype, own), fidelity)
    promoted = {searcher.ask_with_fidelity() for _ in range(2)}
    assert promoted == {(suggestions[0].genotype, 1.0), (suggestions[3].genotype, 1.0)}  # the ends of the front
    assert searcher.ask_with_fidelity().fidelity == 1 / 3


def test_failures_and_broken_limits_do_not_move_up() -> None:
    searcher = halving(eta=2, rungs=2)
    for index in range(12):
        genotype, fidelity = searcher.ask_with_fidelity()
        assert fidelity == 0.5
        searcher.tell_with_fidelity(
            Outcome(genotype, (inf,)) if index % 2 else Outcome(genotype, (0.0,), 1.0), fidelity
        )


def test_one_network_has_one_place() -> None:
    searcher = halving(eta=2, rungs=2, network_key=lambda genotype: str(genotype["a"]))
    for _ in range(40):
        genotype, fidelity = searcher.ask_with_fidelity()
        searcher.tell_with_fidelity(Outcome(genotype, (float(str(genotype["a"])),)), fidelity)
        if fidelity == 1.0:
            assert genotype["a"] in (0, 1, 2)  # the half of what there was then
    promoted = [s for s in (searcher.ask_with_fidelity() for _ in range(20)) if s.fidelity == 1.0]
    assert promoted == []


def test_the_inner_searcher_is_told_of_the_lowest_rung_only() -> None:
    searcher = halving(eta=2, rungs=2)
    inner = Scripted([GRID.decode([index] * 6) for index in range(4)])
    searcher._inner = inner
    for _ in range(6):
        genotype, fidelity = searcher.ask_with_fidelity()
        searcher.tell_with_fidelity(Outcome(genotype, (fidelity * 10 + total(genotype),)), fidelity)
    assert [o.losses for o in inner.received] == [(5.0 + 6 * index,) for index in range(len(inner.received))]
    assert len(inner.received) == 4
    fresh = Outcome(GRID.decode([0, 1, 2, 3, 0, 1]), (7.0,))
    searcher.tell(fresh)  # in full, and never at a lower fidelity
    assert inner.received[-1] == fresh


def test_promotions_are_rebuilt_from_what_is_told_again() -> None:
    lived, received = halving(eta=2), halving(eta=2)
    history = []
    for index in range(30):
        genotype, fidelity = lived.ask_with_fidelity()
        history.append((Outcome(genotype, (float(index * 37 % 31),)), fidelity))
        lived.tell_with_fidelity(*history[-1])
    for outcome, fidelity in history:
        received.tell_with_fidelity(outcome, fidelity)
    assert [lived.ask_with_fidelity() for _ in range(20)] == [received.ask_with_fidelity() for _ in range(20)]


def test_wrappers_pass_fidelities_on() -> None:
    """A repaired genotype of halving moves up as what it is; the one it was made of is told of once, as broken."""
    inner = Scripted([GRID.decode([3] * 6), GRID.decode([0] * 6), GRID.decode([1, 0, 0, 0, 0, 0])])
    rungs = halving(eta=2, rungs=2)
    rungs._inner = inner
    warm_start_points = GRID.decode([0, 0, 0, 0, 0, 1])
    searcher = WarmStartSearcher(
        RepairingSearcher(rungs, GRID, random.Random(0), limited, attempts=200), [warm_start_points]
    )
    assert searcher.fidelities == (0.5, 1.0)
    first, second = searcher.ask_with_fidelity(), searcher.ask_with_fidelity()
    assert first == (warm_start_points, 0.5)
    assert second.fidelity == 0.5
    assert limited(second.genotype).constraint_violation == 0
    searcher.tell_with_fidelity(Outcome(second.genotype, (1.0,)), 0.5)
    searcher.tell_with_fidelity(Outcome(warm_start_points, (2.0,)), 0.5)
    broken = Outcome(GRID.decode([3] * 6), (inf,), 14.0)
    assert inner.received == [broken, Outcome(second.genotype, (1.0,)), Outcome(warm_start_points, (2.0,))]
    assert searcher.ask_with_fidelity() == (second.genotype, 1.0)
    searcher.tell_with_fidelity(Outcome(second.genotype, (0.5,)), 1.0)
    assert len(inner.received) == 3  # of the lowest rung only
    assert searcher.ask_with_fidelity() == (GRID.decode([0] * 6), 0.5)


def test_a_searcher_without_fidelities_trains_in_full() -> None:
    inner = Scripted([GRID.decode([0] * 6), GRID.decode([1, 0, 0, 0, 0, 0])])
    plain_one = as_multi_fidelity(inner)
    assert plain_one.fidelities == (1.0,)
    assert plain_one.ask_with_fidelity() == (GRID.decode([0] * 6), 1.0)
    searcher = RepairingSearcher(inner, GRID, random.Random(0), limited)
    assert as_multi_fidelity(searcher) is searcher
    suggestion = searcher.ask_with_fidelity()
    assert (suggestion.fidelity, searcher.fidelities) == (1.0, (1.0,))
    searcher.tell_with_fidelity(Outcome(suggestion.genotype, (1.0,)), 1.0)
    assert inner.received == [Outcome(suggestion.genotype, (1.0,))]


@given(st.integers(2, 9), st.integers(0, 6))
def test_a_fidelity_is_the_fraction_that_was_meant(eta: int, rung: int) -> None:
    assert exact_fraction(float(eta) ** -rung) == Fraction(1, eta**rung)


def test_known_outcomes_are_trained_in_full() -> None:
    earlier_outcomes = [Outcome(GRID.decode([index] * 6), (float(index),)) for index in range(4)]
    space: Any = GRID
    searcher = SuccessiveHalving(
        "evolution", space, random.Random(0), earlier_outcomes, eta=2, rungs=2, population=4, tournament=4
    )
    genotype, fidelity = searcher.ask_with_fidelity()
    assert fidelity == 0.5
    assert any(
        sum(own[n] != genotype[n] for n in own) == 1 for own in [o.genotype for o in earlier_outcomes]
    )  # a child of one
    searcher.tell_with_fidelity(Outcome(earlier_outcomes[0].genotype, (0.0,)), 0.5)
    searcher.tell_with_fidelity(Outcome(earlier_outcomes[1].genotype, (1.0,)), 0.5)
    assert searcher.ask_with_fidelity().fidelity == 0.5  # the better one was trained in full already


def test_halving_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="eta"):
        halving(eta=1)
    with pytest.raises(ValueError, match="rungs"):
        halving(rungs=0)
    with pytest.raises(ValueError, match="around another searcher"):
        halving("halving:gp")
    with pytest.raises(ValueError, match="'gp' has no option 'populaton'"):
        halving("gp", populaton=3)
    with pytest.raises(UnknownName, match="evolution"):
        halving("evolutoin")
    with pytest.raises(ValueError, match=r"rungs' fidelities: 0\.1111, 0\.3333, 1"):
        halving().tell_with_fidelity(Outcome(GRID.decode([0] * 6), (0.0,)), 0.5)
    assert halving("evolution", population=7, tournament=3, eta=4, rungs=1).ask_with_fidelity().fidelity == 1.0
