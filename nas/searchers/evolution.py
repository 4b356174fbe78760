"""Regularised (aging) evolution (Real et al. 2019, arXiv 1802.01548, algorithm 1), for several objectives.

The population is a queue: every child enters, the oldest member leaves. A parent wins a tournament of random members.
With one objective the best of them wins, as in the paper; with several, a random one of those that no other
dominates. A member within the hard limits beats one that breaks them; of two that break them, the one that breaks
them less (Deb 2000, constraint domination).
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

from nas.candidates.pareto import non_dominated_losses
from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class AgingEvolution:
    """Mutation only: one decision of the parent changes.

    The first population is random, or ``history`` where there is one: then every child has a parent from the start.
    ``resample``: a child whose network was proposed before is mutated again, at most so often. ``tabu``: so is a child
    whose network was proposed that many times before, at most ``resample`` times, or 10. Both need ``network_key``,
    which tells a genotype's network. 0: any child will do.
    """

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        population: int = 64,
        tournament: int = 10,
        resample: int = 0,
        tabu: int = 0,
        network_key: Callable[[Genotype], str] | None = None,
    ) -> None:
        if not 1 <= tournament <= population:
            raise ValueError(f"a tournament of {tournament} does not fit a population of {population}")
        if resample < 0 or tabu < 0:
            raise ValueError(f"resample and tabu count from 0, not {resample} and {tabu}")
        if (resample or tabu) and network_key is None:
            raise ValueError("resample and tabu need network_key, to tell networks apart")
        self._max_proposals = (tabu or 1) if resample or tabu else 0
        self._attempts = resample or 10
        self._network_key = network_key
        self._proposed: Counter[str] = Counter()
        self._space = space
        self._rng = rng
        self._population: deque[Outcome] = deque(history, maxlen=population)
        self._random = 0 if history else population
        self._tournament = tournament
        self._ask_count = 0

    def ask(self) -> Genotype:
        self._ask_count += 1
        if self._ask_count <= self._random or not self._population:
            child = self._space.sample(self._rng)
            if self._network_key is not None and self._max_proposals:
                self._proposed[self._network_key(child)] += 1
            return child
        child = self._space.mutate(self._parent().genotype, self._rng)
        return (
            child if self._network_key is None or not self._max_proposals else self._resampled(child, self._network_key)
        )

    def _resampled(self, child: Genotype, network_key: Callable[[Genotype], str]) -> Genotype:
        """The child, mutated again while its network was proposed too often already."""
        key = network_key(child)
        for _ in range(self._attempts):
            if self._proposed[key] < self._max_proposals:
                break
            child = self._space.mutate(child, self._rng)
            key = network_key(child)
        self._proposed[key] += 1
        return child

    def tell(self, outcome: Outcome) -> None:
        self._population.append(outcome)

    def _parent(self) -> Outcome:
        count, random = len(self._population), self._rng.random
        members = [self._population[int(random() * count)] for _ in range(self._tournament)]
        feasible = [m for m in members if m.constraint_violation == 0]
        if not feasible:
            return min(members, key=lambda m: m.constraint_violation)
        members = feasible
        best = non_dominated_losses({m.losses for m in members})
        members = [m for m in members if m.losses in best]
        return members[int(random() * len(members))]
