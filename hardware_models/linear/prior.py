"""Rates of operations from few measurements: log-normal priors for a class of processors, and one unknown speed.

    latency = base + sum over operations of rates . counts

as in ``learned``, with few unknowns: how long a multiply-add of each kind of convolution takes, an element that is
moved, a weight that is read, an operation as such, and an inference. Each has a prior relative to the others; the speed
of the whole is left to the measurements. Robust least squares on the logarithm of the latency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import TYPE_CHECKING

from hardware_models.cost import Cost
from hardware_models.device_file.toml_table import Table
from hardware_models.linear.features import FEATURES, Operation
from hardware_models.linear.fit import Operations
from hardware_models.linear.model import LearnedModel, Rates, learned_model
from hardware_models.measured.prediction_error import interval_factor
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

COVERAGE = 0.9
_SCATTER = 0.1  # of published latencies, that no rate explains
_SPEED = 3.0  # spread of the logarithm of the speed of the whole
_KINDS = {
    "conv:regular": "regular",
    "conv:grouped": "grouped",
    "conv:pointwise": "pointwise",
    "conv:depthwise": "depthwise",
    "linear": "linear",
}


@dataclass(frozen=True)
class Prior:
    """What is believed of a class of processors before anything is measured.

    ``medians``: milliseconds for an inference (``base``), an operation (``op``), a thousand million multiply-adds of
    each kind of convolution, a million elements that a convolution (``moved``) or another operation (``light``) reads
    and writes, and a million ``weights``; ``join`` is in place of ``op`` for a concatenation, which behind a dense
    block brings operations that fold nowhere. ``spreads``: of their logarithms, where they are not ``spread``.
    ``folded``: kinds of operations that the runtime makes part of the operation before.
    """

    medians: Mapping[str, float]
    folded: tuple[str, ...] = ("norm:batch", "act:relu", "act:relu6", "scale", "layer_scale")
    spread: float = 0.7
    spreads: Mapping[str, float] = field(default_factory=dict)
    speed: float = _SPEED


@dataclass(frozen=True)
class Sample:
    """One measurement for a fit: counted operations, the latency, and how far it may be off, as a share.

    ``part``: a part of a network, which has no share in the time of an inference.
    """

    counts: Mapping[Operation, int]
    latency_ms: float
    group: str
    scatter: float = _SCATTER
    part: bool = False


def sample(counter: Operations, graph: Graph, latency_ms: float, group: str) -> Sample:
    """A measured network."""
    return Sample(counter.of(graph), latency_ms, group)


def _columns(samples: Sequence[Sample], prior: Prior) -> Floats:
    """How much of each unknown a sample takes [samples, unknowns]."""
    import numpy

    place = {name: i for i, name in enumerate(prior.medians)}
    found = numpy.zeros((len(samples), len(place)))
    for row, s in zip(found, samples, strict=True):
        row[place["base"]] = 0.0 if s.part else 1.0
        for operation, times in s.counts.items():
            for name, count in zip(_names(operation.kind, prior), operation.counts, strict=True):
                if name:
                    row[place[name]] += count * times
    return found


def _names(kind: str, prior: Prior) -> tuple[str, str, str, str]:
    """Which unknown each of ``FEATURES`` of a kind of operation is priced by; empty for none."""
    if kind in prior.folded:
        return ("", "", "", "")
    macs = _KINDS.get(kind.removesuffix(":3d"))
    if macs:
        return ("op", macs, "moved", "weights")
    return ("join" if kind == "concat" else "op", "regular" if kind == "matmul" else "", "light", "")


def fit_rates(samples: Sequence[Sample], prior: Prior) -> dict[str, float]:
    """The unknowns by name. Raises ``ValueError`` without samples."""
    import numpy
    from scipy.optimize import least_squares

    if not samples:
        raise ValueError("nothing to fit to: there are no measurements")
    columns = _columns(samples, prior)
    medians = numpy.array(list(prior.medians.values()))
    spreads = numpy.array([prior.spreads.get(name, prior.spread) for name in prior.medians])
    logs = numpy.log([s.latency_ms for s in samples])
    scatter = numpy.array([s.scatter for s in samples])
    start = float(numpy.median(logs - numpy.log(columns @ medians)))

    def residuals(point: Floats) -> Floats:
        rates = medians * numpy.exp(point[0] + point[1:])
        misses = (numpy.log(columns @ rates) - logs) / scatter
        return numpy.concatenate([misses, point[1:] / spreads, [(point[0]) / prior.speed]])

    def slopes(point: Floats) -> Floats:
        rates = medians * numpy.exp(point[0] + point[1:])
        shares = columns * rates / (columns @ rates)[:, None] / scatter[:, None]
        top = numpy.column_stack([shares.sum(1), shares])
        pulls = numpy.column_stack([numpy.zeros(len(spreads)), numpy.diag(1 / spreads)])
        last = numpy.zeros((1, len(spreads) + 1))
        last[0, 0] = 1 / prior.speed
        return numpy.vstack([top, pulls, last])

    point = numpy.concatenate([[start], numpy.zeros(len(medians))])
    found = least_squares(residuals, point, jac=slopes, loss="soft_l1")
    rates = medians * numpy.exp(found.x[0] + found.x[1:])
    return dict(zip(prior.medians, rates.tolist(), strict=True))


def predict(samples: Sequence[Sample], prior: Prior, unknowns: Mapping[str, float]) -> Floats:
    """Latencies in ms [samples]."""
    import numpy

    return numpy.asarray(_columns(samples, prior) @ numpy.array(list(unknowns.values())))


def held_out(samples: Sequence[Sample], prior: Prior, groups: Sequence[str]) -> Floats:
    """Predictions [samples] of each sample by a fit without any of its group."""
    import numpy

    predicted = numpy.zeros(len(samples))
    for group in dict.fromkeys(groups):
        inside = [i for i, g in enumerate(groups) if g == group]
        outside = [s for s, g in zip(samples, groups, strict=True) if g != group]
        if not outside:
            raise ValueError(f"there are no measurements but those of {group}")
        predicted[inside] = predict([samples[i] for i in inside], prior, fit_rates(outside, prior))
    return predicted


def coverage(predicted: Floats, measured: Floats) -> float:
    """The share of measurements in the interval that the held-out errors of all others give."""
    import numpy

    logs = numpy.abs(numpy.log(predicted / measured))
    inside = []
    for i in range(len(logs)):
        rest = [j for j in range(len(logs)) if j != i]
        factor = interval_factor(predicted[rest], measured[rest], COVERAGE)
        inside.append(bool(logs[i] <= log(factor)))
    return float(numpy.mean(inside))


def to_rates(unknowns: Mapping[str, float], samples: Sequence[Sample], prior: Prior, factor: float) -> Rates:
    """What was found as the rates of a device file, for the kinds that were measured and all convolutions."""
    kinds = sorted({o.kind for s in samples for o in s.counts} | set(_KINDS))
    table = {kind: tuple(unknowns[n] if n else 0.0 for n in _names(kind, prior)) for kind in kinds}
    gmacs = FEATURES.index("gmacs")
    largest = max(sum(o.counts[gmacs] * times for o, times in s.counts.items()) for s in samples)
    return Rates(unknowns["base"], table, {}, factor, COVERAGE, largest)


# -- the model -------------------------------------------------------------------------------------------------------


class FewRowsModel:
    """Prices graphs by rates that few measurements and a prior gave; no ground to know other devices by."""

    def __init__(self, model: LearnedModel) -> None:
        self.model = model
        self.name = model.name
        self.version = model.version
        self.reading = model.reading
        self.number_format = model.number_format

    def __repr__(self) -> str:
        return f"<FewRowsModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, as it was measured."""
        return self.model.estimate(graph)


def few_rows_model(table: Table, name: str) -> FewRowsModel:
    """The model of a device file of kind ``few_rows``. Raises ``HardwareError``."""
    return FewRowsModel(learned_model(table, name))


def scaled(prior: Prior, unknowns: Mapping[str, float], spread: float) -> Prior:
    """The prior that a like device gives: its rates, each known to ``spread``, but for the speed of the whole."""
    return Prior(dict(unknowns), prior.folded, spread, {}, prior.speed)


def speed_of(unknowns: Mapping[str, float], prior: Prior) -> float:
    """The geometric mean of rates beside their prior's."""
    return exp(sum(log(unknowns[n] / m) for n, m in prior.medians.items()) / len(prior.medians))
