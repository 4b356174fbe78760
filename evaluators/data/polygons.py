"""Polygons as formats write them, and coordinates that a text has rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.evaluator import DataError

Coordinates = npt.NDArray[np.float64]

DECIMALS = 6
"""Of coordinates in pixels: what differs by less is the arithmetic's, such as of a corner from a width."""


def polygon_of(numbers: Any, source: str) -> Coordinates:
    """A polygon [M, 2] from x, y, x, y in turns, three points at least. Raises ``DataError``."""
    try:
        flat = np.array(numbers, np.float64)
    except (TypeError, ValueError):
        flat = np.empty(0)
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise DataError(
            f"{source}: a polygon is three or more pairs of finite numbers, not {numbers!r:.60}; correct it"
        )
    return flat.reshape(-1, 2)


def in_pixels(fractions: Coordinates, extents: npt.ArrayLike, rounding_error: npt.ArrayLike) -> Coordinates:
    """Fractions of ``extents`` in pixels, widths and heights, as pixels: each the shortest decimal that it can be.

    A text with six digits of a fraction leaves pixels uncertain by a thousandth or so: what was 123 comes out as
    122.9997. So that the same boxes are the same whoever wrote them, the fewest decimals, up to two, are taken that lie
    within ``rounding_error`` of the fraction.
    """
    exact = fractions * np.asarray(extents, np.float64)
    tolerance = np.maximum(rounding_error, 1e-9) * np.asarray(extents)
    pixels = exact
    for decimals in (2, 1, 0):
        shorter = exact.round(decimals)
        pixels = np.where(abs(shorter - exact) <= tolerance, shorter, pixels)
    return pixels
