"""Pareto fronts: which candidates no other beats, in which order they fall, and an even choice among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import numpy.typing

Losses = Sequence[Sequence[float]]


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better; less is better."""
    better = False
    for x, y in zip(a, b, strict=True):
        if x > y:
            return False
        better = better or x < y
    return better


def non_dominated_indices(losses: Losses) -> list[int]:
    """Indices of the points that no other point dominates, ascending; of equal points the first stays."""
    if not losses:
        return []
    points = numpy.asarray(losses, dtype=float)
    order = numpy.lexsort(points.T[::-1])
    kept: list[int] = []
    if points.shape[1] == 2:
        best = numpy.inf
        for i in order:
            if points[i, 1] < best:
                best = points[i, 1]
                kept.append(int(i))
        return sorted(kept)
    chosen = numpy.empty((0, points.shape[1]))
    for i in order:
        if not len(chosen) or not bool(numpy.any(numpy.all(chosen <= points[i], axis=1))):
            kept.append(int(i))
            chosen = numpy.vstack([chosen, points[i]])
    return sorted(kept)


def non_dominated_sort(losses: Losses) -> list[list[int]]:
    """All indices as successive fronts: the first, the front of the rest, and so on."""
    unsorted = list(range(len(losses)))
    result = []
    while unsorted:
        best = {unsorted[i] for i in non_dominated_indices([losses[i] for i in unsorted])}
        result.append(sorted(best))
        unsorted = [i for i in unsorted if i not in best]
    return result


def evenly_spread_subset(losses: Losses, count: int) -> list[int]:
    """``count`` of the points: whole fronts while they fit, then points at even steps along the next one.

    The steps are even in rank along the first loss, so that both ends of a front are among the chosen.
    """
    chosen: list[int] = []
    for one_front in non_dominated_sort(losses):
        remaining = count - len(chosen)
        if remaining <= 0:
            break
        if len(one_front) > remaining:
            ordered = sorted(one_front, key=lambda i: tuple(losses[i]))
            positions = (
                numpy.linspace(0, len(ordered) - 1, remaining) if remaining > 1 else numpy.array([len(ordered) // 2])
            )
            one_front = [ordered[round(p)] for p in positions]
        chosen.extend(one_front)
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
