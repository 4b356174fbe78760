"""A network's figures by metric, before anything is trained: what is counted, and what hardware models predict."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod

from hardware_models.composed.multi_device import MultiDeviceCost
from hardware_models.cost import Cost
from nas.candidates.candidate import Measurement
from nas.candidates.metrics import METRICS
from search_spaces.graph.cuts import narrowest_cut
from search_spaces.graph.fragment import FLOAT_BYTES
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.registry import import_object

DEVICE_LATENCY = "device_latency_ms"
"""The latency of a candidate on a real device, or by a vendor's compiler; its source tells which. Never predicted."""
_OPERATION_COUNTS = ("fallback_ops", "guessed_ops")


def counted_metrics(graph: Graph, metric_names: Collection[str]) -> dict[str, Measurement]:
    """What is read off the graph; what takes a function of its own only where it is among the ``metric_names``."""
    figures = {}
    for name, metric in METRICS.items():
        if metric.origin == "graph" and (not metric.function or name in metric_names):
            value = import_object(metric.function)(graph) if metric.function else getattr(graph, name)
            figures[name] = Measurement(float(value), "counted")
    return figures


def predicted_metrics(cost: Cost, metric_names: Collection[str]) -> dict[str, Measurement]:
    """What a hardware model says; of several devices the worst, and each one's own as ``metric@device``."""
    figures = _cost_metrics(cost, metric_names)
    if isinstance(cost, MultiDeviceCost):
        for label, one in cost.devices.items():
            figures |= {
                f"{name}@{label}": measurement
                for name, measurement in _cost_metrics(one, _metrics_of_device(metric_names, label)).items()
            }
        for name in _OPERATION_COUNTS:
            if name in metric_names:  # the most on one device, not the sum
                most = max(len(getattr(one, name)) for one in cost.devices.values())
                figures[name] = Measurement(float(most), cost.source)
    return figures


def _cost_metrics(cost: Cost, metric_names: Collection[str]) -> dict[str, Measurement]:
    figures = {name: Measurement(value, cost.source) for name, value in cost.metrics().items() if name in METRICS}
    for name in _OPERATION_COUNTS:
        if name in metric_names:
            figures[name] = Measurement(float(len(getattr(cost, name))), cost.source)
    return figures


def _metrics_of_device(metric_names: Iterable[str], label: str) -> list[str]:
    return [name for name, at, device in (w.partition("@") for w in metric_names) if at and device == label]


def cut_bytes(graph: Graph) -> int:
    """The fewest float32 bytes that a split network sends over a link, one input each.

    Of the cuts that one tensor crosses and behind which at most half of the multiply-adds are done, or of sending the
    inputs themselves: a classifier is narrowest behind its pooling, where nothing is left for the other side to do.
    """
    inputs = sum(prod(shape) for shape in graph.input_shapes) * FLOAT_BYTES
    try:
        return min(inputs, narrowest_cut(graph, device_macs=graph.macs // 2).bytes)
    except GraphError:
        return inputs
