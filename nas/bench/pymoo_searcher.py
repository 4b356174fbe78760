"""pymoo's genetic algorithms as searchers: option numbers as rounded integers, or choices as such."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.protocol import Outcome
from search_spaces.registry import unknown_name
from search_spaces.space.genotype import Genotype

FAILED_LOSS = 1e9
"""Stands for a loss that is not finite: pymoo sorts by differences of losses."""


class PymooSearcher:
    """Asks and tells a generation at a time.

    ``algorithm``: ``integers`` or ``mixed``. Asked for more while a generation is in flight, or when the algorithm
    proposes no new vector, it returns random genotypes, whose outcomes the algorithm never sees; nor does it see
    outcomes of genotypes that it did not propose, such as those of ``history``.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        algorithm: str = "integers",
        population: int = 20,
        objectives: int = 1,
    ) -> None:
        self._space = space
        self._rng = rng
        self._decisions = space.decisions()
        makers = {"integers": _integers, "mixed": _mixed}
        if algorithm not in makers:
            raise unknown_name("algorithm of pymoo", algorithm, list(makers))
        self._algorithm, self._problem = makers[algorithm](
            [len(options) for options in self._decisions.values()], population, objectives, rng.getrandbits(31)
        )
        self._queue: deque[int] = deque()
        self._pending: dict[Genotype, deque[int]] = {}
        self._generation: Any = ()
        self._losses: list[tuple[float, ...] | None] = []

    def ask(self) -> Genotype:
        if not self._queue and all(losses is not None for losses in self._losses):
            self._next_generation()
        if not self._queue:
            return self._space.sample(self._rng)
        index = self._queue.popleft()
        genotype = self._genotype(self._generation[index].X)
        self._pending.setdefault(genotype, deque()).append(index)
        return genotype

    def _next_generation(self) -> None:
        if len(self._losses):
            self._algorithm.tell(infills=self._generation)
        self._generation = self._algorithm.ask() if self._algorithm.has_next() else ()
        self._generation = () if self._generation is None else self._generation
        self._losses = [None] * len(self._generation)
        self._queue.extend(range(len(self._generation)))

    def _genotype(self, vector: Any) -> Genotype:
        """The genotype of a vector; entries of choices that the network does not make have no effect."""
        option_numbers = [vector[name] for name in self._names()] if isinstance(vector, dict) else vector
        decisions = {
            name: options[int(index)]
            for (name, options), index in zip(self._decisions.items(), option_numbers, strict=True)
        }
        return self._space.complete(decisions, self._rng)

    def _names(self) -> list[str]:
        return [f"x{i}" for i in range(len(self._decisions))]

    def tell(self, outcome: Outcome) -> None:
        pending = self._pending.get(outcome.genotype)
        if not pending:
            return
        index = pending.popleft()
        losses = tuple(loss if isfinite(loss) else FAILED_LOSS for loss in outcome.losses)
        self._losses[index] = losses
        self._generation[index].set("F", np.array(losses))
        self._generation[index].evaluated.add("F")


def _integers(counts: list[int], population: int, objectives: int, seed: int) -> tuple[Any, Any]:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    problem = Problem(n_var=len(counts), n_obj=objectives, xl=0, xu=np.array(counts) - 1, vtype=int)
    algorithm = (GA if objectives == 1 else NSGA2)(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    return algorithm, problem


def _mixed(counts: list[int], population: int, objectives: int, seed: int) -> tuple[Any, Any]:
    from pymoo.core.mixed import MixedVariableGA
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.core.variable import Choice
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    variables = {f"x{i}": Choice(options=list(range(count))) for i, count in enumerate(counts)}
    problem = Problem(vars=variables, n_obj=objectives)
    survival = {} if objectives == 1 else {"survival": RankAndCrowding()}
    algorithm = MixedVariableGA(pop_size=population, **survival)
    algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    return algorithm, problem
