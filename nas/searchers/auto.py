"""The searcher that is used where none is named: it chooses by what an evaluation costs and how many there are.

Where every objective is known without training (predicted costs, zero-cost scores), thousands of candidates cost less
than a model of them would: NSGA-II, or aging evolution for a single objective. Where candidates are trained, Gaussian
processes choose each of the first thousand, and an ensemble of trees what comes after, since the time of a process
grows with the cube of its observations.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from nas.searchers.evolution import AgingEvolution
from nas.searchers.nsga2 import Nsga2
from nas.searchers.protocol import Featurizer, Outcome, Searcher
from nas.searchers.surrogates.bayesian import BayesianSearch
from nas.searchers.surrogates.tree_ensemble import TreeEnsembleSearch
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

MAX_GP_OBSERVATIONS = 1000
"""Outcomes after which trees take over from Gaussian processes."""


class AutoSearch:
    """See the module. ``objectives``: how many losses an outcome has, 1 where that is ``None``."""

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        featurize: Featurizer | None = None,
        network_key: Callable[[Genotype], str] | None = None,
        objectives: int | None = None,
    ) -> None:
        self._space = space
        self._rng = rng
        self._featurize = featurize
        self._trains_candidates = featurize is None or _trains_candidates(featurize, space)
        self._history: list[Outcome] = list(history)
        self._inner: Searcher
        if self._trains_candidates:
            self._inner = self._model()
        elif (objectives or 1) > 1:
            self._inner = Nsga2(space, rng, history, network_key=network_key)
        else:
            self._inner = AgingEvolution(space, rng, history)

    def _model(self) -> Searcher:
        kind = BayesianSearch if len(self._history) < MAX_GP_OBSERVATIONS else TreeEnsembleSearch
        return kind(self._space, self._rng, self._history, featurize=self._featurize)

    def ask(self) -> Genotype:
        return self._inner.ask()

    def tell(self, outcome: Outcome) -> None:
        self._inner.tell(outcome)
        if self._trains_candidates and len(self._history) < MAX_GP_OBSERVATIONS:
            self._history.append(outcome)
            if len(self._history) == MAX_GP_OBSERVATIONS:
                self._inner = self._model()


def _trains_candidates(featurize: Featurizer, space: Space) -> bool:
    """Whether some objective of a genotype is known only after training, by a sample that no other draw depends on."""
    losses = featurize(space.sample(random.Random(0))).losses
    return not losses or any(loss is None for loss in losses)
