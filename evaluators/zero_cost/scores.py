"""Zero-cost scores by name: how promising a network is before any training. Higher is better.

They rank many candidates so that few need training; they are not qualities, and results never report them as such.
A new score is a file and a row in ``SCORES``; other packages add rows through the entry-point group ``nas.scores``,
whose objects are ``ScoreRow``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.graph.graph import Graph
from search_spaces.registry import import_object, named_row, table_with_plugins


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
        "evaluators.zero_cost.entropy:Entropy",
        "entropy of the features, from the graph alone (DeepMAD, arXiv 2303.02165)",
    ),
    "log_macs": ScoreRow("evaluators.zero_cost.log_macs:LogMacs", "logarithm of the MACs: the baseline for any score"),
    "synflow": ScoreRow(
        "evaluators.zero_cost.synflow:SynFlow", "synaptic flow of an untrained network (arXiv 2006.05467, 2101.08134)"
    ),
}


def make_score(name: str) -> ZeroCostScore:
    """The score of that name. Raises ``UnknownName``."""
    row = named_row("score", name, table_with_plugins("nas.scores", SCORES, ScoreRow))
    score: ZeroCostScore = import_object(row.factory)()
    return score
