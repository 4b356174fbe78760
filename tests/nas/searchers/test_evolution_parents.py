"""Aging evolution's parents, chosen the fast way, are those of the definition."""

from __future__ import annotations

import random
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

import nas
from nas.candidates.pareto import dominates, non_dominated_losses
from nas.searchers.evolution import AgingEvolution
from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype

_LOSS = st.sampled_from([0.0, 1.0, 1.5, -2.0, inf, nan])


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[_LOSS] * n), min_size=1, max_size=8)))
def test_the_undominated_are_those_that_none_dominates(losses: list[tuple[float, ...]]) -> None:
    expected = [a for a in losses if not any(dominates(b, a) for b in losses)]
    best = non_dominated_losses(set(losses))
    assert [a for a in losses if a in best] == expected


def test_one_seed_gives_the_parent_of_the_definition() -> None:
    rng, again = random.Random(5), random.Random(5)
    fill = random.Random(0)
    searcher = AgingEvolution(nas.load_space("mobiledet"), rng)
    for _ in range(64):
        losses = (float(fill.randrange(9)), float(fill.randrange(9)))
        searcher.tell(Outcome(Genotype({}), losses, float(fill.randrange(2))))
    members = list(searcher._population)
    for _ in range(200):
        contestants = [members[int(again.random() * 64)] for _ in range(10)]
        feasible = [m for m in contestants if m.constraint_violation == 0]
        if feasible:
            best = [m for m in feasible if not any(dominates(o.losses, m.losses) for o in feasible)]
            expected = best[int(again.random() * len(best))]
        else:
            expected = contestants[0]
        assert searcher._parent() is expected
