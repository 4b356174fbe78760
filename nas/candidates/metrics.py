"""The table of metrics: unit, direction, origin, and the words that users write for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from evaluators.evaluator import QualityMetric
from search_spaces.registry import unknown_name

Direction = Literal["minimize", "maximize"]


class ObjectiveError(ValueError):
    """A metric, limit or objective that makes no sense."""


@dataclass(frozen=True)
class Metric:
    """One figure of a candidate: which way is better, its unit, and where it comes from.

    ``origin``: ``graph`` is counted, ``hardware`` predicted, ``score`` a zero-cost score, ``quality`` trained.
    ``function``, as ``module:function`` of a graph, counts what is worked out only where a search names it.
    ``detail``: kept beside the others and not shown in tables.
    """

    direction: Direction
    unit: str
    origin: Literal["graph", "hardware", "score", "quality"]
    label: str
    function: str = ""
    detail: bool = False


MetricTable = Mapping[str, Metric]
"""Metrics by name: ``METRICS``, or those of one search, whose evaluator declares its own."""

METRICS: dict[str, Metric] = {
    "latency_ms": Metric("minimize", "ms", "hardware", "latency"),
    "energy_mj": Metric("minimize", "mJ", "hardware", "energy"),
    "weights_kib": Metric("minimize", "KiB", "hardware", "weights"),
    "peak_memory_kib": Metric("minimize", "KiB", "hardware", "peak memory"),
    "fallback_ops": Metric("minimize", "", "hardware", "kinds of operations left to the host"),
    "guessed_ops": Metric("minimize", "", "hardware", "kinds of operations priced by a guess"),
    "macs": Metric("minimize", "", "graph", "MACs"),
    "params": Metric("minimize", "", "graph", "parameters"),
    "variables": Metric("minimize", "", "graph", "variables"),
    "peak_activation_bytes": Metric("minimize", "B", "graph", "peak activations (float32)"),
    "training_memory_kib": Metric(
        "minimize", "KiB", "graph", "training memory", "hardware_models.training_memory:training_memory_kib"
    ),
    "cut_bytes": Metric("minimize", "B", "graph", "bytes across the cut", "nas.candidates.untrained_metrics:cut_bytes"),
    "score": Metric("maximize", "", "score", "zero-cost score"),
    "map": Metric("maximize", "", "quality", "mAP@[.5:.95]"),
    "map50": Metric("maximize", "", "quality", "mAP@.5"),
    "accuracy": Metric("maximize", "", "quality", "accuracy"),
    "top5": Metric("maximize", "", "quality", "top-5 accuracy"),
    "miou": Metric("maximize", "", "quality", "mIoU"),
    "pixel_accuracy": Metric("maximize", "", "quality", "pixel accuracy"),
}


_ALIASES = {
    "latency": "latency_ms",
    "energy": "energy_mj",
    "weights": "weights_kib",
    "peak_memory": "peak_memory_kib",
    "memory": "peak_memory_kib",
    "training_memory": "training_memory_kib",
    "parameters": "params",
    "mAP": "map",
    "mAP50": "map50",
    "top1": "accuracy",
    "mIoU": "miou",
}


# Metrics of which a search may allow none at all
METRICS_THAT_MAY_BE_ZERO = ("fallback_ops", "guessed_ops")


# How much of a metric's own unit one of the written units is
UNIT_FACTORS: dict[str, dict[str, float]] = {
    "ms": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "mJ": {"uj": 1e-3, "mj": 1.0, "j": 1e3},
    "KiB": {"b": 1 / 1024, "kib": 1.0, "kb": 1000 / 1024, "mib": 1024.0, "mb": 1e6 / 1024},
    "B": {"b": 1.0, "kib": 1024.0, "kb": 1e3, "mib": 1024.0**2, "mb": 1e6},
    "": {"k": 1e3, "m": 1e6, "g": 1e9, "": 1.0},
}


def search_metrics(qualities: Iterable[QualityMetric]) -> dict[str, Metric]:
    """The metrics of a search whose evaluator gives these: what is counted and predicted, and they.

    Raises ``ObjectiveError`` for names, directions and units that nothing could be made of.
    """
    rows = {name: row for name, row in METRICS.items() if row.origin != "quality"}
    for quality in qualities:
        _check_quality(quality, rows)
        label = quality.label or (METRICS[quality.name].label if quality.name in METRICS else quality.name)
        rows[quality.name] = Metric(quality.direction, quality.unit, "quality", label, detail=quality.detail)
    if all(row.origin != "quality" for row in rows.values()):
        raise ObjectiveError("the evaluator declares no metric; its property metrics has to name one at least")
    return rows


def _check_quality(quality: QualityMetric, rows: MetricTable) -> None:
    if not isinstance(quality, QualityMetric):
        raise ObjectiveError(f"the evaluator declares {quality!r}; metrics has to hold nas.QualityMetric objects")
    where = f"the evaluator's metric {quality.name!r}"
    if not isinstance(quality.name, str) or not re.fullmatch(r"[A-Za-z]\w*", quality.name):
        raise ObjectiveError(f"{where} is no name; use letters, digits and underscores, a letter first")
    if quality.name in rows:
        raise ObjectiveError(f"{where} is declared twice, or is the name of a metric of the search; rename it")
    if quality.direction not in ("minimize", "maximize"):
        raise ObjectiveError(f"{where}: the direction is 'minimize' or 'maximize', not {quality.direction!r}")
    if quality.unit not in UNIT_FACTORS:
        units = ", ".join(repr(unit) for unit in UNIT_FACTORS)
        raise ObjectiveError(f"{where}: the unit is one of {units}, not {quality.unit!r}")


def metric_name(text: str, metrics: MetricTable = METRICS) -> str:
    """The metric that a user's word means, with its device where it names one: ``latency@pixel3_cpu``.

    Raises ``UnknownName`` with a suggestion, and ``ObjectiveError`` for a device that makes no difference.
    """
    word, at, device = text.partition("@")
    name = word if word in metrics else _ALIASES.get(word, word)
    if name not in metrics:
        raise unknown_name("metric", word, [*metrics, *(a for a, meant in _ALIASES.items() if meant in metrics)])
    if at and metrics[name].origin != "hardware":
        raise ObjectiveError(f"{word} is the same on every device; say it without @{device}")
    return f"{name}@{device}" if at else name


def metric_row(name: str, metrics: MetricTable = METRICS) -> Metric:
    """The row of a metric, of one device or of all."""
    return metrics[name.partition("@")[0]]


def quality_names(metrics: MetricTable) -> list[str]:
    """The metrics that training gives, the evaluator's first one first."""
    return [name for name, row in metrics.items() if row.origin == "quality"]
