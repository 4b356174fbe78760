"""Rates of operations from few measurements: log-normal priors for a class of processors, and one unknown speed.

    latency = base + sum over operations of rates . counts

as in ``learned``, with few unknowns: how long a multiply-add of each kind of convolution takes, an element that is
moved, a weight that is read, an operation as such, and an inference. Each has a prior relative to the others; the speed
of the whole is left to the measurements. Robust least squares on the logarithm of the latency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import TYPE_CHECKING

from hardware_models.cost import Cost
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import Document
from hardware_models.device_file.toml_table import TomlTable
from hardware_models.linear.features import FEATURE_NAMES
from hardware_models.linear.fit import OperationCounter
from hardware_models.linear.model import LinearModel, Rates, linear_model
from hardware_models.linear.model import to_table as linear_table
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.measured.prediction_error import INTERVAL_COVERAGE, interval_factor
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

_PUBLISHED_NOISE_STD = 0.1  # of published latencies, that no rate explains
_LOG_SPEED_STD = 3.0  # spread of the logarithm of the speed of the whole
_MACS_RATE_BY_KIND = {
    "conv:regular": "regular",
    "conv:grouped": "grouped",
    "conv:pointwise": "pointwise",
    "conv:depthwise": "depthwise",
    "linear": "linear",
}


@dataclass(frozen=True)
class RatePrior:
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
    speed: float = _LOG_SPEED_STD


@dataclass(frozen=True, eq=False)
class PriorDesign:
    """Measured networks as numbers: ``columns`` [networks, unknowns], how much of each unknown a network takes.

    ``scatter`` [networks]: how far a latency may be off, as a share. ``kinds``: of all their operations.
    """

    prior: RatePrior
    columns: FloatArray
    latencies_ms: FloatArray
    scatter: FloatArray
    kinds: tuple[str, ...]
    largest_gmacs: float

    def of(self, chosen: Sequence[int]) -> PriorDesign:
        """The same for some of the networks."""
        rows = list(chosen)
        return replace(
            self, columns=self.columns[rows], latencies_ms=self.latencies_ms[rows], scatter=self.scatter[rows]
        )


def prior_design(
    networks: Sequence[MeasuredNetwork],
    prior: RatePrior,
    counter: OperationCounter | None = None,
    *,
    part_scatter: float = _PUBLISHED_NOISE_STD,
) -> PriorDesign:
    """The design of measured networks. Parts of networks may be off by ``part_scatter`` for a whole one."""
    import numpy as np

    counter = counter or OperationCounter()
    counted = [counter.of(network.graph) for network in networks]
    column_of = {name: i for i, name in enumerate(prior.medians)}
    columns = np.zeros((len(networks), len(column_of)))
    for row, network, counts in zip(columns, networks, counted, strict=True):
        row[column_of["base"]] = 0.0 if network.part else 1.0
        for operation, times in counts.items():
            for name, count in zip(_rate_names(operation.kind, prior), operation.counts, strict=True):
                if name:
                    row[column_of[name]] += count * times
    gmacs = FEATURE_NAMES.index("gmacs")
    return PriorDesign(
        prior,
        columns,
        np.array([network.latency_ms for network in networks]),
        np.array([part_scatter if network.part else _PUBLISHED_NOISE_STD for network in networks]),
        tuple(sorted({operation.kind for counts in counted for operation in counts})),
        max([sum(o.counts[gmacs] * times for o, times in counts.items()) for counts in counted], default=0.0),
    )


def _rate_names(kind: str, prior: RatePrior) -> tuple[str, str, str, str]:
    """Which unknown each of ``FEATURE_NAMES`` of a kind of operation is priced by; empty for none."""
    if kind in prior.folded:
        return ("", "", "", "")
    macs = _MACS_RATE_BY_KIND.get(kind.removesuffix(":3d"))
    if macs:
        return ("op", macs, "moved", "weights")
    return ("join" if kind == "concat" else "op", "regular" if kind == "matmul" else "", "light", "")


def fit_rates_with_prior(design: PriorDesign) -> dict[str, float]:
    """The unknowns by name. Raises ``ValueError`` without networks."""
    import numpy as np
    from scipy.optimize import least_squares

    if not len(design.latencies_ms):
        raise ValueError("nothing to fit to: there are no measurements")
    columns, prior, scatter = design.columns, design.prior, design.scatter
    medians = np.array(list(prior.medians.values()))
    spreads = np.array([prior.spreads.get(name, prior.spread) for name in prior.medians])
    logs = np.log(design.latencies_ms)
    start = float(np.median(logs - np.log(columns @ medians)))

    def residuals(point: FloatArray) -> FloatArray:
        rates = medians * np.exp(point[0] + point[1:])
        residual = (np.log(columns @ rates) - logs) / scatter
        return np.concatenate([residual, point[1:] / spreads, [(point[0]) / prior.speed]])

    def slopes(point: FloatArray) -> FloatArray:
        rates = medians * np.exp(point[0] + point[1:])
        shares = columns * rates / (columns @ rates)[:, None] / scatter[:, None]
        top = np.column_stack([shares.sum(1), shares])
        prior_rows = np.column_stack([np.zeros(len(spreads)), np.diag(1 / spreads)])
        last = np.zeros((1, len(spreads) + 1))
        last[0, 0] = 1 / prior.speed
        return np.vstack([top, prior_rows, last])

    point = np.concatenate([[start], np.zeros(len(medians))])
    solution = least_squares(residuals, point, jac=slopes, loss="soft_l1")
    rates = medians * np.exp(solution.x[0] + solution.x[1:])
    return dict(zip(prior.medians, rates.tolist(), strict=True))


def predict(design: PriorDesign, unknowns: Mapping[str, float]) -> FloatArray:
    """Latencies in ms [networks]."""
    import numpy as np

    return np.asarray(design.columns @ np.array(list(unknowns.values())))


def held_out_predictions(design: PriorDesign, groups: Sequence[str]) -> FloatArray:
    """Predictions [groups] of the first networks, which have groups, each by a fit without any of its group.

    Networks behind these, which have no group, are in every fit. Raises ``ValueError`` where a fit would have none.
    """
    import numpy as np

    predicted = np.zeros(len(groups))
    ungrouped = range(len(groups), len(design.latencies_ms))
    for group in dict.fromkeys(groups):
        inside = [i for i, g in enumerate(groups) if g == group]
        outside = [i for i, g in enumerate(groups) if g != group] + list(ungrouped)
        if not outside:
            raise ValueError(f"there are no measurements but those of {group}")
        predicted[inside] = predict(design.of(inside), fit_rates_with_prior(design.of(outside)))
    return predicted


def jackknife_coverage(predicted: FloatArray, measured: FloatArray) -> float:
    """The share of measurements in the interval that the held-out errors of all others give."""
    import numpy as np

    logs = np.abs(np.log(predicted / measured))
    inside = []
    for i in range(len(logs)):
        rest = [j for j in range(len(logs)) if j != i]
        factor = interval_factor(predicted[rest], measured[rest], INTERVAL_COVERAGE)
        inside.append(bool(logs[i] <= log(factor)))
    return float(np.mean(inside))


def to_rates(unknowns: Mapping[str, float], design: PriorDesign, factor: float) -> Rates:
    """What was found as the rates of a device file, for the kinds that were measured and all convolutions."""
    kinds = sorted({*design.kinds, *_MACS_RATE_BY_KIND})
    table = {kind: tuple(unknowns[name] if name else 0.0 for name in _rate_names(kind, design.prior)) for kind in kinds}
    return Rates(unknowns["base"], table, {}, factor, INTERVAL_COVERAGE, design.largest_gmacs)


# -- the model -------------------------------------------------------------------------------------------------------


class LinearPriorModel:
    """Prices graphs by rates that few measurements and a prior gave; no ground to know other devices by."""

    kind = "few_rows"

    def __init__(self, model: LinearModel) -> None:
        self.model = model
        self.name = model.name
        self.version = model.version
        self.executed_graph = model.executed_graph
        self.number_format = model.number_format

    def __repr__(self) -> str:
        return f"<FewRowsModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference, as it was measured."""
        return self.model.estimate(graph)


def from_table(table: TomlTable, name: str, known_device: KnownDevice) -> LinearPriorModel:
    """The model of a device file of kind ``few_rows``. Raises ``HardwareError``."""
    return LinearPriorModel(linear_model(table, name))


def to_table(model: LinearPriorModel) -> Document:
    """What ``from_table`` reads."""
    return {**linear_table(model.model), "kind": model.kind}


def prior_from_device(prior: RatePrior, unknowns: Mapping[str, float], spread: float) -> RatePrior:
    """The prior that a like device gives: its rates, each known to ``spread``, but for the speed of the whole."""
    return RatePrior(dict(unknowns), prior.folded, spread, {}, prior.speed)


def relative_speed(unknowns: Mapping[str, float], prior: RatePrior) -> float:
    """The geometric mean of rates beside their prior's."""
    return exp(sum(log(unknowns[n] / m) for n, m in prior.medians.items()) / len(prior.medians))
