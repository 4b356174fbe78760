"""What a network's graph says of it for free, as numbers that models learn from."""

from __future__ import annotations

from math import log, prod

from search_spaces.graph import Fragment, Graph, Node, remember
from search_spaces.ops import Shape

_KINDS = ("wide", "depthwise", "pointwise", "product", "pooling", "joint")
GRAPH_FEATURES = (
    "log_macs",
    "log_params",
    "log_nodes",
    "log_peak_activation_bytes",
    *[f"log_{kind}" for kind in _KINDS],
)
"""The names of ``graph_features``, in order.

Natural logarithms of one more than a count. Of operations there are: convolutions over several pixels, those in
groups of a channel each, those over one pixel with linear layers, matrix products, poolings, and operations with
several operands.
"""

_memo: dict[Fragment, tuple[int, ...]] = {}


def graph_features(graph: Graph) -> tuple[float, ...]:
    """The values of ``GRAPH_FEATURES``: a few microseconds where the graph's blocks were seen before."""
    counts = [0] * len(_KINDS)
    for piece in graph.pieces:
        found = _memo.get(piece.fragment)
        if found is None:
            found = _counted(piece.fragment)
            remember(_memo, piece.fragment, found)
        for place, count in enumerate(found):
            counts[place] += count
    values = (graph.macs, graph.params, len(graph), graph.peak_activation_bytes, *counts)
    return tuple([log(1 + value) for value in values])


def _counted(fragment: Fragment) -> tuple[int, ...]:
    kinds = [_kind(node, fragment.operand_shapes(node)) for node in fragment.nodes]
    return tuple([kinds.count(kind) for kind in _KINDS])


def _kind(node: Node, operands: tuple[Shape, ...]) -> str:
    if node.op == "conv":
        if prod(node.attr("kernel")) == 1:
            return "pointwise"
        return "depthwise" if 1 < node.attr("groups") == operands[0][0] else "wide"
    if node.op == "linear":
        return "pointwise"
    if node.op == "matmul":
        return "product"
    if node.op in ("pool", "global_pool"):
        return "pooling"
    return "joint" if len(operands) > 1 else ""
