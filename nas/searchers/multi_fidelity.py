"""Searchers that ask for trainings at several fidelities, and any other searcher as one that asks for full ones.

A fidelity is a fraction of the full training, above 0 and up to 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from nas.searchers.protocol import Outcome, Searcher
from search_spaces.space.genotype import Genotype


class Suggestion(NamedTuple):
    """A genotype to train, and at which fidelity."""

    genotype: Genotype
    fidelity: float


@runtime_checkable
class MultiFidelitySearcher(Protocol):
    """A searcher that says at which fidelity its genotypes are trained. ``fidelities``: all of these, ascending."""

    @property
    def fidelities(self) -> tuple[float, ...]: ...

    def ask_with_fidelity(self) -> Suggestion: ...

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None: ...


class FullFidelity:
    """A searcher that knows of no fidelities, all of whose genotypes are trained in full."""

    fidelities = (1.0,)

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def ask_with_fidelity(self) -> Suggestion:
        return Suggestion(self._searcher.ask(), 1.0)

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        self._searcher.tell(outcome)


class _EarlierProtocol:
    """A searcher written for early releases, whose members are called ``shares``, ``ask_at`` and ``tell_at``."""

    def __init__(self, searcher: Any) -> None:
        self._searcher = searcher

    @property
    def fidelities(self) -> tuple[float, ...]:
        return tuple(self._searcher.shares)

    def ask_with_fidelity(self) -> Suggestion:
        genotype, fidelity = self._searcher.ask_at()
        return Suggestion(genotype, fidelity)

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        self._searcher.tell_at(outcome, fidelity)


def as_multi_fidelity(searcher: Searcher) -> MultiFidelitySearcher:
    """The searcher itself where it asks for fidelities; else one around it."""
    if isinstance(searcher, MultiFidelitySearcher):
        return searcher
    if all(hasattr(searcher, name) for name in ("shares", "ask_at", "tell_at")):
        return _EarlierProtocol(searcher)
    return FullFidelity(searcher)
