"""Searchers that ask for shares of the full training, and every other searcher seen as one that asks for all of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from nas.searchers.protocol import Outcome, Searcher
from search_spaces.space.genotype import Genotype


class Suggestion(NamedTuple):
    """A genotype to train, and for which share of the full training, above 0 and up to 1."""

    genotype: Genotype
    fidelity: float


@runtime_checkable
class MultiFidelitySearcher(Protocol):
    """A searcher that says for how long what it asks for is trained. ``fidelities``: all that it may say, ascending."""

    @property
    def fidelities(self) -> tuple[float, ...]: ...

    def ask_with_fidelity(self) -> Suggestion: ...

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None: ...


class FullFidelity:
    """A searcher that knows of no shares, all of whose genotypes are trained in full."""

    fidelities = (1.0,)

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def ask_with_fidelity(self) -> Suggestion:
        return Suggestion(self._searcher.ask(), 1.0)

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        self._searcher.tell(outcome)


def as_multi_fidelity(searcher: Searcher) -> MultiFidelitySearcher:
    """The searcher itself where it asks for shares; else one around it."""
    return searcher if isinstance(searcher, MultiFidelitySearcher) else FullFidelity(searcher)
