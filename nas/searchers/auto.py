"""The searcher that is used where none is named: it chooses by what an evaluation costs and how many there are.

Where every objective is free (predicted costs, zero-cost scores), thousands of candidates cost less than a model of
them would: NSGA-II, or aging evolution for a single objective. Where candidates are paid for, Gaussian processes
choose each of the first thousand, and an ensemble of trees what comes after, since the time of a process grows with
the cube of what it has seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from nas.searchers.evolution import AgingEvolution
from nas.searchers.nsga2 import Nsga2
from nas.searchers.protocol import Look, Outcome, Searcher
from nas.searchers.surrogates.bayesian import BayesianSearch
from nas.searchers.surrogates.tree_ensemble import PredictorSearch
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

SWITCH = 1000
"""Paid outcomes after which trees take over from Gaussian processes."""


class AutoSearch:
    """See the module. ``objectives``: how many losses an outcome has, 1 where it is not said."""

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        known: Sequence[Outcome] = (),
        *,
        look: Look | None = None,
        name_of: Callable[[Genotype], str] | None = None,
        objectives: int | None = None,
    ) -> None:
        self._space = space
        self._rng = rng
        self._look = look
        self._paid = look is None or _paid(look, space)
        self._told: list[Outcome] = list(known)
        self._inner: Searcher
        if self._paid:
            self._inner = self._model()
        elif (objectives or 1) > 1:
            self._inner = Nsga2(space, rng, known, name_of=name_of)
        else:
            self._inner = AgingEvolution(space, rng, known)

    def _model(self) -> Searcher:
        kind = BayesianSearch if len(self._told) < SWITCH else PredictorSearch
        return kind(self._space, self._rng, self._told, look=self._look)

    def ask(self) -> Genotype:
        return self._inner.ask()

    def tell(self, outcome: Outcome) -> None:
        self._inner.tell(outcome)
        if self._paid and len(self._told) < SWITCH:
            self._told.append(outcome)
            if len(self._told) == SWITCH:
                self._inner = self._model()


def _paid(look: Look, space: Space) -> bool:
    """Whether some objective of a genotype is not free; a draw of its own, which changes nothing else."""
    losses = look(space.sample(random.Random(0))).losses
    return not losses or any(loss is None for loss in losses)
