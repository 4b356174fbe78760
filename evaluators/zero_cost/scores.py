"""Zero-cost scores: how promising a network looks before any training. More is better.

They rank many candidates so that few need training; they are not qualities, and results never report them as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, prod
from typing import Any, Protocol

from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import Shape
from search_spaces.registry import import_object, named_row, table_with_plugins

_FIXED_POINT_SCALE = (
    1_000_000_000  # scores are summed as whole billionths, so that the order of the sum does not matter
)


class ZeroCostScore(Protocol):
    """A zero-cost score. ``proxy`` holds options that the space must be built with; most need none."""

    name: str

    @property
    def proxy(self) -> dict[str, Any]: ...

    def score(self, graph: Graph) -> float: ...


@dataclass(frozen=True)
class ScoreRow:
    """One named score: its class, and what it is in a line."""

    factory: str
    summary: str


SCORES: dict[str, ScoreRow] = {
    "entropy": ScoreRow(
        "evaluators.zero_cost.scores:Entropy",
        "entropy of the features, from the graph alone (DeepMAD, arXiv 2303.02165)",
    ),
    "log_macs": ScoreRow("evaluators.zero_cost.scores:LogMacs", "logarithm of the MACs: the baseline for any score"),
    "synflow": ScoreRow(
        "evaluators.zero_cost.synflow:SynFlow", "synaptic flow of an untrained network (arXiv 2006.05467, 2101.08134)"
    ),
}


def make_score(name: str) -> ZeroCostScore:
    """The score of that name. Raises ``UnknownName``."""
    row = named_row("score", name, table_with_plugins("nas.scores", SCORES, ScoreRow))
    score: ZeroCostScore = import_object(row.factory)()
    return score


def _node_entropy(node: Node, shapes: tuple[Shape, ...]) -> int:
    if node.op == "conv":
        return round(log(shapes[0][0] // node.attr("groups") * prod(node.attr("kernel"))) * _FIXED_POINT_SCALE)
    if node.op == "linear":
        return round(log(shapes[0][-1]) * _FIXED_POINT_SCALE)
    return 0


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


@dataclass(frozen=True)
class LogMacs:
    """The natural logarithm of the multiply-adds."""

    name: str = "log_macs"

    @property
    def proxy(self) -> dict[str, Any]:
        return {}

    def score(self, graph: Graph) -> float:
        return log(max(1, graph.macs))
