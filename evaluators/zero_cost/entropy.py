"""The entropy of a network's features, from its graph alone (DeepMAD, arXiv 2303.02165)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Any

from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import OPS, Shape

# Summed as whole billionths, so that the order of the sum does not matter
_FIXED_POINT_SCALE = 1_000_000_000


def _node_entropy(node: Node, shapes: tuple[Shape, ...]) -> int:
    operation = OPS[node.op]
    if operation.product is None or operation.parameters is None:
        return 0
    return round(log(operation.product(shapes, node.attrs, node.shape).reduction) * _FIXED_POINT_SCALE)


@dataclass(frozen=True)
class Entropy:
    """Sum over convolutions and linear layers of the logarithm of their fan-in.

    The part of DeepMAD's entropy (arXiv 2303.02165, eq. 2 and 4: the sum of ``log(c_i k_i^2 / g_i)``) that differs
    between networks with one and the same output; its factor for the output's size is left out. It reads the graph
    alone and takes microseconds.
    """

    name: str = "entropy"
    _memo: dict[Fragment, int] = field(default_factory=dict, repr=False, compare=False, hash=False)

    @property
    def proxy(self) -> dict[str, Any]:
        return {}

    def score(self, graph: Graph) -> float:
        total = 0
        memo = self._memo
        for piece in graph.pieces:
            fragment = piece.fragment
            value = memo.get(fragment)
            if value is None:
                value = sum(_node_entropy(n, fragment.operand_shapes(n)) for n in fragment.nodes)
                memo_put(memo, fragment, value)
            total += value
        return total / _FIXED_POINT_SCALE
