"""Fronts against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.candidates.pareto import (
    dominates,
    evenly_spread_subset,
    hypervolume,
    non_dominated_indices,
    non_dominated_sort,
)

POINTS = st.integers(2, 3).flatmap(
    lambda n: st.lists(st.tuples(*[st.integers(0, 6).map(float) for _ in range(n)]), max_size=24)
)


@given(POINTS)
def test_the_front_is_what_nothing_dominates_and_of_equals_the_first(points: list[tuple[float, ...]]) -> None:
    expected = [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points) and p not in points[:i]]
    assert non_dominated_indices(points) == expected


@given(POINTS)
def test_layers_part_the_points_and_each_is_the_front_of_what_is_left(points: list[tuple[float, ...]]) -> None:
    peeled = non_dominated_sort(points)
    assert sorted(i for layer in peeled for i in layer) == list(range(len(points)))
    left = list(range(len(points)))
    for layer in peeled:
        assert [left[i] for i in non_dominated_indices([points[i] for i in left])] == layer
        left = [i for i in left if i not in layer]


@given(POINTS, st.integers(0, 30))
def test_spread_takes_whole_fronts_before_the_next(points: list[tuple[float, ...]], count: int) -> None:
    chosen = evenly_spread_subset(points, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
    rank = {i: depth for depth, layer in enumerate(non_dominated_sort(points)) for i in layer}
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
