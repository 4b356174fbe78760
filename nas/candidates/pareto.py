"""Pareto logic for losses, of which less is better: dominance, fronts, crowding, hypervolume, and an even choice.

Two ideas of a front stand beside each other. ``non_dominated_indices`` keeps one of equal points, since a report shows
a network once; ``constrained_non_dominated_sort`` keeps equal points in one front, as NSGA-II does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Protocol

import numpy as np
import numpy.typing as npt

Losses = Sequence[Sequence[float]]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class ConstrainedLosses(Protocol):
    """Losses of a point, and how far it breaks hard limits: 0 where it keeps them."""

    @property
    def losses(self) -> tuple[float, ...]: ...

    @property
    def constraint_violation(self) -> float: ...


# -- dominance -------------------------------------------------------------------------------------------------------


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better; a NaN counts as equal to anything."""
    better = False
    for x, y in zip(a, b, strict=True):
        if x > y:
            return False
        better = better or x < y
    return better


def constrained_dominates(a: ConstrainedLosses, b: ConstrainedLosses) -> bool:
    """Whether ``a`` dominates ``b``, hard limits first (Deb 2000)."""
    if a.constraint_violation > 0 or b.constraint_violation > 0:
        return a.constraint_violation < b.constraint_violation
    return dominates(a.losses, b.losses)


def domination_matrix(losses: FloatArray) -> BoolArray:
    """Whether point i dominates point j, at ``[i, j]``, for losses of (points, objectives); never with a NaN."""
    no_worse = np.ones((len(losses), len(losses)), dtype=bool)
    better = np.zeros((len(losses), len(losses)), dtype=bool)
    for values in losses.T:  # objective by objective, which needs no (points, points, objectives) array
        no_worse &= values[:, None] <= values
        better |= values[:, None] < values
    return no_worse & better


def domination_counts(losses: FloatArray) -> npt.NDArray[np.int64]:
    """How many points dominate each, for losses of (points, objectives)."""
    counts: npt.NDArray[np.int64] = domination_matrix(losses).sum(axis=0)
    return counts


# -- fronts ----------------------------------------------------------------------------------------------------------


def staircase(points: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The distinct points of two losses that no other dominates: the first loss ascending, the second descending."""
    front: list[tuple[float, ...]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def non_dominated_losses(losses: set[tuple[float, ...]]) -> set[tuple[float, ...]]:
    """Those that no other dominates. Meant for a handful, where plain Python is faster than arrays."""
    if len(losses) == 1:
        return losses
    if any([loss != loss for point in losses for loss in point]):  # NaN, which no order of the losses puts in its place
        return {a for a in losses if not any(dominates(b, a) for b in losses)}
    objectives = len(next(iter(losses)))
    if objectives == 1:
        return {min(losses)}
    if objectives == 2:
        return set(staircase(losses))
    front: list[tuple[float, ...]] = []
    for a in sorted(losses):  # what dominates comes before what it dominates
        if not any(dominates(b, a) for b in front):
            front.append(a)
    return set(front)


def non_dominated_indices(losses: Losses) -> list[int]:
    """Indices of the points that no other point dominates, ascending; of equal points the first stays."""
    if not losses:
        return []
    points = np.asarray(losses, dtype=float)
    order = np.lexsort(points.T[::-1])
    front: list[int] = []
    if points.shape[1] == 2:
        best = np.inf
        for i in order:
            if points[i, 1] < best:
                best = points[i, 1]
                front.append(int(i))
        return sorted(front)
    front_points = np.empty((0, points.shape[1]))
    for i in order:
        if not len(front_points) or not bool(np.any(np.all(front_points <= points[i], axis=1))):
            front.append(int(i))
            front_points = np.vstack([front_points, points[i]])
    return sorted(front)


def non_dominated_sort(losses: Losses) -> list[list[int]]:
    """All indices as successive fronts, ascending in each: ``non_dominated_indices``, that of the rest, and so on.

    Equal points fall into successive fronts, other than in ``constrained_non_dominated_sort``.
    """
    unsorted = list(range(len(losses)))
    fronts = []
    while unsorted:
        best = {unsorted[i] for i in non_dominated_indices([losses[i] for i in unsorted])}
        fronts.append(sorted(best))
        unsorted = [i for i in unsorted if i not in best]
    return fronts


def constrained_non_dominated_sort(points: Sequence[ConstrainedLosses]) -> list[list[int]]:
    """Indices front by front under constraint domination, ascending in each (Deb et al. 2002, sections III-A and VI).

    Equal points share a front, other than in ``non_dominated_sort``.
    """
    if not points:
        return []
    losses = np.array([p.losses for p in points], dtype=float).reshape(len(points), -1)
    violations = np.array([p.constraint_violation for p in points], dtype=float)
    feasible = violations <= 0
    # dominated_by[i, j]: i constraint-dominates j
    dominated_by = np.where(
        feasible[:, None] & feasible[None], domination_matrix(losses), violations[:, None] < violations[None]
    )
    dominators = dominated_by.sum(axis=0)
    fronts = []
    remaining = np.ones(len(points), dtype=bool)
    while remaining.any():
        front = np.flatnonzero(remaining & (dominators == 0))
        fronts.append([int(i) for i in front])
        remaining[front] = False
        dominators = dominators - dominated_by[front].sum(axis=0)
    return fronts


# -- crowding --------------------------------------------------------------------------------------------------------


def crowding_distances(losses: Losses) -> list[float]:
    """The room around each point of one front: crowding-distance-assignment (Deb et al. 2002, section III-B).

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
class RankedPoint:
    """A point by its index, the number of its front from 0, and the room around it there."""

    index: int
    rank: int
    crowding_distance: float


def crowded_ranking(points: Sequence[ConstrainedLosses], count: int | None = None) -> list[RankedPoint]:
    """The best ``count`` points, or all, best first: by front, within one by the room around; the earlier of equals.

    That is the crowded-comparison order of NSGA-II under constraint domination.
    """
    ranking: list[RankedPoint] = []
    for rank, front in enumerate(constrained_non_dominated_sort(points)):
        distances = crowding_distances([points[i].losses for i in front])
        ranked = [RankedPoint(index, rank, distance) for index, distance in zip(front, distances, strict=True)]
        ranking += sorted(ranked, key=lambda point: -point.crowding_distance)
        if count is not None and len(ranking) >= count:
            return ranking[:count]
    return ranking


# -- choice and volume -----------------------------------------------------------------------------------------------


def evenly_spread_subset(losses: Losses, count: int) -> list[int]:
    """``count`` of the points: whole fronts while they fit, then points at even steps along the next one.

    The steps are even in rank along the first loss, so that both ends of a front are among the chosen.
    """
    chosen: list[int] = []
    for front in non_dominated_sort(losses):
        remaining = count - len(chosen)
        if remaining <= 0:
            break
        if len(front) > remaining:
            ordered = sorted(front, key=lambda i: tuple(losses[i]))
            positions = np.linspace(0, len(ordered) - 1, remaining) if remaining > 1 else np.array([len(ordered) // 2])
            front = [ordered[round(p)] for p in positions]
        chosen.extend(front)
    return chosen


def hypervolume(losses: Losses, reference: Sequence[float]) -> float:
    """The area that two losses dominate below ``reference``. Only for two objectives."""
    points = sorted(tuple(losses[i]) for i in non_dominated_indices(losses))
    area, ceiling = 0.0, reference[1]
    for x, y in points:
        if x < reference[0] and y < ceiling:
            area += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return area
