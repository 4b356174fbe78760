"""How far predictions are from measurements: accuracy metrics, and intervals that cover a stated share."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


INTERVAL_COVERAGE = 0.9
"""The share of measurements that a prediction's interval promises to hold, where there are enough residuals."""


def conformal_quantile(residuals: Sequence[float] | FloatArray, coverage: float = INTERVAL_COVERAGE) -> float:
    """What the absolute residual of one more network exceeds with probability 1 - ``coverage`` at most.

    Of n residuals, the one of rank ceil((n + 1) coverage), or the largest: the quantile of split conformal prediction,
    and of the jackknife (arXiv 1905.02928, section 1.2) where each residual is of a prediction made without its
    network.
    """
    ranked = sorted(float(residual) for residual in residuals)
    # (n + 1) coverage may be a whole number but for rounding
    return ranked[min(len(ranked), ceil(round((len(ranked) + 1) * coverage, 9))) - 1]


def attainable_coverage(count: int) -> float:
    """What the interval of so few residuals can promise, ``INTERVAL_COVERAGE`` at most."""
    return min(INTERVAL_COVERAGE, count / (count + 1))


def interval_factor(predicted: FloatArray, measured: FloatArray, coverage: float = INTERVAL_COVERAGE) -> float:
    """The ratio within which a share ``coverage`` of predictions is of what was measured, by split conformal."""
    import numpy as np

    residuals = np.abs(np.log(np.maximum(predicted, 1e-12) / measured))
    return float(np.exp(conformal_quantile(residuals, coverage)))


def accuracy_metrics(predicted: FloatArray, measured: FloatArray) -> dict[str, float]:
    """How good predictions are: rank correlations, where there are any, and errors in per cent of the measured."""
    import numpy as np
    from scipy.stats import kendalltau, spearmanr

    relative_error = np.abs(predicted / measured - 1)
    ranks: dict[str, float] = {}
    if len(measured) > 2 and np.ptp(predicted) > 0 and np.ptp(measured) > 0:
        ranks["spearman"] = round(float(spearmanr(predicted, measured).statistic), 4)
        ranks["kendall"] = round(float(kendalltau(predicted, measured).statistic), 4)
    return {
        "rows": len(measured),
        **ranks,
        "mape_percent": round(100 * float(relative_error.mean()), 2),
        "within_5_percent": round(float((relative_error <= 0.05).mean()), 4),
        "within_10_percent": round(float((relative_error <= 0.1).mean()), 4),
        "within_20_percent": round(float((relative_error <= 0.2).mean()), 4),
    }
