"""What a few measurements teach a hardware model: its latencies, multiplied by a power law fitted to them.

    log measured = log predicted + level + slope * (log predicted - centre)

``level`` is free, ``slope`` is held near 0 by a Gaussian prior, and a measurement counts the less the more its repeats
scatter: weighted ridge regression, whose leave-one-out residuals are known in closed form (Hastie et al., The Elements
of Statistical Learning, eq. 7.64).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

from hardware_models.cost import Cost, HardwareModel
from hardware_models.device_file.number_format import number_format_of
from hardware_models.measured.prediction_error import attainable_coverage, conformal_quantile
from search_spaces.graph.graph import Graph

_NOISE_STD, _SLOPE_PRIOR_STD = 0.1, 0.3
"""Standard deviations, in the logarithm: of a network's own deviation, and of the slope before anything is measured."""
_MIN_SLOPE = -0.8  # at -1 the predictions would all be one, below it their order would turn round
_MIN_MEASUREMENTS_FOR_INTERVAL = 3


@dataclass(frozen=True)
class Correction:
    """The formula above, fitted to ``measured_count`` networks.

    ``factor`` is the ratio between a corrected prediction and either end of its interval, which holds a share
    ``coverage`` of networks: the jackknife of arXiv 1905.02928, section 1.2. Both are ``None`` below three networks;
    then the model's own interval moves with the prediction.
    """

    level: float
    slope: float
    centre: float
    measured_count: int
    factor: float | None = None
    coverage: float | None = None

    def ratio(self, latency_ms: float) -> float:
        """What a predicted latency is multiplied by."""
        if latency_ms <= 0:
            return 1.0
        return exp(self.level + self.slope * (log(latency_ms) - self.centre))

    def apply(self, cost: Cost) -> Cost:
        """The cost with its latency and interval corrected; its source tells that it was, and by how many."""
        ratio = self.ratio(cost.latency_ms)
        latency_ms = cost.latency_ms * ratio
        low, high, coverage = cost.latency_low_ms, cost.latency_high_ms, cost.coverage
        if self.factor is not None:
            low, high, coverage = latency_ms / self.factor, latency_ms * self.factor, self.coverage
        elif low is not None and high is not None:
            low, high = low * ratio, high * ratio
        return replace(
            cost,
            latency_ms=latency_ms,
            latency_low_ms=low,
            latency_high_ms=high,
            coverage=coverage,
            source=f"{cost.source}, corrected by {self.measured_count} measured",
        )


def fit_correction(
    predicted_ms: Sequence[float], measured_ms: Sequence[float], std_ms: Sequence[float] | None = None
) -> Correction | None:
    """The correction from pairs of latencies above 0, other pairs left out; ``None`` where none is left.

    ``std_ms``: the standard deviations of the measurements' repeats.
    """
    triples = zip(predicted_ms, measured_ms, std_ms or [0.0] * len(predicted_ms), strict=True)
    pairs = [(log(p), log(m) - log(p), 1 / (_NOISE_STD**2 + (s / m) ** 2)) for p, m, s in triples if p > 0 and m > 0]
    count = len(pairs)
    if not pairs:
        return None
    total = sum(w for _, _, w in pairs)
    centre, level = sum(w * x for x, _, w in pairs) / total, sum(w * r for _, r, w in pairs) / total
    spread = sum(w * (x - centre) ** 2 for x, _, w in pairs) + _SLOPE_PRIOR_STD**-2
    slope = max(_MIN_SLOPE, sum(w * (x - centre) * (r - level) for x, r, w in pairs) / spread)
    if count < _MIN_MEASUREMENTS_FOR_INTERVAL:
        return Correction(level, slope, centre, count)
    leave_one_out_residuals = [
        abs(r - level - slope * (x - centre)) / (1 - w / total - w * (x - centre) ** 2 / spread) for x, r, w in pairs
    ]
    coverage = attainable_coverage(count)
    factor = exp(conformal_quantile(leave_one_out_residuals, coverage))
    return Correction(level, slope, centre, count, factor, coverage)


class CorrectedModel:
    """A hardware model that measurements correct; the model itself until there are any. Breakdowns stay as they are."""

    def __init__(self, model: HardwareModel) -> None:
        self.model = model
        self.correction: Correction | None = None

    def __repr__(self) -> str:
        return f"<Corrected {self.model!r}>"

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def number_format(self) -> str | None:
        """The model's; ``None`` where it does not state one."""
        return number_format_of(self.model)

    def estimate(self, graph: Graph) -> Cost:
        """The model's cost, corrected."""
        cost = self.model.estimate(graph)
        return cost if self.correction is None else self.correction.apply(cost)
