"""Search algorithms: a protocol, and a table of strings.

A searcher is a file here and a row in ``SEARCHERS``, or an entry point of the group ``nas.searchers``.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.catalog import import_object, named_row, table_with_plugins
from search_spaces.space import Genotype, Space


@dataclass(frozen=True)
class Outcome:
    """What a searcher is told of a genotype it asked for.

    ``losses``: one number an objective, less is better; infinite where the candidate failed. ``excess``: how far hard
    limits are broken, 0 where they hold.
    """

    genotype: Genotype
    losses: tuple[float, ...]
    excess: float = 0.0


class Searcher(Protocol):
    """Proposes genotypes and learns from what became of them. Outcomes come in the order of the asks."""

    def ask(self) -> Genotype: ...

    def tell(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class SearcherRow:
    """One named searcher: a factory of (space, random source, known outcomes), and what it is in a line."""

    factory: str
    summary: str


SEARCHERS: dict[str, SearcherRow] = {
    "evolution": SearcherRow(
        "nas.searchers.evolution:AgingEvolution",
        "regularised (aging) evolution, several objectives and hard limits (arXiv 1802.01548)",
    ),
    "random": SearcherRow("nas.searchers.random_search:RandomSearch", "independent random genotypes"),
}


def make_searcher(
    name: str,
    space: Space,
    rng: random.Random,
    known: Sequence[Outcome] = (),
    *,
    name_of: Callable[[Genotype], str] | None = None,
    **options: Any,
) -> Searcher:
    """The searcher of that name on ``space``, starting from ``known`` outcomes if there are any.

    ``options`` are keyword arguments of its own. ``name_of`` tells a genotype's network, for those that take it.
    Raises ``UnknownName``, and ``ValueError`` for an option that it does not have.
    """
    row = named_row("searcher", name, table_with_plugins("nas.searchers", SEARCHERS, SearcherRow))
    factory: Callable[..., Searcher] = import_object(row.factory)
    own = {p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for option in options:
        if option not in own - {"name_of"}:
            known_options = ", ".join(sorted(own - {"name_of"})) or "none"
            raise ValueError(f"the searcher {name!r} has no option {option!r}; its options: {known_options}")
    if "name_of" in own:
        options["name_of"] = name_of
    return factory(space, rng, known, **options)
