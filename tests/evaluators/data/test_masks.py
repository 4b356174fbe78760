"""Masks from polygons: which pixels are inside, and coordinates that a text has rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.data.masks import polygon_pixels
from evaluators.data.polygons import in_pixels, polygon_of
from evaluators.evaluator import DataError

COORDINATES = st.floats(-4, 20, allow_nan=False).map(lambda x: round(x, 3))


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=7))
def test_a_pixel_is_inside_when_its_middle_is(points: list[tuple[float, float]]) -> None:
    """By counting, for each pixel, the edges that a ray from its middle to the left crosses."""
    inside = polygon_pixels(np.array(points), 16)
    for row in range(16):
        for column in range(16):
            x, y, crossed = column + 0.5, row + 0.5, False
            for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
                if (y0 <= y) != (y1 <= y):
                    crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                    crossed ^= crossing <= x
            assert inside[row, column] == crossed


def test_polygons_that_share_an_edge_share_no_pixel() -> None:
    corner = np.array([[2.0, 3.0], [11.0, 3.0], [11.0, 13.0], [2.0, 13.0]])
    middle = np.array([[6.3, 8.1]])
    parts = [polygon_pixels(np.vstack([corner[n], corner[(n + 1) % 4], middle]), 16) for n in range(4)]
    assert (np.sum(parts, axis=0) == polygon_pixels(corner, 16)).all()
    assert polygon_pixels(corner, 16).sum() == 90


@given(st.integers(0, 4000), st.sampled_from([1, 2, 4, 10, 20]), st.integers(1, 4000), st.integers(5, 9))
def test_pixels_with_few_decimals_survive_a_text(whole: int, parts: int, extent: int, digits: int) -> None:
    pixel = round(whole % extent + 1 / parts, 2)
    text = f"{pixel / extent:.{digits}f}"
    restored = in_pixels(np.array([float(text)]), [extent], 0.5 * 10.0**-digits)[0]
    assert abs(restored - pixel) <= 10.0**-digits * extent
    if digits >= 7:
        assert restored == pixel


@pytest.mark.parametrize("numbers", [None, "12", [], [1, 2, 3, 4], [1] * 7, [[1, 2, 3]] * 2, [1, 2, 3, 4, 5, "x"]])
def test_polygons_that_are_none(numbers: Any) -> None:
    with pytest.raises(DataError, match="here: a polygon is three or more pairs"):
        polygon_of(numbers, "here")
