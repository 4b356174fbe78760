"""What an operation takes, between operations that were measured: a trend, and kriging of what the trend leaves.

    log t = log trend + sum over measured rows of w_i * exp(-distance(x, x_i) / reach)

The trend of a kind of operation is either *rates*, a price for each of ``operation.FEATURES`` (non-negative least
squares on relative errors), or *log-linear*, a power of each of multiply-adds, elements moved, weights, channels and
size. Neither falls as an operation grows. The sum is the posterior mean of a Gaussian process with an exponential
covariance (Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 2.25 and 4.18). Trend, reach and
scatter of a kind are those with the least error on rows left out. A row that was measured is returned as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, inf, log, prod
from typing import TYPE_CHECKING

from hardware_models.linear.features import FEATURES
from hardware_models.operation_table.fusion import FusedOperation

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

TRENDS = ("rates", "log-linear")
REACHES = (0.5, 1.5, 5.0)
"""How far rows tell of each other: 1 is a factor of e in one of channels and size."""
SCATTERS = (0.02, 0.1, 0.3)
"""The standard deviation of rows that their neighbours do not explain, as a share."""
LEAST_MS = 1e-4
"""Rows below this were too quick to tell from nothing, and count as this."""
LEAST_ROWS = 4
"""Of a kind with fewer, nothing is left out, and the first choice is taken."""
BEYOND = 1.1
"""By how much a size may be beyond the measured ones and still count as between them."""
_SPREAD = 0.3  # of the kriged part, as a share
_RIDGE = 1e-3
_STEADY = 0.05  # how strongly powers are held to those of an operation that takes time by its largest count
_NOT_ALIKE = 1.0  # distance between different things folded into an operation


@dataclass(frozen=True)
class Choice:
    """How a kind of operation is interpolated."""

    trend: str = TRENDS[0]
    reach: float = REACHES[1]
    scatter: float = SCATTERS[1]


def sizes(operation: FusedOperation) -> tuple[float, ...]:
    """Logarithms of multiply-adds, elements moved, weights, channels in and out, and the size of the result."""
    channels_in, channels_out = sum(shape[0] for shape in operation.inputs), operation.output[0]
    counts = (operation.macs, operation.moved, operation.weights, channels_in, channels_out)
    return tuple([log(max(count, 1)) for count in (*counts, prod(operation.output[1:]))])


def place(operation: FusedOperation) -> tuple[float, ...]:
    """Where an operation stands among those of its kind, in units of a factor of e."""
    kernel, stride = log(prod(operation.kernel)), log(prod(operation.stride))
    return (*sizes(operation)[3:], kernel, stride, log(operation.dilation))


class Looked:
    """Operations of one kind as numbers: ``counts`` [operations, features], ``sizes`` and ``places`` likewise."""

    def __init__(self, operations: Sequence[FusedOperation]) -> None:
        import numpy

        self.counts = numpy.array([o.counts for o in operations])
        self.sizes = numpy.array([sizes(o) for o in operations])
        self.places = numpy.array([place(o) for o in operations])
        self.fused = numpy.array([o.fused for o in operations])

    def of(self, chosen: numpy.typing.NDArray[numpy.intp]) -> Looked:
        """The same of some of them."""
        some = object.__new__(Looked)
        some.counts, some.sizes = self.counts[chosen], self.sizes[chosen]
        some.places, some.fused = self.places[chosen], self.fused[chosen]
        return some


def distances(some: Looked, others: Looked) -> Floats:
    """How far operations of one kind are from each other [some, others]."""
    import numpy

    squares = ((some.places[:, None] - others.places[None]) ** 2).sum(2)
    found: Floats = numpy.sqrt(squares + _NOT_ALIKE * (some.fused[:, None] != others.fused[None]))
    return found


class Trend:
    """What operations of one kind take by their counts: fitted to rows, and asked of others."""

    def __init__(self, name: str, rows: Looked, logs: Floats) -> None:
        self.name = name
        self._found = rates(rows, logs) if name == "rates" else powers(rows, logs)

    def of(self, operations: Looked) -> Floats:
        """Logarithms of ms [operations]."""
        import numpy

        if self.name == "rates":
            priced: Floats = operations.counts @ self._found
            return numpy.log(numpy.maximum(priced, LEAST_MS))
        found: Floats = self._found[0] + operations.sizes @ self._found[1:]
        return found


def _kriged(apart: Floats, left: Floats, reach: float, scatter: float) -> Floats:
    """The weights of rows that are ``apart`` [rows, rows] and off their trend by ``left`` [rows]."""
    import numpy

    covariance: Floats = numpy.exp(-apart / reach)
    covariance[numpy.diag_indices_from(covariance)] += (scatter / _SPREAD) ** 2
    return numpy.asarray(numpy.linalg.solve(covariance, left), dtype=numpy.float64)


class Kind:
    """The measured rows of one kind of operation, ready to be asked. ``measured``: ms of every row."""

    def __init__(self, rows: Sequence[FusedOperation], measured: Sequence[float], choice: Choice = Choice()) -> None:
        self.rows = tuple(rows)
        self.choice = choice
        self._looked, logs = Looked(rows), _logs(measured)
        self.rates = rates(self._looked, logs)
        self._trend = Trend(choice.trend, self._looked, logs)
        self._exact = {row.text: exp(ms) for row, ms in zip(self.rows, logs, strict=True)}
        self._boxes = _boxes(self.rows)
        near = distances(self._looked, self._looked)
        self._weights = _kriged(near, logs - self._trend.of(self._looked), choice.reach, choice.scatter)

    def price(self, operation: FusedOperation) -> float:
        """Its latency in ms: as measured, or interpolated."""
        return self._exact.get(operation.text) or self.interpolated(operation)

    def interpolated(self, operation: FusedOperation) -> float:
        """Its latency in ms by trend and neighbours, whether it was measured or not."""
        import numpy

        asked = Looked([operation])
        near = numpy.exp(-distances(asked, self._looked)[0] / self.choice.reach)
        return exp(min(50.0, float(self._trend.of(asked)[0] + near @ self._weights)))

    def covers(self, operation: FusedOperation) -> bool:
        """Whether an operation was measured, or lies between measured ones of its family in each of ``sizes``."""
        if operation.text in self._exact:
            return True
        box = self._boxes.get(operation.family)
        edge = log(BEYOND)
        return box is not None and all(
            low - edge <= size <= high + edge for size, (low, high) in zip(sizes(operation), box, strict=True)
        )


def _logs(measured: Sequence[float]) -> Floats:
    import numpy

    found: Floats = numpy.log(numpy.maximum(numpy.array(measured, dtype=numpy.float64), LEAST_MS))
    return found


def _boxes(rows: Sequence[FusedOperation]) -> dict[tuple[object, ...], list[tuple[float, float]]]:
    found: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    for row in rows:
        box = found.get(row.family) or [(inf, -inf)] * len(sizes(row))
        found[row.family] = [(min(low, s), max(high, s)) for s, (low, high) in zip(sizes(row), box, strict=True)]
    return found


def rates(rows: Looked, logs: Floats) -> Floats:
    """ms for each of ``operation.FEATURES`` [features], at least 0, by least squares on relative errors."""
    import numpy
    from scipy.optimize import nnls

    relative = rows.counts * numpy.exp(-logs)[:, None]
    scale = numpy.sqrt((relative**2).mean(0))
    scale[scale == 0] = inf
    ridge = numpy.eye(len(FEATURES)) * _RIDGE * len(logs) ** 0.5
    found, _ = nnls(
        numpy.vstack([relative / scale, ridge]), numpy.concatenate([numpy.ones(len(logs)), numpy.zeros(len(ridge))])
    )
    result: Floats = found / scale
    return result


def powers(rows: Looked, logs: Floats) -> Floats:
    """The logarithm of a factor, then a power of each of ``sizes``, at least 0 [1 + sizes]."""
    import numpy
    from scipy.optimize import nnls

    matrix = rows.sizes
    centre, level = matrix.mean(0), logs.mean()
    expected = numpy.zeros(matrix.shape[1])
    expected[0 if matrix[:, 0].any() else 1] = 1.0  # by multiply-adds, or by elements moved where there are none
    steady = numpy.eye(matrix.shape[1]) * _STEADY * len(logs) ** 0.5
    found, _ = nnls(numpy.vstack([matrix - centre, steady]), numpy.concatenate([logs - level, steady @ expected]))
    return numpy.concatenate([[level - centre @ found], found])


CHOICES = tuple([Choice(*each) for each in product(TRENDS, REACHES, SCATTERS)])


def left_out(rows: Sequence[FusedOperation], measured: Sequence[float]) -> dict[Choice, Floats]:
    """Every row in ms as interpolated without it and, of more than ten, without a tenth of them; two rows at least."""
    import numpy

    looked, logs = Looked(rows), _logs(measured)
    apart = distances(looked, looked)
    found = {choice: numpy.zeros(len(rows)) for choice in CHOICES}
    group = numpy.random.default_rng(0).permutation(len(rows)) % 10
    for number in range(min(10, len(rows))):
        inside, outside = numpy.flatnonzero(group == number), numpy.flatnonzero(group != number)
        near, far = apart[numpy.ix_(outside, outside)], apart[numpy.ix_(inside, outside)]
        known = looked.of(outside)
        trends = {name: Trend(name, known, logs[outside]) for name in TRENDS}
        left = {name: logs[outside] - trend.of(known) for name, trend in trends.items()}
        level = {name: trend.of(looked.of(inside)) for name, trend in trends.items()}
        for choice, predicted in found.items():
            weights = _kriged(near, left[choice.trend], choice.reach, choice.scatter)
            predicted[inside] = numpy.exp(level[choice.trend] + numpy.exp(-far / choice.reach) @ weights)
    return found


@dataclass(frozen=True)
class Chosen:
    """A choice, and the median error of rows that were left out, in per cent; ``None`` where there are too few."""

    choice: Choice
    error_percent: float | None


def choose(rows: Sequence[FusedOperation], measured: Sequence[float]) -> Chosen:
    """The choice with the least mean absolute error of logarithms, over rows of one kind left out."""
    import numpy

    if len(rows) < LEAST_ROWS:
        return Chosen(Choice(), None)
    actual = numpy.exp(_logs(measured))
    found = left_out(rows, measured)
    best = min(CHOICES, key=lambda choice: float(numpy.abs(numpy.log(found[choice] / actual)).mean()))
    return Chosen(best, 100 * float(numpy.median(numpy.abs(found[best] / actual - 1))))


def by_kind(rows: Mapping[FusedOperation, float]) -> dict[str, tuple[list[FusedOperation], list[float]]]:
    """Rows and their latencies by kind, in order of their texts, so that nothing depends on how a file is sorted."""
    found: dict[str, tuple[list[FusedOperation], list[float]]] = {}
    for row in sorted(rows):
        operations, measured = found.setdefault(row.kind, ([], []))
        operations.append(row)
        measured.append(rows[row])
    return found
