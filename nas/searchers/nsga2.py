"""NSGA-II (Deb, Pratap, Agarwal and Meyarivan 2002, doi 10.1109/4235.996017), for several objectives and hard limits.

Members are ranked by fronts under constraint domination (definition 1 of section VI: of two members, one within the
limits wins; of two beyond them, the one that breaks them less; of two within them, the Pareto domination of losses).
Within a front, the more room around a member the better (section III-B): for every loss, the distance between the two
neighbours of a member along it, divided by the range of the front; the ends of a front have infinite room.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from nas.candidates.pareto import crowded_ranking
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype


@dataclass(frozen=True)
class _Member:
    outcome: Outcome
    rank: int
    crowding_distance: float

    def is_better_than(self, other: _Member) -> bool:
        """The crowded-comparison operator of section III-B."""
        return (self.rank, -self.crowding_distance) < (other.rank, -other.crowding_distance)


def _survivors(outcomes: Sequence[Outcome], count: int) -> list[_Member]:
    """The best ``count``: whole fronts while they fit, then those of the next with the most room (section III-C)."""
    ranking = crowded_ranking(outcomes, count)
    return [_Member(outcomes[point.index], point.rank, point.crowding_distance) for point in ranking]


class Nsga2:
    """A generation is over when as many outcomes were told as the population has members.

    Outcomes count whenever they come and whoever asked for them. The first population is random, or ``history`` where
    there is one. ``crossover``: the probability that a child has two parents. ``mutation``: the probability that a
    decision of a child changes; by default one over their number. A child whose network was asked for or told of
    before, as ``network_key`` tells (by default: whose genotype was), is mutated again, at most ``resample`` times.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        population: int = 32,
        crossover: float = 0.9,
        mutation: float | None = None,
        resample: int = 10,
        network_key: Callable[[Genotype], str] | None = None,
    ) -> None:
        if population < 2:
            raise ValueError(f"a population has at least 2 members, not {population}")
        for what, probability in (("crossover", crossover), ("mutation", mutation)):
            if probability is not None and not 0 <= probability <= 1:
                raise ValueError(f"{what} is a probability, 0 to 1, not {probability}")
        if resample < 0:
            raise ValueError(f"resample counts from 0, not {resample}")
        self._space = space
        self._rng = rng
        self._population = population
        self._crossover = crossover
        self._mutation = mutation
        self._resample = resample
        self._network_key: Callable[[Genotype], Hashable] = network_key or (lambda genotype: genotype)
        self._proposed_keys: set[Hashable] = set()
        self._parents: list[_Member] = []
        self._children: dict[Hashable, Outcome] = {}
        self._generation_outcomes = 0
        for outcome in history:
            self.tell(outcome)
        if history and not self._parents:
            self._select()

    def ask(self) -> Genotype:
        child = self._child() if self._parents else self._space.sample(self._rng)
        key = self._network_key(child)
        for _ in range(self._resample):
            if key not in self._proposed_keys:
                break
            child = self._space.mutate(child, self._rng) if self._parents else self._space.sample(self._rng)
            key = self._network_key(child)
        self._proposed_keys.add(key)
        return child

    def tell(self, outcome: Outcome) -> None:
        key = self._network_key(outcome.genotype)
        self._proposed_keys.add(key)
        self._children[key] = outcome  # told again, it is one member, and the newest outcome counts
        self._generation_outcomes += 1
        if self._generation_outcomes >= self._population:
            self._select()

    def _select(self) -> None:
        pool = {self._network_key(m.outcome.genotype): m.outcome for m in self._parents} | self._children
        self._parents = _survivors(list(pool.values()), self._population)
        self._children, self._generation_outcomes = {}, 0

    def _child(self) -> Genotype:
        child = self._parent()
        if self._rng.random() < self._crossover:
            child = self._space.crossover(child, self._parent(), self._rng)
        rate = 1 / max(1, len(child)) if self._mutation is None else self._mutation
        for _ in range(sum(self._rng.random() < rate for _ in range(len(child)))):
            child = self._space.mutate(child, self._rng)
        return child

    def _parent(self) -> Genotype:
        """The winner of a binary tournament."""
        a, b = (self._parents[int(self._rng.random() * len(self._parents))] for _ in range(2))
        return (b if b.is_better_than(a) else a).outcome.genotype
