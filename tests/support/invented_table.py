"""An invented bench table of 64 networks, four genotypes each, and a searcher that asks for what it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype

SPACE = """
from search_spaces.graph.builder import Builder

def small(choose):
    b = Builder()
    x = b.input((3, 8, 8))
    for layer in (1, 2):
        x = b.act(b.conv(x, choose.one_of(f"width{layer}", (4, 8, 12, 16))), "relu")
    x = b.conv(x, 4, choose.one_of("kernel", (1, 3, 5, 7)))
    choose.one_of("spare", ("a", "b", "c", "d"))
    return b.build(x)
"""


NETWORKS = 64


def figures(genotype: Genotype) -> tuple[float, float, float]:
    """An accuracy that no two networks share, a latency and training seconds."""
    w1, w2, kernel = (int(str(genotype[name])) for name in ("width1", "width2", "kernel"))
    accuracy = 60 + 10 * math.sin(w1) + 8 * math.cos(w2) + 5 * math.sin(kernel) + w1 * w2 / 30
    return accuracy, w1 + w2 + 2 * kernel, 10.0 * w1 + w2


class Scripted:
    """Asks for the given genotypes, again and again; keeps the outcomes."""

    def __init__(self, genotypes: Sequence[Genotype]) -> None:
        self.genotypes, self.asks = list(genotypes), 0
        self.outcomes: list[Outcome] = []

    def ask(self) -> Genotype:
        self.asks += 1
        return self.genotypes[(self.asks - 1) % len(self.genotypes)]

    def tell(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
