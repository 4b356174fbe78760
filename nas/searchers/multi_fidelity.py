"""Searchers that ask for shares of the full training, and every other searcher seen as one that asks for all of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from nas.searchers.protocol import Outcome, Searcher
from search_spaces.space.genotype import Genotype


class Asked(NamedTuple):
    """A genotype to train, and for which share of the full training, above 0 and up to 1."""

    genotype: Genotype
    share: float


@runtime_checkable
class ByShare(Protocol):
    """A searcher that says for how long what it asks for is trained. ``shares``: all that it may say, ascending."""

    @property
    def shares(self) -> tuple[float, ...]: ...

    def ask_at(self) -> Asked: ...

    def tell_at(self, outcome: Outcome, share: float) -> None: ...


class InFull:
    """A searcher that knows of no shares, all of whose genotypes are trained in full."""

    shares = (1.0,)

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def ask_at(self) -> Asked:
        return Asked(self._searcher.ask(), 1.0)

    def tell_at(self, outcome: Outcome, share: float) -> None:
        self._searcher.tell(outcome)


def by_share(searcher: Searcher) -> ByShare:
    """The searcher itself where it asks for shares; else one around it."""
    return searcher if isinstance(searcher, ByShare) else InFull(searcher)
