"""A device file from a few measurements: transfer from known devices, or rates of its own where those are better.

The transfer is a Gaussian process over networks (Rasmussen and Williams, Gaussian Processes for Machine Learning, eq.
2.25) on the logarithm of the latency: its mean is the mean of the known devices, each standardised over a pool of
networks, and its covariance is linear in how the known devices differ from that mean and in counts of operations. What
it leaves is judged by leave-one-out residuals (eq. 5.12), which also give the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp
from typing import TYPE_CHECKING, Any

from hardware_models.catalog import hardware, load_hardware
from hardware_models.learned import LearnedModel
from hardware_models.learning import COVERAGE, Operations, Stiffness, design, fit, held_out, interval_factor, to_rates
from hardware_models.operation import FEATURES
from hardware_models.transferred import Mixture, Signals
from search_spaces.graph import Graph

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

DIFFERENCES, COUNTS, SCATTER = 1.0, 0.3, 0.1
"""Variances of the process, in units of the known devices' spread over the pool: of what tells devices apart, of
counts, and of a measurement. Chosen on NAS-Bench-201's and FBNet's devices, each left out in turn."""
LEAST_FOR_RATES = 25
_LEVEL = 9.0  # the variance of the level: known from the measurements alone


@dataclass(frozen=True, eq=False)
class Pool:
    """Signals of networks [networks, signals] on known devices, and what they are standardised by."""

    signals: Signals
    logs: Floats  # of the devices, standardised
    counts: Floats  # log(1 + n / s), standardised, of unit length
    log_mean: Floats
    log_std: Floats
    scales: Floats
    count_mean: Floats
    count_std: Floats


def known_devices() -> list[LearnedModel]:
    """All named devices that were learned from measurements of many networks."""
    models = [load_hardware(name) for name in hardware()]
    return [model for model in models if isinstance(model, LearnedModel)]


def make_pool(graphs: Sequence[Graph], models: Sequence[LearnedModel] | None = None) -> Pool:
    """The pool of these networks. Raises ``ValueError`` for fewer than two."""
    import numpy

    if len(graphs) < 2:
        raise ValueError(f"a calibration needs two networks at least, not {len(graphs)}")
    models = known_devices() if models is None else list(models)
    counter = Operations()
    kinds = tuple(sorted({o.kind for g in graphs for o in counter.of(g)}))
    signals = Signals(models, kinds)
    matrix = numpy.array([signals.of(g)[0] for g in graphs])
    logs, counts = numpy.log(matrix[:, : len(models)]), matrix[:, len(models) :]
    scales = counts.mean(0)
    scales[scales == 0] = 1.0
    lengths = numpy.log1p(counts / scales)
    count_std = lengths.std(0) * numpy.sqrt(lengths.shape[1])
    count_std[count_std < 1e-9] = numpy.inf
    log_std = logs.std(0)
    log_std[log_std < 1e-9] = numpy.inf
    log_mean, count_mean = logs.mean(0), lengths.mean(0)
    standard = (logs - log_mean) / log_std
    return Pool(signals, standard, (lengths - count_mean) / count_std, log_mean, log_std, scales, count_mean, count_std)


def informative(pool: Pool, count: int, taken: Sequence[int] = ()) -> list[int]:
    """Which networks of a pool to measure: each the one that takes most variance from all, given those before.

    Greedy reduction of the total posterior variance (Krause et al. 2008, section 3, with the trace).
    """
    import numpy

    mean, rest = _parts(pool.logs)
    covariance = DIFFERENCES * rest @ rest.T + numpy.outer(mean, mean) + COUNTS * pool.counts @ pool.counts.T + 0.3
    chosen: list[int] = []
    for number in [*taken, *[-1] * min(count, len(mean))]:
        gain = (covariance**2).sum(0) / (numpy.diag(covariance) + SCATTER)
        gain[[*taken, *chosen]] = -1.0
        best = number if number >= 0 else int(gain.argmax())
        if number < 0:
            chosen.append(best)
        column = covariance[:, best].copy()
        covariance = covariance - numpy.outer(column, column) / (column[best] + SCATTER)
    return chosen


def _parts(logs: Floats) -> tuple[Floats, Floats]:
    """The mean of the devices, and how each differs from it, of unit length."""
    mean = logs.mean(1)
    return mean, (logs - mean[:, None]) / logs.shape[1] ** 0.5


@dataclass(frozen=True, eq=False)
class Transferred:
    """A mixture, and its leave-one-out predictions of the measured networks."""

    mixture: Mixture
    held_out: Floats


def transfer(pool: Pool, chosen: Sequence[int], measured: Floats) -> Transferred:
    """The mixture from the latencies [ms] of the chosen networks of a pool. Raises ``ValueError``."""
    import numpy

    chosen = list(chosen)
    if len(chosen) < 2 or not (measured > 0).all():
        raise ValueError("a calibration needs two measured networks at least, and latencies above 0")
    mean, rest = _parts(pool.logs)
    logs = numpy.log(measured)
    slope = _slope(mean[chosen], logs)
    level, centre = logs.mean(), mean[chosen].mean()
    target = (logs - level) / slope - (mean[chosen] - centre)
    counts, differences = pool.counts[chosen], rest[chosen]
    covariance = DIFFERENCES * differences @ differences.T + COUNTS * counts @ counts.T + _LEVEL
    inverse = numpy.linalg.inv(covariance + SCATTER * numpy.eye(len(chosen)))
    weights = inverse @ target
    left = slope * weights / numpy.diag(inverse)  # measured less predicted, each left out
    # The same as one linear function of log latencies and log counts
    devices = len(pool.log_mean)
    by_device = numpy.full(devices, 1 / devices)
    push = DIFFERENCES * differences.T @ weights / devices**0.5
    by_device = by_device + push - push.mean()
    by_count = COUNTS * counts.T @ weights
    intercept = level + slope * (_LEVEL * weights.sum() - centre)
    w = slope * by_device / pool.log_std
    v = slope * by_count / pool.count_std
    intercept -= float(w @ pool.log_mean + v @ pool.count_mean)
    width = len(FEATURES)
    pairs = [(float(a), float(b)) for a, b in zip(v, pool.scales, strict=True)]
    mixture = Mixture(
        float(intercept),
        {m.name: float(x) for m, x in zip(pool.signals.models, w, strict=True)},
        {kind: tuple(pairs[i * width : (i + 1) * width]) for i, kind in enumerate(pool.signals.kinds)},
        _factor(left),
        COVERAGE,
    )
    return Transferred(mixture, numpy.exp(logs - left))


def _slope(mean: Floats, logs: Floats) -> float:
    import numpy

    spread = float(((mean - mean.mean()) ** 2).sum())
    if spread < 1e-12:
        return float(numpy.std(logs)) or 1.0
    return max(0.05, float(((mean - mean.mean()) * (logs - logs.mean())).sum()) / spread)


def _factor(left: Floats) -> float:
    """The interval from leave-one-out residuals: the jackknife of arXiv 1905.02928, section 1.2."""
    import numpy

    ratios = numpy.sort(numpy.abs(left))
    place = min(len(ratios), ceil((len(ratios) + 1) * COVERAGE))
    return exp(float(ratios[place - 1]))


def own_rates(graphs: Sequence[Graph], measured: Floats) -> tuple[Any, Floats]:
    """Rates of the device's own from its measurements, with held-out predictions of these."""
    stiffness = Stiffness(0.05, 0.1)
    counter = Operations()
    matrix = design([counter.of(g) for g in graphs])
    left_out = held_out(matrix, measured, stiffness)
    return to_rates(fit(matrix, measured, stiffness), matrix, interval_factor(left_out, measured)), left_out
