"""A device file from a few measurements: transfer from known devices, rates from a prior, or rates of its own.

The transfer is a Gaussian process over networks (Rasmussen and Williams, Gaussian Processes for Machine Learning, eq.
2.25) on the logarithm of the latency: its mean is a weighted mean of the known devices, each standardised over a pool
of networks, and its covariance is linear in how the known devices differ from that mean and in counts of operations.
Known devices weigh by how well each alone explains the measurements. Every network is predicted once by a transfer
without it: these residuals give the errors and the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp
from typing import TYPE_CHECKING, Any

from hardware_models.catalog import device_kind, hardware, load_hardware
from hardware_models.linear import prior as few_rows
from hardware_models.linear.device_priors import PRIORS
from hardware_models.linear.features import FEATURES
from hardware_models.linear.fit import Operations, Stiffness, design, fit, held_out, to_rates
from hardware_models.linear.model import LearnedModel, Rates
from hardware_models.measured.prediction_error import COVERAGE, interval_factor
from hardware_models.transfer.model import Mixture, Signals
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

DIFFERENCES, COUNTS, SCATTER = 1.0, 0.3, 0.1
"""Variances of the process, in units of the known devices' spread over the pool: of what tells devices apart, of
counts, and of a measurement. Chosen on NAS-Bench-201's and FBNet's devices, each left out in turn."""
EVIDENCE, _SURE = 0.5, 0.02
"""The power of the likelihood by which known devices weigh, and the share of the variance that none explains."""
MOST_REFITS = 50
LEAST_FOR_RATES = 25
CLASSES = ("processor", "accelerator", "gpu", "gpu in PyTorch")
"""The rows of ``few_plans.PRIORS`` that know what an inference adds to its operations."""
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
    gmacs: Floats  # [networks]


def known_devices() -> list[LearnedModel]:
    """All named devices that were learned from measurements of many networks."""
    # By the kind in their files: a transferred device would load all that it rests on
    models = [load_hardware(name) for name in hardware() if device_kind(name) == "learned"]
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
    return pool_of(signals, matrix, numpy.array([g.macs / 1e9 for g in graphs]))


def pool_of(signals: Signals, matrix: Floats, gmacs: Floats) -> Pool:
    """The pool of networks whose signals are known: ``matrix`` [networks, signals], as ``Signals.of`` gives."""
    import numpy

    known = len(signals.models)
    logs, counts = numpy.log(matrix[:, :known]), matrix[:, known:]
    scales = counts.mean(0)
    scales[scales == 0] = 1.0
    lengths = numpy.log1p(counts / scales)
    count_std = lengths.std(0) * numpy.sqrt(lengths.shape[1])
    count_std[count_std < 1e-9] = numpy.inf
    log_std = logs.std(0)
    log_std[log_std < 1e-9] = numpy.inf
    log_mean, count_mean = logs.mean(0), lengths.mean(0)
    standard, spread = (logs - log_mean) / log_std, (lengths - count_mean) / count_std
    return Pool(signals, standard, spread, log_mean, log_std, scales, count_mean, count_std, gmacs)


def informative(pool: Pool, count: int, taken: Sequence[int] = ()) -> list[int]:
    """Which networks of a pool to measure: each the one that takes most variance from all, given those before.

    Greedy reduction of the total posterior variance (Krause et al. 2008, section 3, with the trace). ``taken`` are
    measured already.
    """
    import numpy

    covariance = prior_covariance(pool)
    chosen: list[int] = []
    for number in [*taken, *[-1] * min(count, len(covariance) - len(taken))]:
        gain = (covariance**2).sum(0) / (numpy.diag(covariance) + SCATTER)
        gain[[*taken, *chosen]] = -1.0
        best = number if number >= 0 else int(gain.argmax())
        if number < 0:
            chosen.append(best)
        column = covariance[:, best].copy()
        covariance = covariance - numpy.outer(column, column) / (column[best] + SCATTER)
    return chosen


def prior_covariance(pool: Pool) -> Floats:
    """What is expected of a device of which nothing was measured [networks, networks]."""
    import numpy

    mean, rest = _parts(pool.logs, numpy.full(pool.logs.shape[1], 1 / pool.logs.shape[1]))
    known: Floats = DIFFERENCES * rest @ rest.T + numpy.outer(mean, mean) + COUNTS * pool.counts @ pool.counts.T
    return known + 0.3  # the level


def _parts(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The weighted mean of the devices, and how each differs from it, by the root of its weight."""
    mean = logs @ weights
    return mean, (logs - mean[:, None]) * weights**0.5


def relevance(logs: Floats, target: Floats) -> Floats:
    """How much known devices weigh, in sum 1, by the likelihood of ``target`` [networks] as a line in each alone.

    ``logs``: the devices' standardised logarithms [networks, devices].
    """
    import numpy

    x, y = logs - logs.mean(0), target - target.mean()
    slopes = numpy.maximum(0.0, y @ x) / numpy.maximum((x**2).sum(0), 1e-12)
    left = ((y[:, None] - x * slopes) ** 2).sum(0) + _SURE * (y**2).sum()
    logs_of = -EVIDENCE * len(y) / 2 * numpy.log(numpy.maximum(left, 1e-300))
    likelihoods = numpy.exp(logs_of - logs_of.max())
    weights: Floats = likelihoods / likelihoods.sum()
    return weights


@dataclass(frozen=True, eq=False)
class Transferred:
    """A mixture, and predictions of the measured networks in ms, each by a transfer without it."""

    mixture: Mixture
    held_out: Floats


def transfer(pool: Pool, chosen: Sequence[int], measured: Floats) -> Transferred:
    """The mixture from the latencies [ms] of the chosen networks of a pool. Raises ``ValueError``."""
    import numpy

    places = numpy.array(chosen)
    if len(places) < 3 or not (measured > 0).all():
        raise ValueError("a calibration needs three measured networks at least, and latencies above 0")
    target = numpy.log(measured)
    left = target - _left_out(pool, places, target)
    intercept, by_device, by_count = _solve(pool, places, target)
    w, v = by_device / pool.log_std, by_count / pool.count_std
    intercept -= float(w @ pool.log_mean + v @ pool.count_mean)
    width = len(FEATURES)
    pairs = [(float(a), float(b)) for a, b in zip(v, pool.scales, strict=True)]
    mixture = Mixture(
        intercept,
        {m.name: float(x) for m, x in zip(pool.signals.models, w, strict=True)},
        {kind: tuple(pairs[i * width : (i + 1) * width]) for i, kind in enumerate(pool.signals.kinds)},
        _factor(left),
        _coverage(len(places)),
        float(pool.gmacs[places].max()),
    )
    return Transferred(mixture, numpy.exp(target - left))


def _left_out(pool: Pool, places: Any, target: Floats) -> Floats:
    """Every network's logarithm as predicted without it; without one of ``MOST_REFITS`` groups where there are more."""
    import numpy

    group = _groups(len(places))
    found = numpy.zeros(len(places))
    for number in range(int(group.max()) + 1):
        inside = group == number
        intercept, by_device, by_count = _solve(pool, places[~inside], target[~inside])
        found[inside] = intercept + pool.logs[places[inside]] @ by_device + pool.counts[places[inside]] @ by_count
    return found


def _groups(count: int) -> Any:
    """Which measurements are left out together: each alone, where there are few."""
    import numpy

    return numpy.random.default_rng(0).permutation(count) % MOST_REFITS


def _coverage(count: int) -> float:
    """What the interval of so few residuals can promise."""
    return round(min(COVERAGE, count / (count + 1)), 4)


def _solve(pool: Pool, places: Any, target: Floats) -> tuple[float, Floats, Floats]:
    """The posterior mean as a linear function of standardised signals: intercept, by device, by count."""
    import numpy

    weights = relevance(pool.logs[places], target)
    mean, differences = _parts(pool.logs[places], weights)
    counts = pool.counts[places]
    slope, level, centre = _slope(mean, target), float(target.mean()), float(mean.mean())
    rest = (target - level) / slope - (mean - centre)
    covariance = DIFFERENCES * differences @ differences.T + COUNTS * counts @ counts.T + _LEVEL
    dual = numpy.linalg.solve(covariance + SCATTER * numpy.eye(len(places)), rest)
    by_device = weights + DIFFERENCES * weights**0.5 * (differences.T @ dual)
    intercept = level + slope * (_LEVEL * float(dual.sum()) - centre)
    return intercept, slope * by_device, slope * COUNTS * counts.T @ dual


def _slope(mean: Floats, logs: Floats) -> float:
    """The device's spread in units of the mean's, by least squares; above 0, so that the order is kept."""
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


def prior_rates(graphs: Sequence[Graph], measured: Floats) -> tuple[Rates, Floats]:
    """Rates of ``few_rows`` from the measurements and the prior of a class of processors, with held-out predictions.

    Of ``CLASSES``, the one with the least held-out error; each prediction is by the class that the others choose.
    """
    import numpy

    counter = Operations()
    groups = [str(group) for group in _groups(len(graphs))]
    samples = [
        few_rows.sample(counter, graph, float(ms), group)
        for graph, ms, group in zip(graphs, measured, groups, strict=True)
    ]
    each = numpy.array([few_rows.held_out(samples, PRIORS[name], groups) for name in CLASSES])
    squares = numpy.log(each / measured) ** 2
    prior = PRIORS[CLASSES[int(squares.sum(1).argmin())]]
    # The class is chosen without the network that is predicted, or the error would be that of the luckiest class
    left_out = each[(squares.sum(1, keepdims=True) - squares).argmin(0), numpy.arange(len(samples))]
    unknowns = few_rows.fit_rates(samples, prior)
    rates = few_rows.to_rates(unknowns, samples, prior, _factor(numpy.log(left_out / measured)))
    return replace(rates, coverage=_coverage(len(graphs))), left_out


def own_rates(graphs: Sequence[Graph], measured: Floats) -> tuple[Rates, Floats]:
    """Rates of the device's own from its measurements, with held-out predictions of these."""
    stiffness = Stiffness(0.05, 0.1)
    counter = Operations()
    matrix = design([counter.of(g) for g in graphs])
    left_out = held_out(matrix, measured, stiffness)
    return to_rates(fit(matrix, measured, stiffness), matrix, interval_factor(left_out, measured)), left_out
