"""Searchers that learn a model of the losses: what they have in common.

What a model chooses from is a pool that lasts from ask to ask: neighbours of the best, crossovers, random genotypes,
and neighbours of what the model itself found best. Only what is within the limits and was not proposed before gets in,
as far as ``look`` tells without paying.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy

from nas.candidates.pareto import front
from nas.searchers.protocol import Free, Look, Outcome
from nas.searchers.surrogates.encoding import Encoder, Rows, stacked, standardised
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

MOST_HELD = 320
"""Observations that a model is made of at most: the better half of them, and some of the rest."""

_DRAWS = 100
_CLIMBS = 3
_NEAR = 8


@dataclass(frozen=True)
class Point:
    """A genotype, its encoded decisions, and what is free of it."""

    genotype: Genotype
    row: Rows
    free: Free


@dataclass(frozen=True)
class Seen:
    """A point whose losses are known. ``able``: it broke no limit and did not fail."""

    point: Point
    losses: tuple[float, ...]
    able: bool


class PointModel(Protocol):
    """What a searcher believes after some observations."""

    @property
    def best(self) -> Sequence[Point]:
        """Observed points whose neighbours are worth a look."""
        ...

    def improvement(self, points: Sequence[Point]) -> Rows:
        """How much each point is expected to add; more is better."""
        ...


ModelMaker = Callable[[Sequence[Seen], Sequence[Point]], PointModel]
"""From what was observed and the points that are asked for and not told of yet."""


class ModelBasedSearch:
    """Asks for what a model finds most promising.

    The first ``start`` candidates are drawn at random; every second of them is, of many draws, the one whose free
    features are farthest from those there are. ``pool``: how many of the most promising are kept between asks;
    ``fresh``: how many new ones are looked at in each.
    """

    def __init__(
        self,
        make_model: ModelMaker,
        space: Space,
        rng: random.Random,
        known: Sequence[Outcome],
        *,
        look: Look | None,
        start: int,
        pool: int,
        fresh: int,
    ) -> None:
        for name, value, least in (("start", start, 2), ("pool", pool, 1), ("fresh", fresh, _NEAR)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        self._make_model = make_model
        self._space = space
        self._rng = rng
        self._look = look or _nothing_free
        self._encoder = Encoder(space)
        self._start = start
        self._most = pool
        self._fresh = fresh
        self._seen: list[Seen] = []
        self._since = 0  # of what was seen, where what models are made of begins
        self._begun = 0  # how many were asked for before that
        self._able = 0  # since then
        self._taken: set[str] = set()
        self._pending: dict[Genotype, Point] = {}
        self._pool: dict[str, Point] = {}
        for outcome in known:
            self.tell(outcome)

    def ask(self) -> Genotype:
        asked = len(self._seen) + len(self._pending)
        if asked - self._begun >= self._start and self._able >= 2:
            point = self._best()
        else:
            point = self._farthest() if asked % 2 else self._drawn()
        self._pending[point.genotype] = point
        self._take(point)
        return point.genotype

    def tell(self, outcome: Outcome) -> None:
        point = self._pending.pop(outcome.genotype, None) or self._point(outcome.genotype)
        self._take(point)
        able = outcome.excess <= 0 and all(isfinite(v) for v in outcome.losses)
        self._able += able
        self._seen.append(Seen(point, outcome.losses, able))

    def _begin_again(self) -> None:
        """Draw at random again, and forget all that was seen, but for what not to ask for twice.

        What is asked for and not told of yet counts with what comes.
        """
        self._since, self._begun, self._able = len(self._seen), len(self._seen) + len(self._pending), 0
        self._pool = {}

    def _take(self, point: Point) -> None:
        self._taken.add(point.free.key)
        self._pool.pop(point.free.key, None)

    # -- drawing -------------------------------------------------------------------------------------------------

    def _point(self, genotype: Genotype) -> Point:
        return Point(genotype, self._encoder.row(genotype), self._look(genotype))

    def _drawn(self) -> Point:
        """A random point that is new and within the limits; where none is found, the least beyond them."""
        least: Point | None = None
        for _ in range(_DRAWS):
            genotype = self._space.sample(self._rng)
            if least is not None and self._rng.random() < 0.5:
                genotype = self._space.mutate(least.genotype, self._rng)
            point = self._point(genotype)
            if point.free.key in self._taken:
                continue
            if point.free.excess <= 0:
                return point
            if least is None or point.free.excess < least.free.excess:
                least = point
        return least or self._point(self._space.sample(self._rng))

    def _farthest(self) -> Point:
        """Of many random points that are new and within the limits, the one least like those there are."""
        found = {}
        for _ in range(_DRAWS):
            point = self._point(self._space.sample(self._rng))
            if point.free.key not in self._taken and point.free.excess <= 0:
                found[point.free.key] = point
        there = [*(s.point for s in self._seen), *self._pending.values()]
        if not found or not there:
            return self._drawn()
        points = list(found.values())
        rows, others = (features(p) if points[0].free.features else encoded(p) for p in (points, there))
        gaps = standardised(rows, rows)[:, None] - standardised(others, rows)[None]
        return points[int((gaps**2).sum(axis=2).min(axis=1).argmax())]

    def _add(self, genotype: Genotype) -> Point | None:
        point = self._point(genotype)
        key = point.free.key
        if point.free.excess > 0 or key in self._taken or key in self._pool:
            return None
        self._pool[key] = point
        return point

    def _mutant(self, genotype: Genotype) -> Genotype:
        """One decision changed, two with probability a half, three with a quarter, and so on."""
        child = self._space.mutate(genotype, self._rng)
        while self._rng.random() < 0.5:
            child = self._space.mutate(child, self._rng)
        return child

    def _refill(self, parents: Sequence[Point]) -> None:
        """New points: a quarter random, a quarter crossed, half of them neighbours."""

        def one() -> Genotype:
            return parents[int(self._rng.random() * len(parents))].genotype

        for number in range(self._fresh):
            if number % 4 == 0 or not parents:
                self._add(self._space.sample(self._rng))
            elif number % 4 == 1 and len(parents) > 1:
                self._add(self._space.crossover(one(), one(), self._rng))
            else:
                self._add(self._mutant(one()))

    # -- choosing ------------------------------------------------------------------------------------------------

    def _best(self) -> Point:
        model = self._make_model(self._held(), list(self._pending.values()))
        self._refill(model.best)
        if not self._pool:
            return self._drawn()
        points = list(self._pool.values())
        values = model.improvement(points)
        for _ in range(_CLIMBS):
            top = [points[i].genotype for i in numpy.argsort(-values, kind="stable")[:3]]
            near = [self._add(self._mutant(genotype)) for genotype in top for _ in range(self._fresh // _NEAR)]
            new = [point for point in near if point is not None]
            if new:
                points += new
                values = numpy.concatenate([values, model.improvement(new)])
        order = numpy.argsort(-values, kind="stable")
        self._pool = {points[i].free.key: points[i] for i in order[: self._most]}
        self._chosen(model, float(values[order[0]]))
        return points[int(order[0])]

    def _chosen(self, model: PointModel, improvement: float) -> None:
        """Called with what the model expects of what is asked for next."""

    def _held(self) -> list[Seen]:
        seen = self._seen[self._since :]
        if len(seen) <= MOST_HELD:
            return seen
        order = numpy.argsort(_beaten_by(finite([s.losses for s in seen])), kind="stable").tolist()
        best, rest = order[: MOST_HELD // 2], order[MOST_HELD // 2 :]
        chosen = sorted([*best, *self._rng.sample(rest, MOST_HELD - len(best))])
        return [seen[i] for i in chosen]


def _nothing_free(genotype: Genotype) -> Free:
    return Free(genotype.to_json())


def encoded(points: Sequence[Point]) -> Rows:
    """The decisions of points, a row each."""
    return stacked([p.row for p in points], len(points[0].row) if points else 0)


def features(points: Sequence[Point]) -> Rows:
    """The free features of points, a row each."""
    return stacked([numpy.array(p.free.features) for p in points], len(points[0].free.features) if points else 0)


def finite(losses: Sequence[Sequence[float]]) -> Rows:
    """Losses of (points, objectives), with the worst finite one of an objective for what is not finite."""
    table = numpy.array(losses, dtype=float)
    for column in table.T:
        known = column[numpy.isfinite(column)]
        column[~numpy.isfinite(column)] = known.max() if len(known) else 0.0
    return table


def _beaten_by(losses: Rows) -> Rows:
    """How many points dominate each; of one objective, its loss, which orders them alike."""
    if losses.shape[1] == 1:
        return losses[:, 0]
    no_worse, better = numpy.ones((2, len(losses), len(losses)), dtype=bool)
    better[:] = False
    for values in losses.T:
        no_worse &= values[:, None] <= values
        better |= values[:, None] < values
    found: Rows = (no_worse & better).sum(axis=0).astype(float)
    return found


def bad_as_any(seen: Sequence[Seen]) -> Rows:
    """Losses of (points, objectives); a point over a limit, or one that failed, is as bad as the worst in each."""
    table = finite([s.losses for s in seen])
    worst = table.max(axis=0)
    for row, one in zip(table, seen, strict=True):
        if not one.able:
            row[:] = worst
    return table


def worth_a_look(seen: Sequence[Seen], losses: Rows) -> list[Point]:
    """Of one objective, the best tenth of the points, three at least; of several, the front."""
    able = [i for i, one in enumerate(seen) if one.able]
    if losses.shape[1] == 1:
        able.sort(key=lambda i: float(losses[i, 0]))
        return [seen[i].point for i in able[: max(3, len(able) // 10)]]
    return [seen[able[i]].point for i in front([tuple(losses[i]) for i in able])]
