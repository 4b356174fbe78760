"""Acquisition functions: how much a candidate is expected to improve on what was observed. Losses are minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from nas.candidates.pareto import staircase

FloatArray = npt.NDArray[np.float64]


_TAIL_QUANTILE = 0.75
_UNIT_OF_SPAN = 0.5


class LogTailTransform:
    """Losses with their worst tail drawn in by a logarithm: how bad the worst are says little of the best.

    Their order stays as it is, and so does what is no worse than three quarters of them; the slope goes on smoothly.
    """

    def __init__(self, losses: FloatArray) -> None:
        self._edge = np.quantile(losses, _TAIL_QUANTILE, axis=0)
        span = self._edge - np.quantile(losses, 1 - _TAIL_QUANTILE, axis=0)
        self._unit = np.maximum(span * _UNIT_OF_SPAN, 1e-12 * np.maximum(1.0, np.abs(self._edge)))

    def __call__(self, losses: FloatArray) -> FloatArray:
        """Losses of (points, objectives)."""
        over = np.maximum(losses - self._edge, 0.0)
        result: FloatArray = np.minimum(losses, self._edge) + self._unit * np.log1p(over / self._unit)
        return result

    def column(self, losses: FloatArray, objective: int) -> FloatArray:
        """Losses of one objective, a number a point."""
        table = np.repeat(self._edge[None], len(losses), axis=0)
        table[:, objective] = losses
        result: FloatArray = self(table)[:, objective]
        return result


def _density(z: FloatArray) -> FloatArray:
    result: FloatArray = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return result


def expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """``E[max(0, best - y)]`` of normal ``y`` (Jones et al. 1998, eq. 15)."""
    z = (best - mean) / deviation
    result: FloatArray = deviation * (z * ndtr(z) + _density(z))
    return result


def expected_hypervolume_improvement(
    means: FloatArray, deviations: FloatArray, front: Sequence[Sequence[float]], reference: Sequence[float]
) -> FloatArray:
    """What independent normal ``y`` of two losses add to the area that ``front`` dominates below ``reference``.

    ``means`` and ``deviations``: (candidates, 2). The area that a point adds is cut into strips between the front's
    first losses, and in each the two losses are independent (Emmerich et al. 2011, Hypervolume-based expected
    improvement). ``front`` may hold points beyond the reference; they are left out.
    """
    steps = staircase((float(a), float(b)) for a, b in front if a < reference[0] and b < reference[1])
    lefts = np.array([-np.inf, *[a for a, _ in steps]])
    rights = np.array([*[a for a, _ in steps], reference[0]])
    ceilings = np.array([reference[1], *[b for _, b in steps]])
    m, s = means[:, :1], deviations[:, :1]

    def below(edge: FloatArray) -> FloatArray:
        """``E[max(0, edge - y)]`` of the first loss."""
        with np.errstate(invalid="ignore"):
            z = (edge[None] - m) / s
            expected_gap = s * (z * ndtr(z) + _density(z))
        result: FloatArray = np.where(np.isneginf(edge)[None], 0.0, expected_gap)
        return result

    width = below(rights) - below(lefts)
    height = expected_improvement(means[:, 1:], deviations[:, 1:], ceilings[None])  # type: ignore[arg-type]
    result: FloatArray = (width * height).sum(axis=1)
    return result


def scalarised_improvement(
    means: FloatArray,
    deviations: FloatArray,
    observed: FloatArray,
    reference: FloatArray,
    directions: FloatArray,
    normals: FloatArray,
) -> FloatArray:
    """Mean improvement of the hypervolume scalarisations, for any number of losses.

    ``directions``: (samples, objectives), positive unit vectors; ``normals``: as many standard normal deviates. Along a
    direction ``w`` a point's value is ``min_i max(0, (reference_i - y_i) / w_i)`` to the power of the number of
    objectives; their mean over directions is the hypervolume, but for a constant (Golovin and Zhang 2020,
    arXiv 2006.04655, lemma 5).
    """
    objectives = means.shape[1]
    best = np.zeros(len(directions))
    for start in range(0, len(observed), 256):
        gaps = np.maximum(reference - observed[start : start + 256], 0.0)[:, None] / directions[None]
        best = np.maximum(best, gaps.min(axis=2).max(axis=0, initial=0.0))
    samples = means[:, None] + deviations[:, None] * normals[None]
    values = (np.maximum(reference - samples, 0.0) / directions[None]).min(axis=2)
    result: FloatArray = np.maximum(values**objectives - best**objectives, 0.0).mean(axis=1)
    return result
