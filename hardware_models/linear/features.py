"""What learned models see of an operation: its kind, its counts, and a text that names it exactly."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from hardware_models.device_file.operation_kinds import operation_kind
from search_spaces.graph.fragment import Node, NodeCounts
from search_spaces.graph.operations import OPS, Shape

FEATURE_NAMES = ("operations", "gmacs", "mb_moved", "mb_weights")


class OperationFeatures(NamedTuple):
    """One node as a model prices it: equal operations cost the same wherever they stand."""

    kind: str
    counts: tuple[float, ...]  # in the order of FEATURES; megabytes are of one byte an element
    text: str


def operation_features(node: Node, figures: NodeCounts, shapes: tuple[Shape, ...]) -> OperationFeatures | None:
    """The operation of a node, or ``None`` where it computes nothing: inputs, zeros and views."""
    op = OPS[node.op]
    if op.source or op.view:
        return None
    kind, text = operation_kind(node), ""
    if node.op == "conv":
        kind, text = _convolution_kind(node, shapes[0])
    moved = sum(map(prod, shapes)) + prod(node.shape)
    counts = (1.0, figures.macs / 1e9, moved / 1e6, figures.params / 1e6)
    sides = "+".join(["x".join(map(str, s)) for s in shapes])
    return OperationFeatures(kind, counts, f"{kind} {sides}>{'x'.join(map(str, node.shape))}{text}")


def _convolution_kind(node: Node, shape: Shape) -> tuple[str, str]:
    _, kernel, stride, _, dilation, groups, _ = node.attrs
    rank = f":{len(kernel)}d" if len(kernel) > 2 else ""
    if groups > 1:
        kind = "conv:depthwise" if groups == shape[0] else "conv:grouped"
    else:
        kind = "conv:pointwise" if prod(kernel) == 1 else "conv:regular"
    text = f" k{'x'.join(map(str, kernel))} s{'x'.join(map(str, stride))}"
    text += f" g{groups}" if kind == "conv:grouped" else ""
    return kind + rank, text + (f" d{max(dilation)}" if max(dilation) > 1 else "")
