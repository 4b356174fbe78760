"""Random search: the baseline that every searcher must beat."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class RandomSearch:
    """Draws every genotype independently and learns nothing."""

    def __init__(self, space: Space, rng: random.Random, history: Sequence[Outcome] = ()) -> None:
        self._space = space
        self._rng = rng

    def ask(self) -> Genotype:
        return self._space.sample(self._rng)

    def tell(self, outcome: Outcome) -> None:
        """Nothing to learn."""
