"""How far predictions are from measurements: accuracy metrics, and intervals that cover a stated share."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]


COVERAGE = 0.9


def interval_factor(predicted: Floats, measured: Floats, coverage: float = COVERAGE) -> float:
    """The ratio within which a share ``coverage`` of predictions is of what was measured, by split conformal."""
    import numpy

    ratios = numpy.sort(numpy.abs(numpy.log(numpy.maximum(predicted, 1e-12) / measured)))
    place = min(len(ratios), ceil((len(ratios) + 1) * coverage))
    return float(numpy.exp(ratios[place - 1]))


def scores(predicted: Floats, measured: Floats) -> dict[str, float]:
    """How good predictions are: rank correlations, where there are any, and errors in per cent of the measured."""
    import numpy
    from scipy.stats import kendalltau, spearmanr

    off = numpy.abs(predicted / measured - 1)
    ranks: dict[str, float] = {}
    if len(measured) > 2 and numpy.ptp(predicted) > 0 and numpy.ptp(measured) > 0:
        ranks["spearman"] = round(float(spearmanr(predicted, measured).statistic), 4)
        ranks["kendall"] = round(float(kendalltau(predicted, measured).statistic), 4)
    return {
        "rows": len(measured),
        **ranks,
        "mape_percent": round(100 * float(off.mean()), 2),
        "within_5_percent": round(float((off <= 0.05).mean()), 4),
        "within_10_percent": round(float((off <= 0.1).mean()), 4),
        "within_20_percent": round(float((off <= 0.2).mean()), 4),
    }
