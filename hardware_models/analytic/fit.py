"""Fit the free rates of analytic device files to measured latencies, and state the error on networks left out.

    python -m hardware_models.analytic.fit
    hardware_models/devices/edgetpu/{coral_usb,coral_devboard,pixel4_edgetpu}.toml --data
    ../shared/data/published_tables

A device file's ``[fit]`` table says which of its numbers are free, with a prior for each; numbers that are
``shared`` are one and the same for all files fitted together. Robust least squares on the logarithm of the latency.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_models.analytic.model import (
    AnalyticDevice,
    NodeWork,
    host_transfer_us,
    node_latency_us,
    node_work,
    off_chip_transfer_us,
    read_analytic_device,
)
from hardware_models.device_file.toml_table import HardwareError, TomlTable, parse_device_file, read_device_file
from hardware_models.measured.published_latencies import PublishedLatency, published_latencies
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
    rows: tuple[PublishedLatency, ...]


@dataclass(frozen=True)
class LatencyPrediction:
    """One measurement beside its predictions, with it in the fit and with its network left out everywhere."""

    device: str
    row: PublishedLatency
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


def read_fit_problem(text: str, name: str, where: str, rows: Sequence[PublishedLatency]) -> DeviceFitProblem:
    """A device file's text and measurements as one subject. Raises ``HardwareError``."""
    table = parse_device_file(text, where)
    free, shared = read_free_parameters(table)
    return DeviceFitProblem(name, read_analytic_device(table), free, shared, tuple(rows))


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
    nodes = graph.nodes
    before: Counter[NodeWork] = Counter()
    after: Counter[NodeWork] = Counter()
    cumulative_bytes = fetched = 0
    each = device.bytes_per_element
    for node, figures in zip(nodes, graph.node_counts(), strict=True):
        cumulative_bytes += figures.params * each
        outside = cumulative_bytes > int(device.memory.weights_kib * 1024)
        fetched += figures.params * each if outside else 0
        producer = nodes[node.inputs[0]].op if node.inputs else ""
        shapes = tuple(nodes[i].shape for i in node.inputs)
        (after if outside else before)[node_work(device, node, shapes, figures.macs, producer)] += 1
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
        if row.network != without
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
    for network in dict.fromkeys(row.network for subject in subjects for row in subject.rows):
        others = fit_parameters(subjects, without=network)
        for subject, device, numbers in zip(subjects, devices, others, strict=True):
            for row in subject.rows:
                if row.network == network:
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


def replace_numbers(text: str, numbers: Mapping[str, float]) -> str:
    """A device file's text with other numbers in place; comments and everything else stay. ``HardwareError``."""
    lines, remaining, section = [], dict(numbers), ""
    for line in text.splitlines():
        header = re.match(r"\[(\w+)\]", line)
        section = header[1] if header else section
        entry = re.match(r"(\w+ *= *)([^ #]+ *)(.*)", line)
        path = f"{section}.{entry[1].rstrip(' =')}" if entry else ""
        if entry and path in remaining:
            number = f"{remaining.pop(path):.6g} " if entry[3] else f"{remaining.pop(path):.6g}"
            line = f"{entry[1]}{number:<{len(entry[2])}}{entry[3]}".rstrip()
        lines.append(line)
    if remaining:
        raise HardwareError(f"the device file has no line for {', '.join(remaining)}")
    return "\n".join(lines) + "\n"


def predictions_markdown(predictions: Sequence[LatencyPrediction]) -> str:
    """The predictions as a table in Markdown, by device and measured latency, with the errors below."""
    lines = [
        "| device | network | published ms | predicted ms | error | held out ms | error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    devices = list(dict.fromkeys(p.device for p in predictions))
    for p in sorted(predictions, key=lambda p: (devices.index(p.device), p.row.latency_ms)):
        measured = p.row.latency_ms
        cells = (f"{x:.2f} | {x / measured - 1:+.1%}" for x in (p.predicted_ms, p.held_out_ms))
        lines.append(f"| {p.device} | {p.row.network} | {measured:g} | {' | '.join(cells)} |")
    lines += [
        "",
        "| device | rows | MAPE in sample | MAPE held out | Spearman in sample | Spearman held out |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for device in devices:
        own = [p for p in predictions if p.device == device]
        figures = error_metrics(predictions, device)
        held_out = spearman([p.held_out_ms for p in own], [p.row.latency_ms for p in own])
        lines.append(
            f"| {device} | {len(own)} | {figures['mape_percent']:.1f} % | {figures['held_out_mape_percent']:.1f} %"
            f" | {figures['spearman']:.3f} | {held_out:.3f} |"
        )
    return "\n".join(lines) + "\n"


def predictions_csv(predictions: Sequence[LatencyPrediction]) -> str:
    """The predictions as CSV."""
    lines = ["device,network,published_ms,predicted_ms,held_out_ms,source"]
    for p in predictions:
        cells = (p.device, p.row.network, f"{p.row.latency_ms:g}", f"{p.predicted_ms:.4f}", f"{p.held_out_ms:.4f}")
        lines.append(",".join((*cells, f'"{p.row.source}"')))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.analytic.fit", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="+", type=Path, help=".toml files of devices, fitted together")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds published_latency.csv")
    parser.add_argument("--write", action="store_true", help="write numbers and errors into the device files")
    parser.add_argument("--csv", type=Path, help="write the predictions to this file")
    options = parser.parse_args(arguments)
    texts = [read_device_file(path) for path in options.devices]
    subjects = [
        read_fit_problem(
            text, path.stem, str(path), published_latencies(options.data / "published_latency.csv", path.stem)
        )
        for path, text in zip(options.devices, texts, strict=True)
    ]
    fitted, predictions = fit_and_cross_validate(subjects)
    print(predictions_markdown(predictions))
    for path, text, subject, numbers in zip(options.devices, texts, subjects, fitted, strict=True):
        print(f"{subject.name}: " + ", ".join(f"{name} {value:g}" for name, value in numbers.items()))
        if options.write:
            errors = {f"error.{name}": value for name, value in error_metrics(predictions, subject.name).items()}
            path.write_text(replace_numbers(text, {**numbers, **errors}), encoding="utf-8")
    if options.csv:
        options.csv.write_text(predictions_csv(predictions), encoding="utf-8")


if __name__ == "__main__":
    main()
