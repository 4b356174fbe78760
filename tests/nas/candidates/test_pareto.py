"""Fronts against brute force."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.candidates.pareto import (
    constrained_dominates,
    constrained_non_dominated_sort,
    crowded_ranking,
    crowding_distances,
    dominates,
    domination_counts,
    domination_matrix,
    evenly_spread_subset,
    hypervolume,
    non_dominated_indices,
    non_dominated_losses,
    non_dominated_sort,
    staircase,
)

POINTS = st.integers(2, 3).flatmap(
    lambda n: st.lists(st.tuples(*[st.integers(0, 6).map(float) for _ in range(n)]), max_size=24)
)


@given(POINTS)
def test_the_front_is_what_nothing_dominates_and_of_equals_the_first(points: list[tuple[float, ...]]) -> None:
    expected = [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points) and p not in points[:i]]
    assert non_dominated_indices(points) == expected


@given(POINTS)
def test_fronts_part_the_points_and_each_is_the_front_of_the_rest(points: list[tuple[float, ...]]) -> None:
    fronts = non_dominated_sort(points)
    assert sorted(i for front in fronts for i in front) == list(range(len(points)))
    remaining = list(range(len(points)))
    for front in fronts:
        assert [remaining[i] for i in non_dominated_indices([points[i] for i in remaining])] == front
        remaining = [i for i in remaining if i not in front]


@given(POINTS, st.integers(0, 30))
def test_spread_takes_whole_fronts_before_the_next(points: list[tuple[float, ...]], count: int) -> None:
    chosen = evenly_spread_subset(points, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
    rank = {i: depth for depth, front in enumerate(non_dominated_sort(points)) for i in front}
    if chosen and len(chosen) < len(points):
        deepest = max(rank[i] for i in chosen)
        assert all(i in chosen for i in rank if rank[i] < deepest)


def test_spread_keeps_both_ends_of_a_front() -> None:
    line = [(float(i), float(20 - i)) for i in range(20)]
    assert evenly_spread_subset(line, 4) == [0, 6, 13, 19]


def test_dominance_needs_one_better_and_none_worse() -> None:
    assert dominates((1.0, 2.0), (1.0, 3.0))
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert not dominates((0.0, 3.0), (1.0, 2.0))


def test_hypervolume_of_a_staircase() -> None:
    assert hypervolume([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)], (4.0, 4.0)) == pytest.approx(6.0)
    assert hypervolume([(5.0, 5.0)], (4.0, 4.0)) == 0.0


# -- the shared definitions against independent ones -----------------------------------------------------------------

VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, inf])
LOSSES = st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), min_size=1, max_size=14))


@dataclass(frozen=True)
class Point:
    losses: tuple[float, ...]
    constraint_violation: float = 0.0


CONSTRAINED = st.integers(1, 3).flatmap(
    lambda n: st.lists(
        st.builds(Point, st.tuples(*[VALUES] * n), st.sampled_from([0.0, 0.0, 0.5, 1.0])), min_size=1, max_size=14
    )
)


def is_better_everywhere(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Pareto dominance, word for word."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def is_preferred(a: Point, b: Point) -> bool:
    """Constraint domination, word for word: definition 1 of Deb et al. 2002."""
    if a.constraint_violation == 0 and b.constraint_violation == 0:
        return is_better_everywhere(a.losses, b.losses)
    return a.constraint_violation < b.constraint_violation


@given(LOSSES)
def test_domination_is_the_same_pair_by_pair_and_as_a_matrix(points: list[tuple[float, ...]]) -> None:
    matrix = domination_matrix(np.array(points))
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            assert matrix[i, j] == dominates(a, b) == is_better_everywhere(a, b)
    assert domination_counts(np.array(points)).tolist() == [
        sum(is_better_everywhere(b, a) for b in points) for a in points
    ]


@given(CONSTRAINED)
def test_constrained_domination_puts_limits_first(points: list[Point]) -> None:
    for a in points:
        for b in points:
            assert constrained_dominates(a, b) == is_preferred(a, b)


@given(LOSSES)
def test_the_set_of_non_dominated_losses_is_what_nothing_dominates(points: list[tuple[float, ...]]) -> None:
    distinct = set(points)
    expected = {a for a in distinct if not any(is_better_everywhere(b, a) for b in distinct)}
    assert non_dominated_losses(distinct) == expected
    if all(isfinite(loss) for point in points for loss in point):
        assert {points[i] for i in non_dominated_indices(points)} == expected
        if len(points[0]) == 2:
            assert staircase(points) == sorted(expected)


def test_a_loss_that_is_no_number_ties_in_pairs_and_takes_no_part_in_the_matrix() -> None:
    nan = float("nan")
    low, high, best = (nan, 0.0), (nan, 5.0), (1.0, 1.0)
    assert dominates(best, high)
    assert not dominates(high, best)
    assert non_dominated_losses({low, high, best, (2.0, 2.0)}) == {low}
    assert non_dominated_losses({high, best, (2.0, 2.0)}) == {best}
    assert not domination_matrix(np.array([low, high, best])).any()


@given(CONSTRAINED)
def test_constrained_fronts_are_what_nothing_left_dominates_and_equals_share_one(points: list[Point]) -> None:
    remaining = list(range(len(points)))
    for front in constrained_non_dominated_sort(points):
        assert front == [i for i in remaining if not any(is_preferred(points[j], points[i]) for j in remaining)]
        remaining = [i for i in remaining if i not in front]
    assert not remaining


@given(CONSTRAINED, st.integers(1, 16))
def test_the_crowded_ranking_is_by_front_then_room_then_order(points: list[Point], count: int) -> None:
    position: dict[int, tuple[int, float, int]] = {}
    for rank, front in enumerate(constrained_non_dominated_sort(points)):
        room = crowding_distances([points[i].losses for i in front])
        position |= {index: (rank, -distance, index) for index, distance in zip(front, room, strict=True)}
    expected = sorted(position, key=lambda index: position[index])
    ranking = crowded_ranking(points)
    assert [point.index for point in ranking] == expected
    assert [(point.rank, -point.crowding_distance) for point in ranking] == [position[i][:2] for i in expected]
    assert crowded_ranking(points, count) == ranking[:count]


@given(st.lists(st.tuples(VALUES, VALUES).filter(lambda point: inf not in point), max_size=14))
def test_hypervolume_is_the_area_of_the_unit_squares_that_a_point_dominates(points: list[tuple[float, ...]]) -> None:
    squares = sum(any(x <= column and y <= row for x, y in points) for column in range(4) for row in range(4))
    assert hypervolume(points, (4.0, 4.0)) == squares
