"""Which tensors, and which slices of them, two networks of one space share.

The convention is that of Once-for-All (arXiv 1908.09791, sec. 3.3): of two widths the narrower has the first channels,
of two kernels the smaller has the middle of the larger one. Nothing is transformed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.pytorch.weights.names import graph_tensors, named_tensors

if TYPE_CHECKING:
    from search_spaces.pytorch.module import GraphModule

Slices = tuple[slice, ...]


class SharedParameter(NamedTuple):
    """A tensor that two networks have: its name, and the part of it in each that is the same, both of ``shape``."""

    name: str
    slice_a: Slices
    slice_b: Slices
    shape: Shape

    @property
    def whole(self) -> bool:
        """Whether both parts begin and end alike: the tensors have one shape."""
        return self.slice_a == self.slice_b


def shared_parameters(graph_a: Graph, graph_b: Graph) -> tuple[SharedParameter, ...]:
    """The parameters and running statistics that two networks share, in the order of the first.

    Tensors are the same that have the same name, are of the same operation and were made by the same block functions:
    ``stage2.layer1/expand/conv.weight`` of two inverted bottlenecks, but not of one and a fused one. Convolutions must
    agree in their groups, or both be depthwise. Channels are shared from the first on, kernels from their middle. Nodes
    that stand in no section have no name that lasts, and are shared by equal graphs alone.
    """
    equal = graph_a == graph_b
    tensors_b = graph_tensors(graph_b)
    shared = []
    for name, tensor in graph_tensors(graph_a).items():
        other = tensors_b.get(name)
        if other is None:
            continue
        labels = graph_a.labels[tensor.node], graph_b.labels[other.node]
        nodes = graph_a.nodes[tensor.node], graph_b.nodes[other.node]
        blocks = [[call.block for call in label.calls] for label in labels]
        if (not equal and (not labels[0].path or blocks[0] != blocks[1])) or not _same_kind(*nodes):
            continue
        if len(tensor.shape) != len(other.shape):
            continue
        pairs = [_common(m, n, axis >= 2) for axis, (m, n) in enumerate(zip(tensor.shape, other.shape, strict=True))]
        slice_a, slice_b = tuple([a for a, _ in pairs]), tuple([b for _, b in pairs])
        shared.append(SharedParameter(name, slice_a, slice_b, tuple([s.stop - s.start for s in slice_a])))
    return tuple(shared)


def copy_shared_parameters(source: GraphModule, target: GraphModule) -> tuple[str, ...]:
    """Copy what the two share from one module into another; the names of the tensors that were touched.

    Parts that the source does not have stay as they are.
    """
    import torch

    tensors, own = named_tensors(source), named_tensors(target)
    shared = shared_parameters(source.graph, target.graph)
    with torch.no_grad():
        for name, slice_a, slice_b, _ in shared:
            own[name][slice_b].copy_(tensors[name][slice_a])
    return tuple([s.name for s in shared])


def _same_kind(a: Node, b: Node) -> bool:
    if a.op != b.op:
        return False
    if a.op != "conv":
        return True
    groups = [int(node.attr("groups")) for node in (a, b)]
    return groups[0] == groups[1] or all(count == node.shape[0] for count, node in zip(groups, (a, b), strict=True))


def _common(m: int, n: int, from_middle: bool) -> tuple[slice, slice]:
    """The part of an axis that is in both, as it stands in each; of kernels the middle, else the first elements."""
    extent = min(m, n)
    starts = [(extent_here - extent) // 2 if from_middle else 0 for extent_here in (m, n)]
    first, second = [slice(start, start + extent) for start in starts]
    return first, second
