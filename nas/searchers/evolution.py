"""Regularised (aging) evolution (Real et al. 2019, arXiv 1802.01548, algorithm 1), for several objectives.

The population is a queue: every child enters, the oldest member leaves. A parent wins a tournament of random members.
With one objective the best of them wins, as in the paper; with several, a random one of those that no other
dominates. A member within the hard limits beats one that breaks them; of two that break them, the one that breaks
them less (Deb 2000, constraint domination).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

from nas.pareto import dominates
from nas.searchers import Outcome
from search_spaces.space import Genotype, Space


class AgingEvolution:
    """Mutation only: one decision of the parent changes.

    The first population is random, or what is ``known`` already: then every child has a parent from the start.
    """

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        known: Sequence[Outcome] = (),
        *,
        population: int = 64,
        tournament: int = 10,
    ) -> None:
        if not 1 <= tournament <= population:
            raise ValueError(f"a tournament of {tournament} does not fit a population of {population}")
        self._space = space
        self._rng = rng
        self._population: deque[Outcome] = deque(known, maxlen=population)
        self._random = 0 if known else population
        self._tournament = tournament
        self._asked = 0

    def ask(self) -> Genotype:
        self._asked += 1
        if self._asked <= self._random or not self._population:
            return self._space.sample(self._rng)
        return self._space.mutate(self._parent().genotype, self._rng)

    def tell(self, outcome: Outcome) -> None:
        self._population.append(outcome)

    def _parent(self) -> Outcome:
        count = len(self._population)
        members = [self._population[int(self._rng.random() * count)] for _ in range(self._tournament)]
        least = min(m.excess for m in members)
        if least > 0:
            return next(m for m in members if m.excess == least)
        members = [m for m in members if m.excess == 0]
        best = [m for m in members if not any(dominates(other.losses, m.losses) for other in members)]
        return best[int(self._rng.random() * len(best))]
