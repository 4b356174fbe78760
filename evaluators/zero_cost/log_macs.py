"""The number of multiply-adds as a score: the baseline that any other has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

from search_spaces.graph.graph import Graph


@dataclass(frozen=True)
class LogMacs:
    """The natural logarithm of the multiply-adds."""

    name: str = "log_macs"

    @property
    def proxy(self) -> dict[str, Any]:
        return {}

    def score(self, graph: Graph) -> float:
        return log(max(1, graph.macs))
