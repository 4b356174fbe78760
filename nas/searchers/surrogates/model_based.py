"""Searchers that learn a surrogate model of the losses: what they have in common.

A model chooses from a pool that lasts from ask to ask: neighbours of the best, crossovers, random genotypes, and
neighbours of what the model itself expects most of. Only genotypes that keep the limits and were not proposed before
get in, as far as ``featurize`` tells without paying.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy as np

from nas.candidates.pareto import domination_counts, non_dominated_indices
from nas.searchers.protocol import Featurizer, KnownFeatures, Outcome
from nas.searchers.surrogates.encoding import Encoder, FloatArray, as_matrix, standardised
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

MAX_TRAINING_POINTS = 320
"""Observations that a model is made of at most: the better half of them, and some of the rest."""

_RANDOM_DRAWS = 100
_LOCAL_SEARCH_ROUNDS = 3
_NEIGHBOUR_DIVISOR = 8


@dataclass(frozen=True)
class EncodedPoint:
    """A genotype, its encoded decisions, and its known features."""

    genotype: Genotype
    row: FloatArray
    known_features: KnownFeatures


@dataclass(frozen=True)
class ObservedPoint:
    """A point whose losses are known. ``feasible``: it broke no limit and did not fail."""

    point: EncodedPoint
    losses: tuple[float, ...]
    feasible: bool


class SurrogateModel(Protocol):
    """What a searcher believes after some observations."""

    @property
    def best(self) -> Sequence[EncodedPoint]:
        """Observed points whose neighbours are tried: the incumbents."""
        ...

    def acquisition(self, points: Sequence[EncodedPoint]) -> FloatArray:
        """How much each point is expected to add; more is better."""
        ...


SurrogateFactory = Callable[[Sequence[ObservedPoint], Sequence[EncodedPoint]], SurrogateModel]
"""From observed points and pending ones, which are asked for and not told of yet, to a model."""


class ModelBasedSearch:
    """Asks for what a model finds most promising.

    The first ``start`` candidates are drawn at random; every second of them is, of many draws, the one whose features
    are farthest from those there are. ``pool``: how many of the most promising are kept between asks; ``fresh``: how
    many new ones each ask adds.
    """

    def __init__(
        self,
        make_model: SurrogateFactory,
        space: Space,
        rng: random.Random,
        history: Sequence[Outcome],
        *,
        featurize: Featurizer | None,
        start: int,
        pool: int,
        fresh: int,
    ) -> None:
        for name, value, least in (("start", start, 2), ("pool", pool, 1), ("fresh", fresh, _NEIGHBOUR_DIVISOR)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        self._make_model = make_model
        self._space = space
        self._rng = rng
        self._featurize = featurize or _no_features
        self._encoder = Encoder(space)
        self._start = start
        self._pool_size = pool
        self._fresh = fresh
        self._observed_points: list[ObservedPoint] = []
        self._restarted_at = 0  # index of the first observed point since the last restart
        self._asks_before_restart = 0
        self._feasible_count = 0  # since the last restart
        self._proposed_keys: set[str] = set()
        self._pending: dict[Genotype, EncodedPoint] = {}
        self._pool: dict[str, EncodedPoint] = {}
        for outcome in history:
            self.tell(outcome)

    def ask(self) -> Genotype:
        ask_count = len(self._observed_points) + len(self._pending)
        if ask_count - self._asks_before_restart >= self._start and self._feasible_count >= 2:
            point = self._most_promising()
        else:
            point = self._farthest_point() if ask_count % 2 else self._random_point()
        self._pending[point.genotype] = point
        self._mark_proposed(point)
        return point.genotype

    def tell(self, outcome: Outcome) -> None:
        point = self._pending.pop(outcome.genotype, None) or self._point(outcome.genotype)
        self._mark_proposed(point)
        feasible = outcome.constraint_violation <= 0 and all(isfinite(v) for v in outcome.losses)
        self._feasible_count += feasible
        self._observed_points.append(ObservedPoint(point, outcome.losses, feasible))

    def _restart(self) -> None:
        """Draw at random again, without all observed points; what was proposed is still not proposed twice.

        Pending points count with those to come.
        """
        self._restarted_at, self._asks_before_restart, self._feasible_count = (
            len(self._observed_points),
            len(self._observed_points) + len(self._pending),
            0,
        )
        self._pool = {}

    def _mark_proposed(self, point: EncodedPoint) -> None:
        self._proposed_keys.add(point.known_features.key)
        self._pool.pop(point.known_features.key, None)

    # -- drawing -------------------------------------------------------------------------------------------------

    def _point(self, genotype: Genotype) -> EncodedPoint:
        return EncodedPoint(genotype, self._encoder.row(genotype), self._featurize(genotype))

    def _random_point(self) -> EncodedPoint:
        """A random point that is new and within the limits; where none is drawn, the least beyond them."""
        least: EncodedPoint | None = None
        for _ in range(_RANDOM_DRAWS):
            genotype = self._space.sample(self._rng)
            if least is not None and self._rng.random() < 0.5:
                genotype = self._space.mutate(least.genotype, self._rng)
            point = self._point(genotype)
            if point.known_features.key in self._proposed_keys:
                continue
            if point.known_features.constraint_violation <= 0:
                return point
            if least is None or point.known_features.constraint_violation < least.known_features.constraint_violation:
                least = point
        return least or self._point(self._space.sample(self._rng))

    def _farthest_point(self) -> EncodedPoint:
        """Of many random points that are new and within the limits, the one least like those there are."""
        candidates = {}
        for _ in range(_RANDOM_DRAWS):
            point = self._point(self._space.sample(self._rng))
            if point.known_features.key not in self._proposed_keys and point.known_features.constraint_violation <= 0:
                candidates[point.known_features.key] = point
        existing_points = [*(s.point for s in self._observed_points), *self._pending.values()]
        if not candidates or not existing_points:
            return self._random_point()
        points = list(candidates.values())
        rows, others = (
            features(p) if points[0].known_features.features else decision_rows(p) for p in (points, existing_points)
        )
        gaps = standardised(rows, rows)[:, None] - standardised(others, rows)[None]
        return points[int((gaps**2).sum(axis=2).min(axis=1).argmax())]

    def _add_to_pool(self, genotype: Genotype) -> EncodedPoint | None:
        point = self._point(genotype)
        key = point.known_features.key
        if point.known_features.constraint_violation > 0 or key in self._proposed_keys or key in self._pool:
            return None
        self._pool[key] = point
        return point

    def _mutant(self, genotype: Genotype) -> Genotype:
        """One decision changed, two with probability a half, three with a quarter, and so on."""
        child = self._space.mutate(genotype, self._rng)
        while self._rng.random() < 0.5:
            child = self._space.mutate(child, self._rng)
        return child

    def _refill(self, parents: Sequence[EncodedPoint]) -> None:
        """New points: a quarter random, a quarter crossed, half of them neighbours."""

        def one() -> Genotype:
            return parents[int(self._rng.random() * len(parents))].genotype

        for number in range(self._fresh):
            if number % 4 == 0 or not parents:
                self._add_to_pool(self._space.sample(self._rng))
            elif number % 4 == 1 and len(parents) > 1:
                self._add_to_pool(self._space.crossover(one(), one(), self._rng))
            else:
                self._add_to_pool(self._mutant(one()))

    # -- choosing ------------------------------------------------------------------------------------------------

    def _most_promising(self) -> EncodedPoint:
        model = self._make_model(self._training_points(), list(self._pending.values()))
        self._refill(model.best)
        if not self._pool:
            return self._random_point()
        points = list(self._pool.values())
        values = model.acquisition(points)
        for _ in range(_LOCAL_SEARCH_ROUNDS):
            top = [points[i].genotype for i in np.argsort(-values, kind="stable")[:3]]
            near = [
                self._add_to_pool(self._mutant(genotype))
                for genotype in top
                for _ in range(self._fresh // _NEIGHBOUR_DIVISOR)
            ]
            new = [point for point in near if point is not None]
            if new:
                points += new
                values = np.concatenate([values, model.acquisition(new)])
        order = np.argsort(-values, kind="stable")
        self._pool = {points[i].known_features.key: points[i] for i in order[: self._pool_size]}
        self._on_proposal(model, float(values[order[0]]))
        return points[int(order[0])]

    def _on_proposal(self, model: SurrogateModel, acquisition: float) -> None:
        """Called with the acquisition value of the point that is proposed next."""

    def _training_points(self) -> list[ObservedPoint]:
        observed_points = self._observed_points[self._restarted_at :]
        if len(observed_points) <= MAX_TRAINING_POINTS:
            return observed_points
        losses = finite_losses([s.losses for s in observed_points])
        # Of one objective the loss itself orders them, for counts of dominating points would tie.
        badness = losses[:, 0] if losses.shape[1] == 1 else domination_counts(losses)
        order = np.argsort(badness, kind="stable").tolist()
        best, rest = order[: MAX_TRAINING_POINTS // 2], order[MAX_TRAINING_POINTS // 2 :]
        chosen = sorted([*best, *self._rng.sample(rest, MAX_TRAINING_POINTS - len(best))])
        return [observed_points[i] for i in chosen]


def _no_features(genotype: Genotype) -> KnownFeatures:
    return KnownFeatures(genotype.to_json())


def decision_rows(points: Sequence[EncodedPoint]) -> FloatArray:
    """The decisions of points, a row each."""
    return as_matrix([p.row for p in points], len(points[0].row) if points else 0)


def features(points: Sequence[EncodedPoint]) -> FloatArray:
    """The known features of points, a row each."""
    return as_matrix(
        [np.array(p.known_features.features) for p in points],
        len(points[0].known_features.features) if points else 0,
    )


def finite_losses(losses: Sequence[Sequence[float]]) -> FloatArray:
    """Losses of (points, objectives), with the worst finite one of an objective for what is not finite."""
    table = np.array(losses, dtype=float)
    for column in table.T:
        finite = column[np.isfinite(column)]
        column[~np.isfinite(column)] = finite.max() if len(finite) else 0.0
    return table


def penalised_losses(observed_points: Sequence[ObservedPoint]) -> FloatArray:
    """Losses of (points, objectives); a point over a limit, or one that failed, is as bad as the worst in each."""
    table = finite_losses([s.losses for s in observed_points])
    worst = table.max(axis=0)
    for row, one in zip(table, observed_points, strict=True):
        if not one.feasible:
            row[:] = worst
    return table


def incumbents(observed_points: Sequence[ObservedPoint], losses: FloatArray) -> list[EncodedPoint]:
    """Of one objective, the best tenth of the points, three at least; of several, the front."""
    feasible = [i for i, one in enumerate(observed_points) if one.feasible]
    if losses.shape[1] == 1:
        feasible.sort(key=lambda i: float(losses[i, 0]))
        return [observed_points[i].point for i in feasible[: max(3, len(feasible) // 10)]]
    return [observed_points[feasible[i]].point for i in non_dominated_indices([tuple(losses[i]) for i in feasible])]
