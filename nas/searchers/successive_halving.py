"""Asynchronous successive halving (ASHA: Li et al. 2020, arXiv 1810.05934, algorithm 2) around any searcher.

New candidates are trained at a low fidelity, the best of them for longer: of those that a rung holds, the best 1 / eta
move up to the next, each as soon as it is among them, without waiting for the rung to fill.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import isclose, isfinite
from typing import Any

from nas.candidates.pareto import crowded_ranking
from nas.searchers.catalog import make_searcher
from nas.searchers.multi_fidelity import Suggestion
from nas.searchers.protocol import Featurizer, Outcome, Searcher
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class SuccessiveHalving:
    """Asks for short trainings first; ``ask_with_fidelity`` and ``tell_with_fidelity`` name the fidelity.

    ``fidelities``, one a rung, are 1, 1 / eta, 1 / eta^2 and so on, the lowest first. Each is a training from the
    start. The inner searcher, by its name, with ``options`` of its own, proposes what enters the lowest rung, and is
    told of nothing but what became of that there: losses of one fidelity compare.

    Of one objective the best are those of least loss; of several, those of the first fronts, and within a front those
    with most room around them. A candidate that failed or breaks a limit is not promoted; a failure takes a place in
    its rung. One network, as ``network_key`` tells (by default: one genotype), has one place.

    ``ask`` and ``tell`` are for evaluators that can only train in full: ``ask`` is the inner searcher's next proposal,
    to be trained in full; it promotes nothing. ``tell`` is ``tell_with_fidelity`` with a fidelity of 1. An outcome of a
    longer training that no lower rung holds, as after ``ask``, or of an earlier search, is told to the inner searcher
    as it is; so are the outcomes ``history`` from the start.
    """

    def __init__(
        self,
        inner: str,
        space: Space,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        featurize: Featurizer | None = None,
        network_key: Callable[[Genotype], str] | None = None,
        objectives: int | None = None,
        eta: int = 3,
        rungs: int = 3,
        **options: Any,
    ) -> None:
        for name, value, least in (("eta", eta, 2), ("rungs", rungs, 1)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if inner.partition(":")[0] == "halving":
            raise ValueError(f"halving goes around another searcher, as in halving:gp, not around {inner!r}")
        self._inner: Searcher = make_searcher(
            inner, space, rng, history, network_key=network_key, featurize=featurize, objectives=objectives, **options
        )
        # Equal for genotypes that are one network; outcomes, promotions and rankings are kept by it
        self._network_key: Callable[[Genotype], object] = network_key or (lambda genotype: genotype)
        self._eta = eta
        self.fidelities = tuple(float(eta) ** -rung for rung in reversed(range(rungs)))
        self._rungs: list[dict[object, Outcome]] = [{} for _ in self.fidelities]
        self._promoted: list[set[object]] = [set() for _ in self.fidelities]
        self._ranked: list[list[object] | None] = [None for _ in self.fidelities]
        for outcome in history:
            self._add_to_rung(len(self.fidelities) - 1, outcome)

    def ask(self) -> Genotype:
        return self._inner.ask()

    def tell(self, outcome: Outcome) -> None:
        self.tell_with_fidelity(outcome, 1.0)

    def ask_with_fidelity(self) -> Suggestion:
        """A promotion, from the highest rung that has one; else a new genotype for the lowest."""
        for rung in reversed(range(len(self.fidelities) - 1)):
            for key in self._best(rung):
                if key not in self._promoted[rung] and key not in self._rungs[rung + 1]:
                    self._promoted[rung].add(key)
                    return Suggestion(self._rungs[rung][key].genotype, self.fidelities[rung + 1])
        return Suggestion(self._inner.ask(), self.fidelities[0])

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        """The outcome of a training at that fidelity. Raises ``ValueError`` for a fidelity that no rung has."""
        matching_rungs = [rung for rung, own in enumerate(self.fidelities) if isclose(own, fidelity, rel_tol=1e-6)]
        if not matching_rungs:
            rungs = ", ".join(f"{own:.4g}" for own in self.fidelities)
            raise ValueError(f"no rung trains at a fidelity of {fidelity!r}; the rungs' fidelities: {rungs}")
        rung = matching_rungs[0]
        key = self._network_key(outcome.genotype)
        promoted = any(key in below for below in self._rungs[:rung])
        self._add_to_rung(rung, outcome)
        if not promoted:
            self._inner.tell(outcome)

    def _add_to_rung(self, rung: int, outcome: Outcome) -> None:
        if outcome.constraint_violation <= 0:
            self._rungs[rung][self._network_key(outcome.genotype)] = outcome
            self._ranked[rung] = None

    def _best(self, rung: int) -> list[object]:
        """The keys of the best 1 / eta of a rung, best first, without failures."""
        ranked = self._ranked[rung]
        if ranked is None:
            entries = list(self._rungs[rung].items())
            order = _ranking([outcome for _, outcome in entries])[: len(entries) // self._eta]
            ranked = [entries[i][0] for i in order if all(map(isfinite, entries[i][1].losses))]
            self._ranked[rung] = ranked
        return ranked


def _ranking(outcomes: Sequence[Outcome]) -> list[int]:
    """Indices from the best to the worst: by front, and within one by the room around; the earlier of equals first."""
    if outcomes and len(outcomes[0].losses) == 1:  # a rung holds only what keeps the limits
        return sorted(range(len(outcomes)), key=lambda i: outcomes[i].losses[0])
    return [point.index for point in crowded_ranking(outcomes)]
