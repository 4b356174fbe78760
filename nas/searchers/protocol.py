"""The protocol of searchers: outcomes that they are told, and features that they may see before anything is paid."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


@dataclass(frozen=True)
class Outcome:
    """What a searcher is told of a genotype it asked for.

    ``losses``: one number an objective, less is better; infinite where the candidate failed.
    ``constraint_violation``: how far hard limits are broken, summed over limits; 0 where they hold.
    """

    genotype: Genotype
    losses: tuple[float, ...]
    constraint_violation: float = 0.0


@dataclass(frozen=True)
class KnownFeatures:
    """Side information: what is known of a genotype before anything is paid for it.

    ``key`` names its network, however it is written. ``features`` are numbers that may tell of its losses, the same
    ones in the same order for every genotype of a search: predicted costs, zero-cost scores, counts. ``losses`` holds
    an objective that is known already, such as a predicted latency, and ``None`` for one that must be paid for; it is
    empty where nothing is said. ``constraint_violation``: how far hard limits are broken.
    """

    key: str
    features: tuple[float, ...] = ()
    losses: tuple[float | None, ...] = ()
    constraint_violation: float = 0.0


Featurizer = Callable[[Genotype], KnownFeatures]
"""From a genotype to its known features, at no cost but computing time."""


class Searcher(Protocol):
    """Proposes genotypes and learns from what became of them.

    Any number may be asked for before the first is told of, and outcomes come in any order: a batch is asked for by
    asking several times. An outcome whose genotype was never asked for (a repaired one, one of an earlier search) is
    learnt from like any other. Everything that a searcher knows, it was told: its state is rebuilt by telling the
    outcomes of a study again.
    """

    def ask(self) -> Genotype: ...

    def tell(self, outcome: Outcome) -> None: ...


SearcherFunction = Callable[[Space, random.Random, Sequence[Outcome]], Searcher]
"""A user's own: from a space, a random source and earlier outcomes to a searcher."""
