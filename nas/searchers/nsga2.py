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


def constrained_non_dominated_sort(outcomes: Sequence[Outcome]) -> list[list[int]]:
    """Indices of ``outcomes`` front by front, ascending in each; equal outcomes share a front (section III-A)."""
    if not outcomes:
        return []
    losses = numpy.array([o.losses for o in outcomes], dtype=float).reshape(len(outcomes), -1)
    constraint_violation = numpy.array([o.constraint_violation for o in outcomes], dtype=float)
    pareto = (losses[:, None] <= losses[None]).all(axis=2) & (losses[:, None] < losses[None]).any(axis=2)
    feasible = constraint_violation <= 0
    # before[i, j]: i constraint-dominates j
    before = numpy.where(
        feasible[:, None] & feasible[None], pareto, constraint_violation[:, None] < constraint_violation[None]
    )
    dominators = before.sum(axis=0)
    result = []
    remaining = numpy.ones(len(outcomes), dtype=bool)
    while remaining.any():
        best = numpy.flatnonzero(remaining & (dominators == 0))
        result.append([int(i) for i in best])
        remaining[best] = False
        dominators = dominators - before[best].sum(axis=0)
    return result


def crowding_distances(losses: Sequence[Sequence[float]]) -> list[float]:
    """The room around each point of one front: crowding-distance-assignment of section III-B.

    An infinite loss counts as the largest finite one of the front. A loss that is the same everywhere adds nothing.
    """
    crowding_distance = [0.0] * len(losses)
    for column in zip(*losses, strict=True):
        ceiling = max([v for v in column if isfinite(v)], default=0.0)
        values = [min(v, ceiling) for v in column]
        order = sorted(range(len(values)), key=column.__getitem__)
        low, high = values[order[0]], values[order[-1]]
        if low == high:
            continue
        crowding_distance[order[0]] = crowding_distance[order[-1]] = inf
        for before, here, after in zip(order, order[1:], order[2:], strict=False):
            crowding_distance[here] += (values[after] - values[before]) / (high - low)
    return crowding_distance


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
    members: list[_Member] = []
    for rank, front in enumerate(constrained_non_dominated_sort(outcomes)):
        crowding_distance = crowding_distances([outcomes[i].losses for i in front])
        best = sorted(
            range(len(front)),
            key=lambda index, crowding_distance=crowding_distance: -crowding_distance[index],  # type: ignore[misc]
        )
        members += [_Member(outcomes[front[p]], rank, crowding_distance[p]) for p in best[: count - len(members)]]
        if len(members) == count:
            break
    return members


class Nsga2:
    """A generation is over when as many outcomes were told as the population has members.

    Outcomes count whenever they come and whoever asked for them. The first population is random, or what is ``history``
    already. ``crossover``: the probability that a child has two parents. ``mutation``: the probability that a decision
    of a child changes; by default one over their number. A child whose network was asked for or told of before, as
    ``network_key`` tells (by default: whose genotype was), is mutated again, at most ``resample`` times.
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
        self._told_count = 0
        for outcome in history:
            self.tell(outcome)
        if history and not self._parents:
            self._select()

    def ask(self) -> Genotype:
        child = self._child() if self._parents else self._space.sample(self._rng)
        name = self._network_key(child)
        for _ in range(self._resample):
            if name not in self._proposed_keys:
                break
            child = self._space.mutate(child, self._rng) if self._parents else self._space.sample(self._rng)
            name = self._network_key(child)
        self._proposed_keys.add(name)
        return child

    def tell(self, outcome: Outcome) -> None:
        name = self._network_key(outcome.genotype)
        self._proposed_keys.add(name)
        self._children[name] = outcome  # told again, it is one member, and the newest outcome counts
        self._told_count += 1
        if self._told_count >= self._population:
            self._select()

    def _select(self) -> None:
        pool = {self._network_key(m.outcome.genotype): m.outcome for m in self._parents} | self._children
        self._parents = _survivors(list(pool.values()), self._population)
        self._children, self._told_count = {}, 0

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
