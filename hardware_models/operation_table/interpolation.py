"""What an operation takes, between operations that were measured: a trend, and kriging of what the trend leaves.

    log t = log trend + sum over measured rows of w_i * exp(-distance(x, x_i) / reach)

The trend of a kind of operation is either *rates*, a price for each of ``features.FEATURE_NAMES`` (non-negative least
squares on relative errors), or *log-linear*, a power of each of multiply-adds, elements moved, weights, channels and
size. Neither falls as an operation grows. The sum is the posterior mean of a Gaussian process with an exponential
covariance (Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 2.25 and 4.18). Trend, reach and
scatter of a kind are those with the least error on rows left out. A row that was measured is returned as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import exp, inf, log, prod
from typing import TYPE_CHECKING

from hardware_models.linear.features import FEATURE_NAMES
from hardware_models.operation_table.fusion import FusedOperation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

TRENDS = ("rates", "log-linear")
LENGTH_SCALES = (0.5, 1.5, 5.0)
"""How far rows tell of each other: 1 is a factor of e in one of channels and size."""
NOISE_STDS = (0.02, 0.1, 0.3)
"""The standard deviation of rows that their neighbours do not explain, as a share."""
MIN_LATENCY_MS = 1e-4
"""Rows below this were too quick to tell from nothing, and count as this."""
MIN_ROWS = 4
"""Of a kind with fewer, nothing is left out, and the first choice is taken."""
EXTRAPOLATION_LIMIT = 1.1
"""By how much a size may be beyond the measured ones and still count as between them."""
_RESIDUAL_STD = 0.3  # of the kriged part, as a share
_RIDGE_PENALTY = 1e-3
_POWER_PRIOR_STRENGTH = (
    0.05  # how strongly powers are held to those of an operation that takes time by its largest count
)
_FUSION_DISTANCE = 1.0  # distance between different things folded into an operation


@dataclass(frozen=True)
class InterpolationSettings:
    """How a kind of operation is interpolated.

    ``error_percent``: the median error of rows that were left out, for the reader; ``None`` where it is not known.
    """

    trend: str = TRENDS[0]
    length_scale: float = LENGTH_SCALES[1]
    scatter: float = NOISE_STDS[1]
    error_percent: float | None = None


def sizes(operation: FusedOperation) -> tuple[float, ...]:
    """Logarithms of multiply-adds, elements moved, weights, channels in and out, and the size of the result."""
    channels_in, channels_out = sum(shape[0] for shape in operation.inputs), operation.output[0]
    counts = (operation.macs, operation.moved, operation.weights, channels_in, channels_out)
    return tuple([log(max(count, 1)) for count in (*counts, prod(operation.output[1:]))])


def coordinates(operation: FusedOperation) -> tuple[float, ...]:
    """Where an operation stands among those of its kind, in units of a factor of e."""
    kernel, stride = log(prod(operation.kernel)), log(prod(operation.stride))
    return (*sizes(operation)[3:], kernel, stride, log(operation.dilation))


class OperationMatrix:
    """Operations of one kind: ``counts`` [operations, features], ``sizes`` and ``coordinate_rows`` likewise."""

    def __init__(self, operations: Sequence[FusedOperation]) -> None:
        import numpy as np

        self.counts = np.array([o.counts for o in operations])
        self.sizes = np.array([sizes(o) for o in operations])
        self.coordinate_rows = np.array([coordinates(o) for o in operations])
        self.fused = np.array([o.fused for o in operations])

    def of(self, chosen: npt.NDArray[np.intp]) -> OperationMatrix:
        """The same of some of them."""
        some = object.__new__(OperationMatrix)
        some.counts, some.sizes = self.counts[chosen], self.sizes[chosen]
        some.coordinate_rows, some.fused = self.coordinate_rows[chosen], self.fused[chosen]
        return some


def distances(some: OperationMatrix, others: OperationMatrix) -> FloatArray:
    """How far operations of one kind are from each other [some, others]."""
    import numpy as np

    squares = ((some.coordinate_rows[:, None] - others.coordinate_rows[None]) ** 2).sum(2)
    distance_matrix: FloatArray = np.sqrt(squares + _FUSION_DISTANCE * (some.fused[:, None] != others.fused[None]))
    return distance_matrix


class LatencyTrend:
    """What operations of one kind take by their counts: fitted to rows, and asked of others."""

    def __init__(self, name: str, rows: OperationMatrix, logs: FloatArray) -> None:
        self.name = name
        self._coefficients = rates(rows, logs) if name == "rates" else fit_power_trend(rows, logs)

    def of(self, operations: OperationMatrix) -> FloatArray:
        """Logarithms of ms [operations]."""
        import numpy as np

        if self.name == "rates":
            priced: FloatArray = operations.counts @ self._coefficients
            return np.log(np.maximum(priced, MIN_LATENCY_MS))
        log_ms: FloatArray = self._coefficients[0] + operations.sizes @ self._coefficients[1:]
        return log_ms


def _kriging_weights(distance: FloatArray, residuals: FloatArray, length_scale: float, scatter: float) -> FloatArray:
    """The weights of rows that are ``distance`` [rows, rows] and off their trend by ``left`` [rows]."""
    import numpy as np

    covariance: FloatArray = np.exp(-distance / length_scale)
    covariance[np.diag_indices_from(covariance)] += (scatter / _RESIDUAL_STD) ** 2
    return np.asarray(np.linalg.solve(covariance, residuals), dtype=np.float64)


class KindInterpolator:
    """The measured rows of one kind of operation, ready to be asked. ``measured``: ms of every row."""

    def __init__(
        self,
        rows: Sequence[FusedOperation],
        measured: Sequence[float],
        choice: InterpolationSettings = InterpolationSettings(),
    ) -> None:
        self.rows = tuple(rows)
        self.choice = choice
        self._matrix, logs = OperationMatrix(rows), _log_latencies(measured)
        self.rates = rates(self._matrix, logs)
        self._trend = LatencyTrend(choice.trend, self._matrix, logs)
        self._measured_ms = {row.text: exp(ms) for row, ms in zip(self.rows, logs, strict=True)}
        self._size_ranges = _size_ranges(self.rows)
        near = distances(self._matrix, self._matrix)
        self._weights = _kriging_weights(near, logs - self._trend.of(self._matrix), choice.length_scale, choice.scatter)

    def price(self, operation: FusedOperation) -> float:
        """Its latency in ms: as measured, or interpolated."""
        return self._measured_ms.get(operation.text) or self.interpolated(operation)

    def interpolated(self, operation: FusedOperation) -> float:
        """Its latency in ms by trend and neighbours, whether it was measured or not."""
        import numpy as np

        query = OperationMatrix([operation])
        near = np.exp(-distances(query, self._matrix)[0] / self.choice.length_scale)
        return exp(min(50.0, float(self._trend.of(query)[0] + near @ self._weights)))

    def covers(self, operation: FusedOperation) -> bool:
        """Whether an operation was measured, or lies between measured ones of its family in each of ``sizes``."""
        if operation.text in self._measured_ms:
            return True
        box = self._size_ranges.get(operation.family)
        edge = log(EXTRAPOLATION_LIMIT)
        return box is not None and all(
            low - edge <= size <= high + edge for size, (low, high) in zip(sizes(operation), box, strict=True)
        )


def _log_latencies(measured: Sequence[float]) -> FloatArray:
    import numpy as np

    log_ms: FloatArray = np.log(np.maximum(np.array(measured, dtype=np.float64), MIN_LATENCY_MS))
    return log_ms


def _size_ranges(rows: Sequence[FusedOperation]) -> dict[tuple[object, ...], list[tuple[float, float]]]:
    ranges: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    for row in rows:
        box = ranges.get(row.family) or [(inf, -inf)] * len(sizes(row))
        ranges[row.family] = [(min(low, s), max(high, s)) for s, (low, high) in zip(sizes(row), box, strict=True)]
    return ranges


def rates(rows: OperationMatrix, logs: FloatArray) -> FloatArray:
    """ms for each of ``features.FEATURE_NAMES`` [features], at least 0, by least squares on relative errors."""
    import numpy as np
    from scipy.optimize import nnls

    relative = rows.counts * np.exp(-logs)[:, None]
    scale = np.sqrt((relative**2).mean(0))
    scale[scale == 0] = inf
    ridge = np.eye(len(FEATURE_NAMES)) * _RIDGE_PENALTY * len(logs) ** 0.5
    coefficients, _ = nnls(
        np.vstack([relative / scale, ridge]), np.concatenate([np.ones(len(logs)), np.zeros(len(ridge))])
    )
    result: FloatArray = coefficients / scale
    return result


def fit_power_trend(rows: OperationMatrix, logs: FloatArray) -> FloatArray:
    """The logarithm of a factor, then a power of each of ``sizes``, at least 0 [1 + sizes]."""
    import numpy as np
    from scipy.optimize import nnls

    matrix = rows.sizes
    centre, level = matrix.mean(0), logs.mean()
    expected = np.zeros(matrix.shape[1])
    expected[0 if matrix[:, 0].any() else 1] = 1.0  # by multiply-adds, or by elements moved where there are none
    steady = np.eye(matrix.shape[1]) * _POWER_PRIOR_STRENGTH * len(logs) ** 0.5
    exponents, _ = nnls(np.vstack([matrix - centre, steady]), np.concatenate([logs - level, steady @ expected]))
    return np.concatenate([[level - centre @ exponents], exponents])


INTERPOLATION_GRID = tuple([InterpolationSettings(*each) for each in product(TRENDS, LENGTH_SCALES, NOISE_STDS)])


def held_out_latencies(
    rows: Sequence[FusedOperation], measured: Sequence[float]
) -> dict[InterpolationSettings, FloatArray]:
    """Every row in ms as interpolated without it and, of more than ten, without a tenth of them; two rows at least."""
    import numpy as np

    matrix, logs = OperationMatrix(rows), _log_latencies(measured)
    distance = distances(matrix, matrix)
    predictions = {choice: np.zeros(len(rows)) for choice in INTERPOLATION_GRID}
    group = np.random.default_rng(0).permutation(len(rows)) % 10
    for number in range(min(10, len(rows))):
        inside, outside = np.flatnonzero(group == number), np.flatnonzero(group != number)
        near, far = distance[np.ix_(outside, outside)], distance[np.ix_(inside, outside)]
        training = matrix.of(outside)
        trends = {name: LatencyTrend(name, training, logs[outside]) for name in TRENDS}
        residuals = {name: logs[outside] - trend.of(training) for name, trend in trends.items()}
        level = {name: trend.of(matrix.of(inside)) for name, trend in trends.items()}
        for choice, predicted in predictions.items():
            weights = _kriging_weights(near, residuals[choice.trend], choice.length_scale, choice.scatter)
            predicted[inside] = np.exp(level[choice.trend] + np.exp(-far / choice.length_scale) @ weights)
    return predictions


def select_interpolation(rows: Sequence[FusedOperation], measured: Sequence[float]) -> InterpolationSettings:
    """The choice with the least mean absolute error of logarithms, over rows of one kind left out."""
    import numpy as np

    if len(rows) < MIN_ROWS:
        return InterpolationSettings()
    actual = np.exp(_log_latencies(measured))
    predictions = held_out_latencies(rows, measured)
    best = min(INTERPOLATION_GRID, key=lambda choice: float(np.abs(np.log(predictions[choice] / actual)).mean()))
    return replace(best, error_percent=100 * float(np.median(np.abs(predictions[best] / actual - 1))))


def rows_by_kind(rows: Mapping[FusedOperation, float]) -> dict[str, tuple[list[FusedOperation], list[float]]]:
    """Rows and their latencies by kind, in order of their texts, so that nothing depends on how a file is sorted."""
    rows_of_kind: dict[str, tuple[list[FusedOperation], list[float]]] = {}
    for row in sorted(rows):
        operations, measured = rows_of_kind.setdefault(row.kind, ([], []))
        operations.append(row)
        measured.append(rows[row])
    return rows_of_kind
