"""How much a candidate is expected to add to what is known: the acquisition functions. Less is better everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import numpy.typing
from scipy.special import ndtr

FloatArray = numpy.typing.NDArray[numpy.float64]


_TAIL_QUANTILE = 0.75
_UNIT_OF_SPAN = 0.5


class LogTailTransform:
    """Losses with their worst tail drawn in by a logarithm: how bad the worst are says little of the best.

    Their order stays as it is, and so does what is no worse than three quarters of them; the slope goes on smoothly.
    """

    def __init__(self, losses: FloatArray) -> None:
        self._edge = numpy.quantile(losses, _TAIL_QUANTILE, axis=0)
        span = self._edge - numpy.quantile(losses, 1 - _TAIL_QUANTILE, axis=0)
        self._unit = numpy.maximum(span * _UNIT_OF_SPAN, 1e-12 * numpy.maximum(1.0, numpy.abs(self._edge)))

    def __call__(self, losses: FloatArray) -> FloatArray:
        """Losses of (points, objectives)."""
        over = numpy.maximum(losses - self._edge, 0.0)
        found: FloatArray = numpy.minimum(losses, self._edge) + self._unit * numpy.log1p(over / self._unit)
        return found

    def column(self, losses: FloatArray, objective: int) -> FloatArray:
        """Losses of one objective, a number a point."""
        table = numpy.repeat(self._edge[None], len(losses), axis=0)
        table[:, objective] = losses
        found: FloatArray = self(table)[:, objective]
        return found


def _density(z: FloatArray) -> FloatArray:
    found: FloatArray = numpy.exp(-0.5 * z**2) / numpy.sqrt(2 * numpy.pi)
    return found


def expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """``E[max(0, best - y)]`` of normal ``y`` (Jones et al. 1998, eq. 15)."""
    z = (best - mean) / deviation
    found: FloatArray = deviation * (z * ndtr(z) + _density(z))
    return found


def expected_hypervolume_improvement(
    means: FloatArray, deviations: FloatArray, front: Sequence[Sequence[float]], reference: Sequence[float]
) -> FloatArray:
    """What independent normal ``y`` of two losses add to the area that ``front`` dominates below ``reference``.

    ``means`` and ``deviations``: (candidates, 2). The area that a point adds is cut into strips between the front's
    first losses, and in each the two losses are independent (Emmerich et al. 2011, Hypervolume-based expected
    improvement). ``front`` may hold points beyond the reference; they are left out.
    """
    inside = sorted({(float(a), float(b)) for a, b in front if a < reference[0] and b < reference[1]})
    front_below_reference: list[tuple[float, float]] = []
    for a, b in inside:
        if not front_below_reference or b < front_below_reference[-1][1]:
            front_below_reference.append((a, b))
    lefts = numpy.array([-numpy.inf, *[a for a, _ in front_below_reference]])
    rights = numpy.array([*[a for a, _ in front_below_reference], reference[0]])
    ceilings = numpy.array([reference[1], *[b for _, b in front_below_reference]])
    m, s = means[:, :1], deviations[:, :1]

    def below(edge: FloatArray) -> FloatArray:
        """``E[max(0, edge - y)]`` of the first loss."""
        with numpy.errstate(invalid="ignore"):
            z = (edge[None] - m) / s
            found = s * (z * ndtr(z) + _density(z))
        result: FloatArray = numpy.where(numpy.isneginf(edge)[None], 0.0, found)
        return result

    width = below(rights) - below(lefts)
    height = expected_improvement(means[:, 1:], deviations[:, 1:], ceilings[None])  # type: ignore[arg-type]
    found: FloatArray = (width * height).sum(axis=1)
    return found


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
    best = numpy.zeros(len(directions))
    for start in range(0, len(observed), 256):
        gaps = numpy.maximum(reference - observed[start : start + 256], 0.0)[:, None] / directions[None]
        best = numpy.maximum(best, gaps.min(axis=2).max(axis=0, initial=0.0))
    samples = means[:, None] + deviations[:, None] * normals[None]
    values = (numpy.maximum(reference - samples, 0.0) / directions[None]).min(axis=2)
    found: FloatArray = numpy.maximum(values**objectives - best**objectives, 0.0).mean(axis=1)
    return found
