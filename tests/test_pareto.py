"""Fronts against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.candidates.pareto import dominates, front, hypervolume, layers, spread

POINTS = st.integers(2, 3).flatmap(
    lambda n: st.lists(st.tuples(*[st.integers(0, 6).map(float) for _ in range(n)]), max_size=24)
)


@given(POINTS)
def test_the_front_is_what_nothing_dominates_and_of_equals_the_first(points: list[tuple[float, ...]]) -> None:
    expected = [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points) and p not in points[:i]]
    assert front(points) == expected


@given(POINTS)
def test_layers_part_the_points_and_each_is_the_front_of_what_is_left(points: list[tuple[float, ...]]) -> None:
    peeled = layers(points)
    assert sorted(i for layer in peeled for i in layer) == list(range(len(points)))
    left = list(range(len(points)))
    for layer in peeled:
        assert [left[i] for i in front([points[i] for i in left])] == layer
        left = [i for i in left if i not in layer]


@given(POINTS, st.integers(0, 30))
def test_spread_takes_whole_fronts_before_the_next(points: list[tuple[float, ...]], count: int) -> None:
    chosen = spread(points, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
    rank = {i: depth for depth, layer in enumerate(layers(points)) for i in layer}
    if chosen and len(chosen) < len(points):
        deepest = max(rank[i] for i in chosen)
        assert all(i in chosen for i in rank if rank[i] < deepest)


def test_spread_keeps_both_ends_of_a_front() -> None:
    line = [(float(i), float(20 - i)) for i in range(20)]
    assert spread(line, 4) == [0, 6, 13, 19]


def test_dominance_needs_one_better_and_none_worse() -> None:
    assert dominates((1.0, 2.0), (1.0, 3.0))
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert not dominates((0.0, 3.0), (1.0, 2.0))


def test_hypervolume_of_a_staircase() -> None:
    assert hypervolume([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)], (4.0, 4.0)) == pytest.approx(6.0)
    assert hypervolume([(5.0, 5.0)], (4.0, 4.0)) == 0.0
