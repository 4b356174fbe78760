"""Operations as a device runs them: a convolution with its normalisation and activation is one of them.

What follows is folded by the rule of ``analytic.model.node_work``, for every activation, and only where nothing else
reads what lies between: batch normalisation and LayerScale behind a convolution, a linear layer or a normalisation; an
activation behind one of these or a sum. A device that does not fold them is measured with all of it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from hardware_models.device_file.operation_kinds import operation_kind, operation_kinds
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.linear.features import operation_features
from hardware_models.linear.model import CONVOLUTION_KINDS
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import MAX_TENSOR_ELEMENTS, OPS, Shape

_SHAPE = r"[1-9]\d{0,9}(?:x[1-9]\d{0,9}){0,5}"
_TEXT = re.compile(
    rf"(?P<kind>[a-z0-9_:]+) (?P<inputs>{_SHAPE}(?:\+{_SHAPE})*)>(?P<output>{_SHAPE})"
    rf"(?: k(?P<kernel>{_SHAPE}))?(?: s(?P<stride>{_SHAPE}))?(?: g(?P<groups>[1-9]\d{{0,9}}))?"
    r"(?: d(?P<dilation>[1-9]\d{0,9}))?(?: (?P<fused>(?:\+[a-z0-9_:]+)+))?"
)


class FusedOperation(NamedTuple):
    """One operation with what is folded into it. ``text`` names it exactly: equal texts take equally long."""

    text: str
    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    kernel: Shape
    stride: Shape
    dilation: int
    fused: str

    @property
    def family(self) -> tuple[str, Shape, Shape, int, str]:
        """What tells operations apart but for their sizes."""
        return self.kind, self.kernel, self.stride, self.dilation, self.fused

    @property
    def macs(self) -> int:
        if self.kind.startswith("conv"):
            return prod(self.output) * self._weights_an_output
        if self.kind == "linear" or self.kind == "matmul":
            return prod(self.output) * self.inputs[0][-1]
        return 0

    @property
    def weights(self) -> int:
        """Parameters of the operation itself, without biases and what is folded."""
        if self.kind.startswith("conv"):
            return self.output[0] * self._weights_an_output
        return self.inputs[0][-1] * self.output[-1] if self.kind == "linear" else 0

    @property
    def moved(self) -> int:
        """Elements read and written, weights left out."""
        return sum(map(prod, self.inputs)) + prod(self.output)

    @property
    def counts(self) -> tuple[float, float, float, float]:
        """In the order of ``features.FEATURE_NAMES``."""
        return 1.0, self.macs / 1e9, self.moved / 1e6, self.weights / 1e6

    @property
    def _weights_an_output(self) -> int:
        return self.inputs[0][0] // self.groups * prod(self.kernel)

    @property
    def groups(self) -> int:
        if self.kind.startswith("conv:depthwise"):
            return self.inputs[0][0]
        match = re.search(r" g(\d+)", self.text)
        return int(match[1]) if match else 1


@lru_cache(maxsize=1 << 15)
def parse_operation(text: str) -> FusedOperation:
    """The operation of a text as ``FusedOperation.text`` has it. Raises ``HardwareError``."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise HardwareError(
            f"no operation {text!r}; one is written as 'conv:regular 32x40x40>64x20x20 k3x3 s2x2 +norm:batch+act:relu6'"
        )
    inputs = tuple([_shape(part) for part in match["inputs"].split("+")])
    kernel, stride = _shape(match["kernel"]), _shape(match["stride"])
    kind, fused = match["kind"], match["fused"] or ""
    kinds = operation_kinds().union(CONVOLUTION_KINDS)
    for part in (kind, *fused.split("+")[1:]):
        if part.removesuffix(":3d") not in kinds:
            raise HardwareError(f"no kind of operation {part!r} in {text!r}; known: {', '.join(sorted(kinds))}")
    dilation = int(match["dilation"] or 1)
    operation = FusedOperation(text, kind, inputs, _shape(match["output"]), kernel, stride, dilation, fused)
    if max(operation.macs, operation.moved, operation.weights) > MAX_TENSOR_ELEMENTS:
        raise HardwareError(f"the operation {text!r} is beyond any memory")
    if kind.startswith("conv") and (len(kernel) != len(inputs[0]) - 1 or inputs[0][0] % operation.groups):
        raise HardwareError(f"the operation {text!r} needs a kernel for each axis, and groups that divide its channels")
    return operation


def _shape(text: str | None) -> Shape:
    return tuple([int(part) for part in text.split("x")]) if text else ()


class FusionGroup(NamedTuple):
    """Places of nodes that are one operation, and that operation."""

    nodes: tuple[int, ...]
    operation: FusedOperation


def fuse_fragment(fragment: Fragment) -> list[FusionGroup]:
    """The operations of a fragment for which ``may_fuse_with_producer`` is false."""
    return list(
        _fuse_nodes(
            fragment.nodes,
            [fragment.operand_shapes(node) for node in fragment.nodes],
            fragment.node_counts(),
            fragment.outputs,
        )
    )


def fuse_graph(graph: Graph) -> list[FusionGroup]:
    """The operations of a graph in order of their first nodes."""
    nodes = graph.nodes
    shapes = [tuple([nodes[i].shape for i in node.inputs]) for node in nodes]
    return list(_fuse_nodes(nodes, shapes, graph.node_counts(), [index for _, index in graph.outputs]))


def may_fuse_with_producer(fragment: Fragment) -> bool:
    """Whether a fragment's nodes may be folded into what comes before it."""
    if fragment.closed:
        return False
    return any(OPS[node.op].fuses and node.inputs[0] < 0 for node in fragment.nodes)


def _fuse_nodes(
    nodes: Sequence[Node],
    shapes: Sequence[tuple[Shape, ...]],
    figures: Sequence[NodeCounts],
    output_nodes: Sequence[int],
) -> Iterator[FusionGroup]:
    read_counts = [0] * len(nodes)
    for node in nodes:
        for i in node.inputs:
            if i >= 0:
                read_counts[i] += 1
    for i in output_nodes:
        read_counts[i] += 2
    head = list(range(len(nodes)))
    members: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        first = node.inputs[0] if node.inputs else -1
        if first >= 0 and read_counts[first] == 1 and head[first] in members and _fuses(node, nodes[first]):
            head[index] = head[first]
            members[head[index]].append(index)
        elif operation_features(node, figures[index], shapes[index]) is not None:
            members[index] = [index]
    for index, group in members.items():
        followers = "".join([f"+{operation_kind(nodes[i])}" for i in group[1:]])
        text = _text(nodes[index], figures[index], shapes[index])
        yield FusionGroup(tuple(group), parse_operation(f"{text} {followers}" if followers else text))


def _fuses(node: Node, before: Node) -> bool:
    operation = OPS[node.op]
    if operation.folds_into_weights(node.attrs):
        return OPS[before.op].absorbs_affine
    return operation.activation and OPS[before.op].absorbs_activation


def _text(node: Node, figures: NodeCounts, shapes: tuple[Shape, ...]) -> str:
    operation = operation_features(node, figures, shapes)
    assert operation is not None
    if node.op != "pool":
        return operation.text
    return f"{operation.text} k{'x'.join(map(str, node.attrs[1]))} s{'x'.join(map(str, node.attrs[2]))}"
