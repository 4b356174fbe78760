"""Fit the free rates of analytic devices to measured latencies, and state the error on networks left out.

A device file's ``[fit]`` table says which of its numbers are free, with a prior for each; numbers that are
``shared`` are one and the same for all files fitted together. Robust least squares on the logarithm of the latency.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, prod, sqrt
from typing import TYPE_CHECKING, Any

from hardware_models.analytic.model import (
    AnalyticDevice,
    AnalyticModel,
    HeldOutError,
    NodeWork,
    host_transfer_us,
    node_latency_us,
    node_work,
    off_chip_transfer_us,
    read_analytic_device,
)
from hardware_models.device_file.toml_table import HardwareError, TomlTable, parse_device_file
from hardware_models.fragment_sum import nodes_of_graph
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Scatter of published latencies that no rate explains; how strongly data weigh against priors
_PUBLISHED_NOISE_STD = 0.1
_INTERVAL_COVERAGE = 0.8
_FITTABLE_PATHS = (
    *("array.clock_mhz", "array.regular_efficiency", "array.pointwise_efficiency", "array.grouped_efficiency"),
    *("memory.array_bytes_per_cycle", "memory.vector_bytes_per_cycle", "memory.outside_mb_per_s", "link.mb_per_s"),
    *("overhead.invoke_us", "overhead.op_us"),
    *("host.gmacs_per_s", "host.elements_per_us", "host.detection_ns_per_score"),
)


@dataclass(frozen=True)
class FreeParameter:
    """A number that the fit may move. Its prior is log-normal: the median, and the spread of the logarithm."""

    path: str
    prior: float
    spread: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class DeviceFitProblem:
    """One device to fit: its facts as they are, what is free in them, and its measurements."""

    name: str
    device: AnalyticDevice
    free: tuple[FreeParameter, ...]
    shared: tuple[str, ...]
    rows: tuple[MeasuredNetwork, ...]
    version: int = 1


@dataclass(frozen=True)
class LatencyPrediction:
    """One measurement beside its predictions, with it in the fit and with its network left out everywhere."""

    device: str
    row: MeasuredNetwork
    predicted_ms: float
    held_out_ms: float


def read_free_parameters(table: TomlTable) -> tuple[tuple[FreeParameter, ...], tuple[str, ...]]:
    """The free numbers of a device file and which of them are shared. Raises ``HardwareError``."""
    plan = table.table("fit")
    shared, free = plan.texts("shared"), plan.table("free")
    plan.finish()
    parameters = []
    for path in free.names():
        if path not in _FITTABLE_PATHS:
            raise HardwareError(
                f"{table.where}: fit.free: {path!r} cannot be fitted; these can: {', '.join(_FITTABLE_PATHS)}"
            )
        row = free.table(path)
        maximum = row.number("maximum", default=1.0 if path.endswith("_efficiency") else 1e12)
        parameters.append(
            FreeParameter(path, row.number("prior"), row.number("spread"), row.number("minimum", default=1e-9), maximum)
        )
        row.finish()
    for path in shared:
        if path not in free.names():
            raise HardwareError(f"{table.where}: fit.shared: {path!r} is not in fit.free")
    return tuple(parameters), shared


def read_fit_problem(text: str, name: str, where: str, rows: Sequence[MeasuredNetwork]) -> DeviceFitProblem:
    """A device file's text and measurements as one subject. Raises ``HardwareError``."""
    table = parse_device_file(text, where)
    free, shared = read_free_parameters(table)
    return DeviceFitProblem(name, read_analytic_device(table), free, shared, tuple(rows), table.integer("version"))


def with_parameters(device: AnalyticDevice, numbers: Mapping[str, float]) -> AnalyticDevice:
    """The device with other numbers, by path such as ``array.clock_mhz``."""
    parts: dict[str, dict[str, Any]] = {}
    for path, value in numbers.items():
        part, _, name = path.partition(".")
        parts.setdefault(part, {})[name] = value
    return replace(device, **{part: replace(getattr(device, part), **values) for part, values in parts.items()})


# -- a graph as counted work -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GraphWork:
    """A graph's work on a device, equal nodes counted, before and after the first weight that does not fit."""

    before: tuple[tuple[NodeWork, int], ...]
    after: tuple[tuple[NodeWork, int], ...]
    fetched_bytes: int
    output_bytes: int
    host_scores: int


def graph_work(device: AnalyticDevice, graph: Graph, host_scores: int = 0) -> GraphWork:
    """Count the work of a graph; the counts hold whatever the free numbers are."""
    before: Counter[NodeWork] = Counter()
    after: Counter[NodeWork] = Counter()
    cumulative_bytes = fetched = 0
    each = device.bytes_per_element
    for node, counts, shapes, producer in nodes_of_graph(graph):
        cumulative_bytes += counts.params * each
        outside = cumulative_bytes > int(device.memory.weights_kib * 1024)
        fetched += counts.params * each if outside else 0
        (after if outside else before)[node_work(device, node, shapes, counts.macs, producer)] += 1
    nodes = graph.nodes
    outputs = sum(prod(nodes[i].shape) * each for i in {index for _, index in graph.outputs})
    return GraphWork(tuple(before.items()), tuple(after.items()), fetched, outputs, host_scores)


def graph_work_ms(device: AnalyticDevice, load: GraphWork) -> float:
    """The latency of counted work: what ``AnalyticModel.estimate`` says, and post-processing on the host."""
    computing = sum(node_latency_us(device, work)[0] * count for work, count in load.after)
    total = device.overhead.invoke_us + host_transfer_us(device, load.output_bytes)
    total += sum(node_latency_us(device, work)[0] * count for work, count in load.before)
    total += max(computing, off_chip_transfer_us(device, load.fetched_bytes))
    return (total + load.host_scores * device.host.detection_ns_per_score / 1e3) / 1e3


# -- the fit ---------------------------------------------------------------------------------------------------------


def _free_parameters(subjects: Sequence[DeviceFitProblem]) -> dict[tuple[str, str], FreeParameter]:
    """The numbers to find, by path and device; shared ones stand once, under no device."""
    unknowns: dict[tuple[str, str], FreeParameter] = {}
    for subject in subjects:
        for free in subject.free:
            key = (free.path, "" if free.path in subject.shared else subject.name)
            if unknowns.setdefault(key, free) != free:
                raise HardwareError(f"{subject.name}: {free.path} is shared, but its prior differs between the files")
    return unknowns


def fit_parameters(subjects: Sequence[DeviceFitProblem], without: str | None = None) -> list[dict[str, float]]:
    """The fitted numbers of each subject by path. ``without`` names a network whose rows are left out."""
    from scipy.optimize import least_squares

    unknowns = _free_parameters(subjects)
    keys = list(unknowns)
    data = [
        (number, graph_work(subject.device, row.graph, row.host_scores), row.latency_ms)
        for number, subject in enumerate(subjects)
        for row in subject.rows
        if row.name != without
    ]
    if not data:
        raise HardwareError("nothing to fit to: there are no measurements")

    def numbers(point: Sequence[float]) -> list[dict[str, float]]:
        found = dict(zip(keys, map(exp, point), strict=True))
        return [{f.path: found[(f.path, "" if f.path in s.shared else s.name)] for f in s.free} for s in subjects]

    def residuals(point: npt.NDArray[np.float64]) -> list[float]:
        devices = [with_parameters(s.device, n) for s, n in zip(subjects, numbers(point.tolist()), strict=True)]
        residual = [
            log(graph_work_ms(devices[number], load) / measured) / _PUBLISHED_NOISE_STD
            for number, load, measured in data
        ]
        prior_residual = [(x - log(free.prior)) / free.spread for x, free in zip(point, unknowns.values(), strict=True)]
        return residual + prior_residual

    result = least_squares(
        residuals,
        [log(free.prior) for free in unknowns.values()],
        bounds=(
            [log(free.minimum) for free in unknowns.values()],
            [log(free.maximum) for free in unknowns.values()],
        ),
        loss="soft_l1",
    )
    return numbers(result.x.tolist())


def _significant(value: float) -> float:
    return float(f"{value:.4g}")


def fit_and_cross_validate(
    subjects: Sequence[DeviceFitProblem],
) -> tuple[list[dict[str, float]], list[LatencyPrediction]]:
    """Fitted numbers, four digits each, and every measurement predicted with and without its network in the fit."""
    fitted = [{path: _significant(value) for path, value in found.items()} for found in fit_parameters(subjects)]
    devices = [with_parameters(s.device, n) for s, n in zip(subjects, fitted, strict=True)]
    predictions = []
    for network in dict.fromkeys(row.name for subject in subjects for row in subject.rows):
        others = fit_parameters(subjects, without=network)
        for subject, device, numbers in zip(subjects, devices, others, strict=True):
            for row in subject.rows:
                if row.name == network:
                    load = graph_work(device, row.graph, row.host_scores)
                    held_out = graph_work_ms(with_parameters(device, numbers), load)
                    predictions.append(LatencyPrediction(subject.name, row, graph_work_ms(device, load), held_out))
    return fitted, predictions


# -- how good it is --------------------------------------------------------------------------------------------------


def mape_percent(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Mean absolute error in per cent of the measured."""
    return 100 * sum(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)) / len(measured)


def spearman(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Rank correlation; 1 where the order is right."""
    from scipy.stats import spearmanr

    return float(spearmanr(predicted, measured).statistic)


def error_metrics(predictions: Sequence[LatencyPrediction], device: str) -> dict[str, float]:
    """The ``[error]`` table of one device. The held-out scatter is that of all devices fitted together."""
    own = [p for p in predictions if p.device == device]
    measured = [p.row.latency_ms for p in own]
    logs = [log(p.held_out_ms / p.row.latency_ms) for p in predictions]
    return {
        "rows": len(own),
        "mape_percent": round(mape_percent([p.predicted_ms for p in own], measured), 1),
        "held_out_mape_percent": round(mape_percent([p.held_out_ms for p in own], measured), 1),
        "spearman": round(spearman([p.predicted_ms for p in own], measured), 3),
        "held_out_log_std": round(sqrt(sum(x * x for x in logs) / len(logs)), 3),
        "coverage": _INTERVAL_COVERAGE,
    }


def fitted_model(
    subject: DeviceFitProblem, numbers: Mapping[str, float], predictions: Sequence[LatencyPrediction]
) -> AnalyticModel:
    """The device with its fitted numbers and the error that its predictions had."""
    errors = error_metrics(predictions, subject.name)
    log_std, coverage = errors.pop("held_out_log_std"), errors.pop("coverage")
    device = with_parameters(subject.device, numbers)
    return AnalyticModel(subject.name, subject.version, device, HeldOutError(log_std, coverage, errors))
