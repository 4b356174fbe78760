"""Zero-cost features of a network's graph, as numbers that models learn from."""

from __future__ import annotations

from math import log

from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import OPS, Shape

_KINDS = ("wide", "depthwise", "pointwise", "product", "pooling", "joint")
GRAPH_FEATURES = ("macs", "params", "nodes", "peak_activation_bytes", *_KINDS)
"""What ``graph_counts`` counts, in order, and ``graph_features`` has the logarithms of.

Of operations there are: convolutions over several pixels, those in groups of a channel each, those over one pixel with
linear layers, matrix products, poolings, and operations with several operands.
"""
PEAK_INDEX = GRAPH_FEATURES.index("peak_activation_bytes")

_memo: dict[Fragment, tuple[int, ...]] = {}


def graph_features(graph: Graph) -> tuple[float, ...]:
    """Natural logarithms of one more than each of ``graph_counts``."""
    return tuple([log(1 + count) for count in graph_counts(graph)])


def graph_counts(graph: Graph) -> tuple[int, ...]:
    """The counts that ``GRAPH_FEATURES`` names: a few microseconds where the graph's blocks were seen before."""
    counts = [0] * len(_KINDS)
    for piece in graph.pieces:
        kind_counts = _memo.get(piece.fragment)
        if kind_counts is None:
            kind_counts = _count_kinds(piece.fragment)
            memo_put(_memo, piece.fragment, kind_counts)
        for index, count in enumerate(kind_counts):
            counts[index] += count
    return (graph.macs, graph.params, len(graph), graph.peak_activation_bytes, *counts)


def _count_kinds(fragment: Fragment) -> tuple[int, ...]:
    kinds = [_kind(node, fragment.operand_shapes(node)) for node in fragment.nodes]
    return tuple([kinds.count(kind) for kind in _KINDS])


def _kind(node: Node, operands: tuple[Shape, ...]) -> str:
    operation = OPS[node.op]
    if operation.product is not None:
        if operation.parameters is None:
            return "product"
        groups, _, _, _, places, axis = operation.product(operands, node.attrs, node.shape)
        if places == 1:
            return "pointwise"
        return "depthwise" if 1 < groups == operands[0][axis] else "wide"
    if operation.pooling(node.attrs):
        return "pooling"
    return "joint" if len(operands) > 1 else ""
