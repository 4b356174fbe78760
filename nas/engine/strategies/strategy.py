"""What the strategies of a search share: its candidates so far, its published networks, and where both are recorded."""

from __future__ import annotations

from typing import Protocol

from nas.candidates.candidate import Candidate
from nas.engine.candidate_pool import CandidatePool
from nas.engine.problem import SearchProblem
from nas.engine.result import Tally
from nas.study.study import Study


class Strategy(Protocol):
    """How a search spends its budget."""

    def run(self) -> None:
        """Propose, evaluate and record candidates until the budget is spent, or nothing new is to be had.

        Everything that is drawn follows from the seed, so that a resumed search draws it again.
        """
        ...


class SearchState:
    """The candidates of one search and its ``references``, the space's published networks trained beside them."""

    def __init__(self, problem: SearchProblem, candidate_pool: CandidatePool, study: Study, tally: Tally) -> None:
        self.problem = problem
        self.candidate_pool = candidate_pool
        self.tally = tally
        self.references: list[Candidate] = []
        self._study = study
        self._recorded = {c.key: c for c in study.recorded if not c.reference}
        self._recorded_references = {c.reference: c for c in study.recorded if c.reference}

    def record(self, candidate: Candidate) -> None:
        """Add a finished candidate to the study, which never changes it afterwards, and keep it here."""
        self._study.add(candidate, {} if candidate.reference else self.problem.space.decisions())
        if candidate.reference:
            self.references.append(candidate)
        else:
            self.candidate_pool.candidates[candidate.key] = candidate

    def recorded_candidate(self, candidate: Candidate) -> Candidate | None:
        """What an earlier run of the same search recorded of a candidate; ``None`` where it did not."""
        if candidate.reference:
            return self._recorded_references.get(candidate.reference)
        return self._recorded.get(candidate.key)
