"""Operations as a device runs them: a convolution with its normalisation and activation is one of them.

What follows is folded by the rule of ``analytic.work_of``, for every activation, and only where nothing else reads what
lies between: batch normalisation and LayerScale behind a convolution, a linear layer or a normalisation; an activation
behind one of these or a sum. A device that does not fold them is measured with all of it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from hardware_models.device_file.operation_kinds import operation_kind, operation_kinds
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.linear.features import operation_of
from hardware_models.linear.model import CONVOLUTIONS
from search_spaces.graph.fragment import Fragment, Node, NodeFigures
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import LARGEST_TENSOR, Shape

_LINEAR = ("conv", "linear", "norm")
_FOLLOWERS = ("norm", "layer_scale", "act")
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
        """In the order of ``operation.FEATURES``."""
        return 1.0, self.macs / 1e9, self.moved / 1e6, self.weights / 1e6

    @property
    def _weights_an_output(self) -> int:
        return self.inputs[0][0] // self.groups * prod(self.kernel)

    @property
    def groups(self) -> int:
        if self.kind.startswith("conv:depthwise"):
            return self.inputs[0][0]
        found = re.search(r" g(\d+)", self.text)
        return int(found[1]) if found else 1


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
    known = operation_kinds().union(CONVOLUTIONS)
    for part in (kind, *fused.split("+")[1:]):
        if part.removesuffix(":3d") not in known:
            raise HardwareError(f"no kind of operation {part!r} in {text!r}; known: {', '.join(sorted(known))}")
    dilation = int(match["dilation"] or 1)
    made = FusedOperation(text, kind, inputs, _shape(match["output"]), kernel, stride, dilation, fused)
    if max(made.macs, made.moved, made.weights) > LARGEST_TENSOR:
        raise HardwareError(f"the operation {text!r} is beyond any memory")
    if kind.startswith("conv") and (len(kernel) != len(inputs[0]) - 1 or inputs[0][0] % made.groups):
        raise HardwareError(f"the operation {text!r} needs a kernel for each axis, and groups that divide its channels")
    return made


def _shape(text: str | None) -> Shape:
    return tuple([int(part) for part in text.split("x")]) if text else ()


class Group(NamedTuple):
    """Places of nodes that are one operation, and that operation."""

    nodes: tuple[int, ...]
    operation: FusedOperation


def fragment_groups(fragment: Fragment) -> list[Group]:
    """The operations of a fragment for which ``reaches_out`` is false."""
    return list(
        _grouped(
            fragment.nodes,
            [fragment.operand_shapes(node) for node in fragment.nodes],
            fragment.node_figures(),
            fragment.outputs,
        )
    )


def graph_groups(graph: Graph) -> list[Group]:
    """The operations of a graph in order of their first nodes."""
    nodes = graph.nodes
    shapes = [tuple([nodes[i].shape for i in node.inputs]) for node in nodes]
    return list(_grouped(nodes, shapes, graph.figures(), [index for _, index in graph.outputs]))


def reaches_out(fragment: Fragment) -> bool:
    """Whether a fragment's nodes may be folded into what comes before it."""
    if fragment.closed:
        return False
    return any(node.op in _FOLLOWERS and node.inputs[0] < 0 for node in fragment.nodes)


def _grouped(
    nodes: Sequence[Node], shapes: Sequence[tuple[Shape, ...]], figures: Sequence[NodeFigures], ends: Sequence[int]
) -> Iterator[Group]:
    reads = [0] * len(nodes)
    for node in nodes:
        for i in node.inputs:
            if i >= 0:
                reads[i] += 1
    for i in ends:
        reads[i] += 2
    head = list(range(len(nodes)))
    members: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        first = node.inputs[0] if node.inputs else -1
        if first >= 0 and reads[first] == 1 and head[first] in members and _folds(node, nodes[first]):
            head[place] = head[first]
            members[head[place]].append(place)
        elif operation_of(node, figures[place], shapes[place]) is not None:
            members[place] = [place]
    for place, group in members.items():
        followers = "".join([f"+{operation_kind(nodes[i])}" for i in group[1:]])
        text = _text(nodes[place], figures[place], shapes[place])
        yield Group(tuple(group), parse_operation(f"{text} {followers}" if followers else text))


def _folds(node: Node, before: Node) -> bool:
    if operation_kind(node) in ("norm:batch", "layer_scale"):
        return before.op in _LINEAR
    return node.op == "act" and before.op in (*_LINEAR, "add")


def _text(node: Node, figures: NodeFigures, shapes: tuple[Shape, ...]) -> str:
    made = operation_of(node, figures, shapes)
    assert made is not None
    if node.op != "pool":
        return made.text
    return f"{made.text} k{'x'.join(map(str, node.attrs[1]))} s{'x'.join(map(str, node.attrs[2]))}"
