"""Searchers: what each algorithm states of itself, and what every row of ``SEARCHERS`` keeps on every kind of space."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.candidates.pareto import constrained_non_dominated_sort, crowding_distances, dominates
from nas.searchers.catalog import SEARCHERS, make_searcher
from nas.searchers.choice_space import ChoiceSpace, FlatSpace
from nas.searchers.local_search import LocalSearch, neighbours
from nas.searchers.low_discrepancy import LowDiscrepancy, SequenceError, low_discrepancy
from nas.searchers.nsga2 import Nsga2
from nas.searchers.protocol import KnownFeatures, Outcome, Searcher
from nas.testing.searchers import practice_space
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype, GenotypeError
from search_spaces.space.space import Space
from tests.support.random_spaces import space_of, spaces

Losses = Callable[[Genotype], tuple[float, ...]]

GRID = FlatSpace({"a": (0, 1, 2, 3), "b": (0, 1, 2, 3), "c": (0, 1, 2, 3)})
NOTHING = Genotype({})
CONDITIONAL = (
    ("choose", "c1", (0, 1, 2)),
    ("if", "one", 0, 0, (("choose", "c2", (0, 1, 2, 3)), ("choose", "c3", (0, 1))), (("choose", "c4", (0, 1)),)),
    ("choose", "c5", (0, 1, 2)),
)


def outcome(*losses: float, constraint_violation: float = 0.0) -> Outcome:
    return Outcome(NOTHING, losses, constraint_violation)


def numbers(genotype: Genotype) -> list[float]:
    """A number for each decision, the same in every process."""
    return [(sum(map(ord, name)) * 31 + sum(map(ord, repr(value))) * 17) % 101 for name, value in genotype.items()]


def evaluated(genotype: Genotype, objectives: int = 2) -> Outcome:
    """Losses that pull in different directions, some broken limits, some failures."""
    values = numbers(genotype)
    losses = tuple([float(sum((v * (index + 1)) % 101 for v in values)) for index in range(objectives)])
    total = int(sum(values))
    failed = total % 11 == 0
    return Outcome(genotype, (inf,) * objectives if failed else losses, max(0.0, total % 13 - 9.0))


def play(searcher: Searcher, asks: int, batch: int = 1, objectives: int = 2, late: int = 0) -> list[Outcome]:
    """What became of each ask, in the order of the telling; with ``late``, out of the order of the asking."""
    shuffle = random.Random(late)
    told_outcomes: list[Outcome] = []
    while len(told_outcomes) < asks:
        wave = [evaluated(searcher.ask(), objectives) for _ in range(batch)]
        if late:
            shuffle.shuffle(wave)
        for one in wave:
            searcher.tell(one)
        told_outcomes += wave
    return told_outcomes


# -- choices without graphs ------------------------------------------------------------------------------------------


def test_a_flat_space_and_a_space_of_the_same_choices_agree() -> None:
    same = space_of(tuple(("choose", name, options) for name, options in GRID.options.items()))
    assert GRID.decisions() == same.decisions()
    assert GRID.size() == same.size() == 64
    assert list(GRID.enumerate()) == list(same.enumerate())
    for genotype in GRID.enumerate():
        assert list(GRID.encode(genotype)) == list(same.encode(genotype))
        assert GRID.decode(GRID.encode(genotype)) == genotype
    for method in ("sample", "complete", "mutate"):
        arguments: tuple[Any, ...] = {"sample": (), "complete": ({"b": 2},), "mutate": (GRID.decode([1, 2, 3]),)}[
            method
        ]
        for seed in range(20):
            assert getattr(GRID, method)(*arguments, random.Random(seed)) == getattr(same, method)(
                *arguments, random.Random(seed)
            )
    a, b = GRID.decode([0, 0, 0]), GRID.decode([3, 3, 3])
    assert len({GRID.crossover(a, b, random.Random(seed)) for seed in range(100)}) == 8


@pytest.mark.parametrize("vector", [[0, 0], [0, 0, 4], [0, -1, 0]])
def test_vectors_that_a_flat_space_lacks_are_refused(vector: list[int]) -> None:
    with pytest.raises(GenotypeError):
        GRID.decode(vector)


# -- NSGA-II ---------------------------------------------------------------------------------------------------------


def before(a: Outcome, b: Outcome) -> bool:
    """Definition 1 of Deb et al. 2002, word for word."""
    if (a.constraint_violation > 0) != (b.constraint_violation > 0):
        return b.constraint_violation > 0
    return (
        a.constraint_violation < b.constraint_violation if a.constraint_violation > 0 else dominates(a.losses, b.losses)
    )


OUTCOMES = st.lists(
    st.builds(
        lambda losses, constraint_violation: Outcome(NOTHING, losses, constraint_violation),
        st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 3.0, inf])] * 3),
        st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(OUTCOMES)
def test_fronts_are_peeled_one_after_the_other(outcomes: list[Outcome]) -> None:
    remaining = set(range(len(outcomes)))
    for front in constrained_non_dominated_sort(outcomes):
        best = {i for i in remaining if not any(before(outcomes[j], outcomes[i]) for j in remaining)}
        assert set(front) == best
        remaining -= best
    assert not remaining


def test_limits_come_before_losses() -> None:
    within, worse, little, much = (
        outcome(5.0, 5.0),
        outcome(6.0, 6.0),
        outcome(0.0, 0.0, constraint_violation=0.1),
        outcome(-1.0, -1.0, constraint_violation=0.2),
    )
    assert constrained_non_dominated_sort([much, worse, little, within]) == [[3], [1], [2], [0]]
    assert constrained_non_dominated_sort([]) == []


def test_crowding_of_a_front_worked_by_hand() -> None:
    # Ranges 4 and 8: (3 - 0) / 4 + (8 - 1) / 8 for the second, (4 - 1) / 4 + (4 - 0) / 8 for the third.
    assert crowding_distances([(0, 8), (1, 4), (3, 1), (4, 0)]) == [inf, 3 / 4 + 7 / 8, 3 / 4 + 4 / 8, inf]
    assert crowding_distances([(1, 1), (1, 1)]) == [0, 0]
    assert crowding_distances([(1, 1, 5), (2, 1, 4)]) == [inf, inf]
    assert crowding_distances([(0, inf), (1, 2), (2, 0)]) == [inf, 2.0, inf]  # the infinite loss counts as 2
    assert crowding_distances([(inf, inf)]) == [0]


def test_the_first_front_survives_and_then_those_with_most_room() -> None:
    space = FlatSpace({"x": tuple(range(6))})
    losses = [(0.0, 8.0), (1.0, 4.0), (1.1, 3.9), (4.0, 0.0), (5.0, 5.0), (9.0, 9.0)]
    earlier_outcomes = [Outcome(Genotype({"x": x}), losses[x]) for x in range(6)]
    searcher = Nsga2(space, random.Random(0), earlier_outcomes, population=3, crossover=0, mutation=0, resample=0)
    # Without variation a child is a parent: the ends of the front and, of the two close to each other, (1.1, 3.9)
    # whose neighbours (1, 4) and (4, 0) are farther away than those of (1, 4).
    proposed_genotypes = {searcher.ask()["x"] for _ in range(60)}
    assert proposed_genotypes == {0, 3, 2} or proposed_genotypes == {0, 3, 1}
    room = crowding_distances(losses[:4])
    assert proposed_genotypes == {0, 3, 1 if room[1] > room[2] else 2}


def test_a_generation_ends_after_as_many_outcomes_as_members() -> None:
    searcher = Nsga2(GRID, random.Random(0), population=8, crossover=0, mutation=0, resample=0)
    first = [searcher.ask() for _ in range(8)]
    for genotype in first[:7]:
        searcher.tell(Outcome(genotype, (float(sum(map(int, genotype.values()))),)))
    proposed_genotypes = [searcher.ask() for _ in range(40)]
    assert not set(proposed_genotypes) <= set(first)  # still random
    searcher.tell(Outcome(first[7], (99.0,)))
    proposed_genotypes = [searcher.ask() for _ in range(40)]
    assert set(proposed_genotypes) <= set(first)  # children of the first population, with nothing changed


def test_nsga2_finds_the_whole_front_of_a_small_space() -> None:
    def losses(genotype: Genotype) -> tuple[float, float]:
        values = [float(str(v)) for v in genotype.values()]
        return sum(values), sum((v - 3) ** 2 for v in values)

    space = FlatSpace({name: tuple(range(4)) for name in "abcdef"})
    every = {losses(genotype) for genotype in space.enumerate()}
    best = {point for point in every if not any(dominates(other, point) for other in every)}
    searcher = Nsga2(space, random.Random(0), population=32)
    found = set()
    for _ in range(1300):  # of 4,096 genotypes
        genotype = searcher.ask()
        found.add(losses(genotype))
        searcher.tell(Outcome(genotype, losses(genotype)))
    assert len(best) == 19
    assert best <= found


def test_nsga2_asks_for_no_network_twice_while_there_are_others() -> None:
    searcher = Nsga2(GRID, random.Random(0), population=8, resample=1000, network_key=Genotype.to_json)
    assert len({one.genotype for one in play(searcher, 60)}) == 60
    # Of an encoding where a network has two names, only one of them.
    searcher = Nsga2(GRID, random.Random(0), population=8, resample=1000, network_key=lambda g: f"{g['a']}{g['b']}")
    assert len({(g.genotype["a"], g.genotype["b"]) for g in play(searcher, 16)}) == 16


@pytest.mark.parametrize(
    "options",
    [{"population": 1}, {"crossover": 1.5}, {"mutation": -0.1}, {"resample": -1}],
    ids=lambda o: next(iter(o)),
)
def test_nsga2_refuses_what_makes_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not"):
        Nsga2(GRID, random.Random(0), **options)


# -- local search ----------------------------------------------------------------------------------------------------


def table(seed: int = 0) -> dict[Genotype, float]:
    """A loss for each genotype of the grid, all different, with more than one local optimum."""
    values = list(range(64))
    random.Random(seed).shuffle(values)
    return dict(zip(GRID.enumerate(), map(float, values), strict=True))


def test_neighbours_differ_in_one_decision() -> None:
    around = list(neighbours(GRID, GRID.decode([0, 1, 2]), "0"))
    assert len(around) == len(set(around)) == 9
    assert all(sum(one[n] != v for n, v in GRID.decode([0, 1, 2]).items()) == 1 for one in around)
    assert around == list(neighbours(GRID, GRID.decode([0, 1, 2]), "0"))
    assert around != list(neighbours(GRID, GRID.decode([0, 1, 2]), "1"))


def test_all_neighbours_then_the_best_of_them() -> None:
    losses = table()
    searcher = LocalSearch(GRID, random.Random(0))
    here = searcher.ask()
    searcher.tell(Outcome(here, (losses[here],)))
    earlier_outcomes = {here}
    while True:
        around = [one for one in neighbours(GRID, here) if one not in earlier_outcomes]
        proposed_genotypes = [searcher.ask() for _ in range(len(around))]
        assert set(proposed_genotypes) == set(around)
        for one in proposed_genotypes:
            searcher.tell(Outcome(one, (losses[one],)))
        earlier_outcomes.update(proposed_genotypes)
        best = min(neighbours(GRID, here), key=losses.__getitem__)
        if losses[best] > losses[here]:
            break
        here = best
    optima = {g for g in losses if all(losses[g] < losses[n] for n in neighbours(GRID, g))}
    assert here in optima


@pytest.mark.parametrize("until_improvement", [False, True])
@pytest.mark.parametrize("start", ["random", "sobol"])
def test_restarts_go_on_until_the_space_is_seen_and_no_key_comes_twice(until_improvement: bool, start: str) -> None:
    losses = table()
    searcher = LocalSearch(GRID, random.Random(1), until_improvement=until_improvement, start=start)
    proposed_genotypes = []
    for _ in range(56):
        proposed_genotypes.append(searcher.ask())
        searcher.tell(Outcome(proposed_genotypes[-1], (losses[proposed_genotypes[-1]],)))
    assert len(set(proposed_genotypes)) == 56
    searcher.tell(Outcome(searcher.ask(), (0.0,)))


def test_until_improvement_moves_at_once() -> None:
    line = FlatSpace({name: tuple(range(5)) for name in "abc"})
    searcher = LocalSearch(line, random.Random(0), until_improvement=True)
    here = searcher.ask()
    searcher.tell(Outcome(here, (float(sum(map(int, here.values()))),)))
    for _ in range(30):
        one = searcher.ask()
        loss = float(sum(map(int, one.values())))
        assert sum(one[n] != here[n] for n in "abc") == 1
        searcher.tell(Outcome(one, (loss,)))
        if loss < sum(map(int, here.values())):
            here = one
        if not any(here.values()):
            return
    raise AssertionError("a slope without local optima leads down in 30 steps")


def test_pareto_local_search_keeps_all_that_nothing_dominates() -> None:
    """From the front itself, one decision at a time: its neighbours are all looked at, of every member."""
    space = FlatSpace({name: tuple(range(4)) for name in "abc"})

    def losses(genotype: Genotype) -> tuple[float, float]:
        values = [int(str(v)) for v in genotype.values()]
        return float(sum(values)), float(sum((v - 3) ** 2 for v in values))

    every = {g: losses(g) for g in space.enumerate()}
    best = {point for point in every.values() if not any(dominates(other, point) for other in every.values())}
    searcher = LocalSearch(space, random.Random(0))
    found = set()
    for _ in range(64):
        one = searcher.ask()
        found.add(losses(one))
        searcher.tell(Outcome(one, losses(one)))
    assert best <= found


def test_a_limit_that_is_kept_better_is_an_improvement() -> None:
    line = FlatSpace({"x": tuple(range(4)), "y": tuple(range(4))})
    searcher = LocalSearch(line, random.Random(0), until_improvement=True)
    start = line.decode([3, 3])
    searcher.tell(Outcome(start, (0.0,), 6.0))
    while True:
        one = searcher.ask()
        constraint_violation = float(int(str(one["x"])) + int(str(one["y"])))
        searcher.tell(Outcome(one, (100.0,), constraint_violation))
        if constraint_violation == 0:
            break
    assert one == line.decode([0, 0])


def test_a_neighbour_that_nobody_tells_of_does_not_hold_local_search_up_for_ever() -> None:
    losses = table()
    searcher = LocalSearch(GRID, random.Random(0))
    first = searcher.ask()
    searcher.tell(Outcome(first, (losses[first],)))
    lost = searcher.ask()
    proposed_genotypes = [first, lost]
    for _ in range(60):
        one = searcher.ask()
        proposed_genotypes.append(one)
        searcher.tell(Outcome(one, (losses[one],)))
    assert len(set(proposed_genotypes[:50])) == 50
    adjacent = [sum(a[n] != b[n] for n in GRID.options) == 1 for a, b in itertools.pairwise(proposed_genotypes[30:])]
    assert any(adjacent)


# -- low-discrepancy sequences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [8, 64, 256])
def test_each_option_of_balanced_choices_is_covered_equally_often(count: int) -> None:
    space = FlatSpace({"a": (0, 1), "b": tuple("wxyz"), "c": tuple(range(8)), "d": (5,)})
    points = low_discrepancy(space, count, random.Random(3))
    for name, options in space.options.items():
        assert Counter(point[name] for point in points) == dict.fromkeys(options, count // len(options))


def test_a_sequence_fills_a_small_space_sooner_than_chance() -> None:
    space = FlatSpace({"a": tuple(range(8)), "b": tuple(range(8))})
    for seed in range(5):
        # Two coordinates of Sobol are a (0, 2)-sequence in base 2: of 64 points, one in each of 64 equal boxes.
        assert len(set(low_discrepancy(space, 64, random.Random(seed)))) == 64


def test_seeds_scramble() -> None:
    draws = [low_discrepancy(GRID, 8, random.Random(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_sequence_goes_on_where_it_was_told_to_be() -> None:
    whole = LowDiscrepancy(GRID, random.Random(0))
    points = [whole.ask() for _ in range(150)]
    earlier_outcomes = [Outcome(point, (0.0,)) for point in reversed(points[:100])]
    again = LowDiscrepancy(GRID, random.Random(0), earlier_outcomes)
    assert [again.ask() for _ in range(50)] == points[100:]


def test_a_space_without_choices_has_one_point() -> None:
    assert low_discrepancy(FlatSpace({}), 3, random.Random(0)) == [NOTHING] * 3


def test_other_sequences() -> None:
    with pytest.raises(UnknownName, match="sobol"):
        LowDiscrepancy(GRID, random.Random(0), engine="sobl")
    with pytest.raises(UnknownName, match="sobol"):
        LocalSearch(GRID, random.Random(0), start="sobl")
    many = FlatSpace({str(i): (0, 1) for i in range(21_202)})
    with pytest.raises(SequenceError, match="21202"):
        low_discrepancy(many, 1, random.Random(0))


def test_a_lattice_covers_equally_too_or_says_what_it_needs() -> None:
    space = FlatSpace({"a": (0, 1), "b": tuple("wxyz"), "c": tuple(range(8))})
    try:
        points = low_discrepancy(space, 128, random.Random(0), engine="lattice")
    except SequenceError as error:
        assert "pip install qmcpy" in str(error)  # noqa: PT017 - what is installed decides which of both is right
        return
    for name, options in space.options.items():
        assert Counter(point[name] for point in points) == dict.fromkeys(options, 128 // len(options))


# -- every searcher --------------------------------------------------------------------------------------------------

_KINDS: dict[str, ChoiceSpace] = {
    "conditional": space_of(CONDITIONAL),
    "flat": GRID,
    "networks": Space(practice_space),
    "no choice": space_of((("choose", "only", (7,)),)),
}
# These fit models; the others ask for more than a first population.
_SLOW = {"gp", "predictor", "auto"}


def featurize(genotype: Genotype) -> KnownFeatures:
    values = numbers(genotype)
    return KnownFeatures(genotype.to_json(), (float(sum(values)), float(len(values))))


def searcher_of(
    name: str, space: ChoiceSpace, seed: int = 0, earlier_outcomes: Sequence[Outcome] = (), objectives: int = 2
) -> Searcher:
    any_space: Any = space
    return make_searcher(
        name, any_space, random.Random(seed), earlier_outcomes, featurize=featurize, objectives=objectives
    )


def asks(name: str) -> int:
    return 14 if name in _SLOW else 80


def check_in(space: ChoiceSpace, told_outcomes: Sequence[Outcome]) -> None:
    for one in told_outcomes:
        assert space.decode(space.encode(one.genotype)) == one.genotype


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_stays_in_the_space(name: str, kind: str) -> None:
    """With one to three losses, broken limits and failures, on every kind of space."""
    for objectives in (1, 3):
        told_outcomes = play(searcher_of(name, _KINDS[kind], objectives=objectives), asks(name), objectives=objectives)
        check_in(_KINDS[kind], told_outcomes)


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_repeats_itself(name: str) -> None:
    runs = [play(searcher_of(name, GRID, seed), asks(name), batch=2) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_takes_batches_out_of_order(name: str) -> None:
    space = _KINDS["conditional"]
    told_outcomes = play(searcher_of(name, space), asks(name), batch=8, late=5)
    check_in(space, told_outcomes)
    assert len({one.genotype for one in told_outcomes}) > min(space.size(), len(told_outcomes)) / 2


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_goes_on_from_what_it_is_told_again(name: str) -> None:
    """Rebuilt twice from one history, it asks for the same; as history or told later, both will do."""
    history = play(searcher_of(name, GRID), asks(name))
    before = list(history)
    again = [play(searcher_of(name, GRID, 1, history), 6) for _ in range(2)]
    assert again[0] == again[1]
    assert history == before
    searcher = searcher_of(name, GRID, 1)
    for one in history:
        searcher.tell(one)
    check_in(GRID, play(searcher, 6))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("local", {}),
        ("local", {"until_improvement": True}),
        ("local", {"start": "sobol"}),
        ("nsga2", {}),
        ("sobol", {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("objectives", [1, 2])
def test_told_again_is_as_good_as_lived_through(name: str, options: dict[str, Any], objectives: int) -> None:
    space: Any = _KINDS["networks"]
    rng, other = random.Random(4), random.Random(4)
    lived = make_searcher(name, space, rng, **options)
    told_outcomes = make_searcher(name, space, other, **options)
    for one in play(lived, 45, objectives=objectives):
        told_outcomes.tell(one)
    other.setstate(rng.getstate())
    assert play(lived, 30, objectives=objectives) == play(told_outcomes, 30, objectives=objectives)


@settings(max_examples=15)
@given(spaces(5), st.integers(0, 9), st.sampled_from([1, 3]))
def test_searchers_stay_in_spaces_with_choices_that_come_and_go(space: Space, seed: int, batch: int) -> None:
    for name in ("local", "nsga2", "sobol"):
        check_in(space, play(searcher_of(name, space, seed), 24, batch))


def test_local_search_reaches_all_of_a_conditional_space() -> None:
    space = space_of(CONDITIONAL)
    size = space.size()
    assert size == 3 * 8 + 2 * 3 * 2
    searcher = searcher_of("local", space)
    assert len({one.genotype for one in play(searcher, size)}) > 0.8 * size
