"""The distinct networks that a search has drawn, and the last outcome of each."""

from __future__ import annotations

from dataclasses import replace

from nas.candidates.candidate import Candidate
from nas.engine.candidate_estimates import CandidateEstimator
from nas.engine.problem import SearchProblem
from nas.engine.result import Tally
from nas.searchers.protocol import Outcome
from search_spaces.space.genotype import Genotype

PATIENCE = 2000
"""Draws without a new network after which a searcher has seen the space, or never will see all of it."""


class CandidatePool:
    """Distinct networks by key, numbered as they are drawn, and the last outcome of each; nothing in it is trained.

    ``consecutive_duplicates`` counts draws since the last new network. ``tally`` counts what happens.
    """

    def __init__(self, problem: SearchProblem, estimator: CandidateEstimator, tally: Tally) -> None:
        self.candidates: dict[str, Candidate] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.consecutive_duplicates = 0
        self.estimator = estimator
        self._problem = problem
        self._tally = tally

    def exhausted(self, count: int) -> bool:
        """Whether there are ``count`` distinct candidates, or no new ones to be drawn."""
        return len(self.candidates) >= count or self.consecutive_duplicates >= PATIENCE

    def add_genotype(self, genotype: Genotype) -> tuple[Candidate | None, Outcome]:
        """A new candidate, costed and scored, or ``None`` where the pool has its network; and its outcome."""
        key = self.estimator.network_key(genotype)
        previous_outcome = self.outcomes.get(key)
        if previous_outcome is not None:
            self.consecutive_duplicates += 1
            self._tally.duplicates += 1
            return None, replace(previous_outcome, genotype=genotype)
        self.consecutive_duplicates = 0
        candidate = replace(self.estimator.estimate(genotype, key).candidate, number=len(self.candidates))
        if candidate.genotype != genotype:  # the estimate was made of another genotype of the same network
            candidate = replace(candidate, genotype=genotype, architecture=self._problem.space.format(genotype))
        outcome = Outcome(genotype, self.estimator.expected_losses(candidate), candidate.constraint_violation)
        self._tally.scored += 1
        self._tally.unsupported += bool(self.estimator.estimate(genotype, key).unsupported)
        self._tally.infeasible += candidate.status == "infeasible"
        self.outcomes[key] = outcome
        self.candidates[key] = candidate
        return candidate, outcome
