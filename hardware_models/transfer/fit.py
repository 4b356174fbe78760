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
from math import exp
from typing import TYPE_CHECKING, Any

from hardware_models.linear import prior as few_rows
from hardware_models.linear.device_priors import RATE_PRIORS
from hardware_models.linear.features import FEATURE_NAMES
from hardware_models.linear.fit import (
    FitNoise,
    OperationCounter,
    design_matrix,
    fit_linear,
    held_out_predictions,
    to_rates,
)
from hardware_models.linear.model import LinearModel, Rates
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.measured.prediction_error import attainable_coverage, conformal_quantile, interval_factor
from hardware_models.transfer.model import DeviceMixture, TransferFeatures
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

DEVICE_VARIANCE, COUNT_VARIANCE, NOISE_VARIANCE = 1.0, 0.3, 0.1
"""Variances of the process, in units of the known devices' spread over the pool: of what tells devices apart, of
counts, and of a measurement. Chosen on NAS-Bench-201's and FBNet's devices, each left out in turn."""
LIKELIHOOD_POWER, _UNEXPLAINED_SHARE = 0.5, 0.02
"""The power of the likelihood by which known devices weigh, and the share of the variance that none explains."""
MAX_REFITS = 50
MIN_NETWORKS_FOR_RATES = 25
PRIOR_CLASSES = ("processor", "accelerator", "gpu", "gpu in PyTorch")
"""The rows of ``device_priors.RATE_PRIORS`` that know what an inference adds to its operations."""
_LEVEL_VARIANCE = 9.0  # the variance of the level: known from the measurements alone


@dataclass(frozen=True, eq=False)
class NetworkPool:
    """Signals of networks [networks, signals] on known devices, and what they are standardised by."""

    signals: TransferFeatures
    logs: FloatArray  # of the devices, standardised
    counts: FloatArray  # log(1 + n / s), standardised, of unit length
    log_mean: FloatArray
    log_std: FloatArray
    scales: FloatArray
    count_mean: FloatArray
    count_std: FloatArray
    gmacs: FloatArray  # [networks]


def network_pool(graphs: Sequence[Graph], models: Sequence[LinearModel]) -> NetworkPool:
    """The pool of these networks on the known devices ``models``. Raises ``ValueError`` for fewer than two networks."""
    import numpy as np

    if len(graphs) < 2:
        raise ValueError(f"a calibration needs two networks at least, not {len(graphs)}")
    counter = OperationCounter()
    kinds = tuple(sorted({o.kind for g in graphs for o in counter.of(g)}))
    signals = TransferFeatures(models, kinds)
    matrix = np.array([signals.of(g)[0] for g in graphs])
    return pool_from_features(signals, matrix, np.array([g.macs / 1e9 for g in graphs]))


def pool_from_features(signals: TransferFeatures, matrix: FloatArray, gmacs: FloatArray) -> NetworkPool:
    """The pool of networks whose signals are in ``matrix`` [networks, signals], as ``TransferFeatures.of`` gives."""
    import numpy as np

    device_count = len(signals.models)
    logs, counts = np.log(matrix[:, :device_count]), matrix[:, device_count:]
    scales = counts.mean(0)
    scales[scales == 0] = 1.0
    lengths = np.log1p(counts / scales)
    count_std = lengths.std(0) * np.sqrt(lengths.shape[1])
    count_std[count_std < 1e-9] = np.inf
    log_std = logs.std(0)
    log_std[log_std < 1e-9] = np.inf
    log_mean, count_mean = logs.mean(0), lengths.mean(0)
    standard, spread = (logs - log_mean) / log_std, (lengths - count_mean) / count_std
    return NetworkPool(signals, standard, spread, log_mean, log_std, scales, count_mean, count_std, gmacs)


def select_measurements(pool: NetworkPool, count: int, measured_indices: Sequence[int] = ()) -> list[int]:
    """Which networks of a pool to measure: each the one that takes most variance from all, given those before.

    Greedy reduction of the total posterior variance (Krause et al. 2008, section 3, with the trace).
    ``measured_indices`` are measured already.
    """
    import numpy as np

    covariance = prior_covariance(pool)
    chosen: list[int] = []
    for number in [*measured_indices, *[-1] * min(count, len(covariance) - len(measured_indices))]:
        gain = (covariance**2).sum(0) / (np.diag(covariance) + NOISE_VARIANCE)
        gain[[*measured_indices, *chosen]] = -1.0
        best = number if number >= 0 else int(gain.argmax())
        if number < 0:
            chosen.append(best)
        column = covariance[:, best].copy()
        covariance = covariance - np.outer(column, column) / (column[best] + NOISE_VARIANCE)
    return chosen


def prior_covariance(pool: NetworkPool) -> FloatArray:
    """What is expected of a device of which nothing was measured [networks, networks]."""
    import numpy as np

    mean, rest = _mean_and_deviations(pool.logs, np.full(pool.logs.shape[1], 1 / pool.logs.shape[1]))
    covariance: FloatArray = (
        DEVICE_VARIANCE * rest @ rest.T + np.outer(mean, mean) + COUNT_VARIANCE * pool.counts @ pool.counts.T
    )
    return covariance + 0.3  # the level


def _mean_and_deviations(logs: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The weighted mean of the devices, and how each differs from it, by the root of its weight."""
    mean = logs @ weights
    return mean, (logs - mean[:, None]) * weights**0.5


def source_weights(logs: FloatArray, target: FloatArray) -> FloatArray:
    """How much known devices weigh, in sum 1, by the likelihood of ``target`` [networks] as a line in each alone.

    ``logs``: the devices' standardised logarithms [networks, devices].
    """
    import numpy as np

    x, y = logs - logs.mean(0), target - target.mean()
    slopes = np.maximum(0.0, y @ x) / np.maximum((x**2).sum(0), 1e-12)
    residual = ((y[:, None] - x * slopes) ** 2).sum(0) + _UNEXPLAINED_SHARE * (y**2).sum()
    logs_of = -LIKELIHOOD_POWER * len(y) / 2 * np.log(np.maximum(residual, 1e-300))
    likelihoods = np.exp(logs_of - logs_of.max())
    weights: FloatArray = likelihoods / likelihoods.sum()
    return weights


@dataclass(frozen=True, eq=False)
class TransferFit:
    """A mixture, and predictions of the measured networks in ms, each by a transfer without it."""

    mixture: DeviceMixture
    held_out_predictions: FloatArray


def fit_transfer(pool: NetworkPool, chosen: Sequence[int], measured: FloatArray) -> TransferFit:
    """The mixture from the latencies [ms] of the chosen networks of a pool. Raises ``ValueError``."""
    import numpy as np

    indices = np.array(chosen)
    if len(indices) < 3 or not (measured > 0).all():
        raise ValueError("a calibration needs three measured networks at least, and latencies above 0")
    target = np.log(measured)
    residual = target - _held_out_logs(pool, indices, target)
    intercept, by_device, by_count = _posterior_mean(pool, indices, target)
    w, v = by_device / pool.log_std, by_count / pool.count_std
    intercept -= float(w @ pool.log_mean + v @ pool.count_mean)
    width = len(FEATURE_NAMES)
    pairs = [(float(a), float(b)) for a, b in zip(v, pool.scales, strict=True)]
    mixture = DeviceMixture(
        intercept,
        {m.name: float(x) for m, x in zip(pool.signals.models, w, strict=True)},
        {kind: tuple(pairs[i * width : (i + 1) * width]) for i, kind in enumerate(pool.signals.kinds)},
        _jackknife_factor(residual),
        round(attainable_coverage(len(indices)), 4),
        float(pool.gmacs[indices].max()),
    )
    return TransferFit(mixture, np.exp(target - residual))


def _held_out_logs(pool: NetworkPool, indices: Any, target: FloatArray) -> FloatArray:
    """Every network's logarithm as predicted without it; without one of ``MAX_REFITS`` groups where there are more."""
    import numpy as np

    group = _leave_out_groups(len(indices))
    predicted_logs = np.zeros(len(indices))
    for number in range(int(group.max()) + 1):
        inside = group == number
        intercept, by_device, by_count = _posterior_mean(pool, indices[~inside], target[~inside])
        predicted_logs[inside] = (
            intercept + pool.logs[indices[inside]] @ by_device + pool.counts[indices[inside]] @ by_count
        )
    return predicted_logs


def _leave_out_groups(count: int) -> Any:
    """Which measurements are left out together: each alone, where there are few."""
    import numpy as np

    return np.random.default_rng(0).permutation(count) % MAX_REFITS


def _posterior_mean(pool: NetworkPool, indices: Any, target: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """The posterior mean as a linear function of standardised signals: intercept, by device, by count."""
    import numpy as np

    weights = source_weights(pool.logs[indices], target)
    mean, differences = _mean_and_deviations(pool.logs[indices], weights)
    counts = pool.counts[indices]
    slope, level, centre = _spread_ratio(mean, target), float(target.mean()), float(mean.mean())
    rest = (target - level) / slope - (mean - centre)
    covariance = DEVICE_VARIANCE * differences @ differences.T + COUNT_VARIANCE * counts @ counts.T + _LEVEL_VARIANCE
    dual = np.linalg.solve(covariance + NOISE_VARIANCE * np.eye(len(indices)), rest)
    by_device = weights + DEVICE_VARIANCE * weights**0.5 * (differences.T @ dual)
    intercept = level + slope * (_LEVEL_VARIANCE * float(dual.sum()) - centre)
    return intercept, slope * by_device, slope * COUNT_VARIANCE * counts.T @ dual


def _spread_ratio(mean: FloatArray, logs: FloatArray) -> float:
    """The device's spread in units of the mean's, by least squares; above 0, so that the order is kept."""
    import numpy as np

    spread = float(((mean - mean.mean()) ** 2).sum())
    if spread < 1e-12:
        return float(np.std(logs)) or 1.0
    return max(0.05, float(((mean - mean.mean()) * (logs - logs.mean())).sum()) / spread)


def _jackknife_factor(log_residuals: FloatArray) -> float:
    """The interval from leave-one-out residuals: the jackknife of arXiv 1905.02928, section 1.2."""
    return exp(conformal_quantile(abs(log_residuals)))


def fit_prior_rates(graphs: Sequence[Graph], measured: FloatArray) -> tuple[Rates, FloatArray]:
    """Rates of ``few_rows`` from the measurements and the prior of a class of processors, with held-out predictions.

    Of ``PRIOR_CLASSES``, the one with the least held-out error; each prediction is by the class that the others choose.
    """
    import numpy as np

    counter = OperationCounter()
    groups = [str(group) for group in _leave_out_groups(len(graphs))]
    networks = [MeasuredNetwork(str(i), graph, float(measured[i])) for i, graph in enumerate(graphs)]
    designs = [few_rows.prior_design(networks, RATE_PRIORS[name], counter) for name in PRIOR_CLASSES]
    each = np.array([few_rows.held_out_predictions(design, groups) for design in designs])
    squares = np.log(each / measured) ** 2
    design = designs[int(squares.sum(1).argmin())]
    # The class is chosen without the network that is predicted, or the error would be that of the luckiest class
    left_out = each[(squares.sum(1, keepdims=True) - squares).argmin(0), np.arange(len(networks))]
    unknowns = few_rows.fit_rates_with_prior(design)
    rates = few_rows.to_rates(unknowns, design, _jackknife_factor(np.log(left_out / measured)))
    return replace(rates, coverage=round(attainable_coverage(len(graphs)), 4)), left_out


def fit_own_rates(graphs: Sequence[Graph], measured: FloatArray) -> tuple[Rates, FloatArray]:
    """Rates of the device's own from its measurements, with held-out predictions of these."""
    noise = FitNoise(0.05, 0.1)
    counter = OperationCounter()
    matrix = design_matrix([counter.of(g) for g in graphs])
    left_out = held_out_predictions(matrix, measured, noise)
    return to_rates(fit_linear(matrix, measured, noise), matrix, interval_factor(left_out, measured)), left_out
