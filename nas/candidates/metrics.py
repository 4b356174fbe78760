"""The table of metrics: unit, direction, origin, and the words that users write for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_spaces.registry import unknown_name

Direction = Literal["minimize", "maximize"]


class ObjectiveError(ValueError):
    """A metric, limit or objective that makes no sense."""


@dataclass(frozen=True)
class Metric:
    """One figure of a candidate: which way is better, its unit, and where it comes from.

    ``origin``: ``graph`` is counted, ``hardware`` predicted, ``score`` a zero-cost score, ``quality`` trained.
    ``function``, as ``module:function`` of a graph, counts what is worked out only where a search names it.
    """

    direction: Direction
    unit: str
    origin: Literal["graph", "hardware", "score", "quality"]
    label: str
    function: str = ""


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


def metric_name(text: str) -> str:
    """The metric that a user's word means, with its device where it names one: ``latency@pixel3_cpu``.

    Raises ``UnknownName`` with a suggestion, and ``ObjectiveError`` for a device that makes no difference.
    """
    word, at, device = text.partition("@")
    name = _ALIASES.get(word, word)
    if name not in METRICS:
        raise unknown_name("metric", word, [*METRICS, *_ALIASES])
    if at and METRICS[name].origin != "hardware":
        raise ObjectiveError(f"{word} is the same on every device; say it without @{device}")
    return f"{name}@{device}" if at else name


def metric_row(name: str) -> Metric:
    """The row of a metric, of one device or of all."""
    return METRICS[name.partition("@")[0]]
