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
from math import inf, isfinite

import numpy

from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype


def fronts(outcomes: Sequence[Outcome]) -> list[list[int]]:
    """Indices of ``outcomes`` front by front, ascending in each; equal outcomes share a front (section III-A)."""
    if not outcomes:
        return []
    losses = numpy.array([o.losses for o in outcomes], dtype=float).reshape(len(outcomes), -1)
    excess = numpy.array([o.excess for o in outcomes], dtype=float)
    pareto = (losses[:, None] <= losses[None]).all(axis=2) & (losses[:, None] < losses[None]).any(axis=2)
    within = excess <= 0
    # before[i, j]: i constraint-dominates j
    before = numpy.where(within[:, None] & within[None], pareto, excess[:, None] < excess[None])
    dominators = before.sum(axis=0)
    result = []
    left = numpy.ones(len(outcomes), dtype=bool)
    while left.any():
        best = numpy.flatnonzero(left & (dominators == 0))
        result.append([int(i) for i in best])
        left[best] = False
        dominators = dominators - before[best].sum(axis=0)
    return result


def crowding(losses: Sequence[Sequence[float]]) -> list[float]:
    """The room around each point of one front: crowding-distance-assignment of section III-B.

    An infinite loss counts as the largest finite one of the front. A loss that is the same everywhere adds nothing.
    """
    room = [0.0] * len(losses)
    for column in zip(*losses, strict=True):
        ceiling = max([v for v in column if isfinite(v)], default=0.0)
        values = [min(v, ceiling) for v in column]
        order = sorted(range(len(values)), key=column.__getitem__)
        low, high = values[order[0]], values[order[-1]]
        if low == high:
            continue
        room[order[0]] = room[order[-1]] = inf
        for before, here, after in zip(order, order[1:], order[2:], strict=False):
            room[here] += (values[after] - values[before]) / (high - low)
    return room


@dataclass(frozen=True)
class _Member:
    outcome: Outcome
    rank: int
    room: float

    def beats(self, other: _Member) -> bool:
        """The crowded-comparison operator of section III-B."""
        return (self.rank, -self.room) < (other.rank, -other.room)


def _survivors(outcomes: Sequence[Outcome], count: int) -> list[_Member]:
    """The best ``count``: whole fronts while they fit, then those of the next with the most room (section III-C)."""
    members: list[_Member] = []
    for rank, front in enumerate(fronts(outcomes)):
        room = crowding([outcomes[i].losses for i in front])
        best = sorted(range(len(front)), key=lambda place, room=room: -room[place])  # type: ignore[misc]
        members += [_Member(outcomes[front[p]], rank, room[p]) for p in best[: count - len(members)]]
        if len(members) == count:
            break
    return members


class Nsga2:
    """A generation is over when as many outcomes were told as the population has members.

    Outcomes count whenever they come and whoever asked for them. The first population is random, or what is ``known``
    already. ``crossover``: the probability that a child has two parents. ``mutation``: the probability that a decision
    of a child changes; by default one over their number. A child whose network was asked for or told of before, as
    ``name_of`` tells (by default: whose genotype was), is mutated again, at most ``resample`` times.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        rng: random.Random,
        known: Sequence[Outcome] = (),
        *,
        population: int = 32,
        crossover: float = 0.9,
        mutation: float | None = None,
        resample: int = 10,
        name_of: Callable[[Genotype], str] | None = None,
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
        self._name_of: Callable[[Genotype], Hashable] = name_of or (lambda genotype: genotype)
        self._seen: set[Hashable] = set()
        self._parents: list[_Member] = []
        self._children: dict[Hashable, Outcome] = {}
        self._told = 0
        for outcome in known:
            self.tell(outcome)
        if known and not self._parents:
            self._select()

    def ask(self) -> Genotype:
        child = self._child() if self._parents else self._space.sample(self._rng)
        name = self._name_of(child)
        for _ in range(self._resample):
            if name not in self._seen:
                break
            child = self._space.mutate(child, self._rng) if self._parents else self._space.sample(self._rng)
            name = self._name_of(child)
        self._seen.add(name)
        return child

    def tell(self, outcome: Outcome) -> None:
        name = self._name_of(outcome.genotype)
        self._seen.add(name)
        self._children[name] = outcome  # told again, it is one member, and the newest outcome counts
        self._told += 1
        if self._told >= self._population:
            self._select()

    def _select(self) -> None:
        pool = {self._name_of(m.outcome.genotype): m.outcome for m in self._parents} | self._children
        self._parents = _survivors(list(pool.values()), self._population)
        self._children, self._told = {}, 0

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
        return (b if b.beats(a) else a).outcome.genotype
