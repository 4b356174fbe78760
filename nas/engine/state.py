"""What a search has so far: its candidates, its published networks, and where both are recorded."""

from __future__ import annotations

from dataclasses import asdict

from nas.candidates.candidate import Candidate
from nas.candidates.fidelity import fidelity_suffix
from nas.engine.candidate_pool import CandidatePool
from nas.engine.problem import SearchProblem
from nas.engine.result import GRAPH_ENTRY, Tally, pareto_front
from nas.execution.executor import TrainingResult
from nas.study.artifacts import WeightStore, keep_weights
from nas.study.study import Study
from search_spaces.graph.graph import Graph

EVALUATION_NOTE = "evaluation_"
"""Before a network's key and fidelity: the note on how its evaluation went."""


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

    @property
    def is_new(self) -> bool:
        """Whether no earlier run of the same search has evaluated a candidate."""
        return not any(c.train_seconds is not None or c.was_trained for c in self._study.recorded)

    def record(self, candidate: Candidate) -> None:
        """Add a finished candidate to the study, which never changes it afterwards, and keep it here."""
        self._study.add(candidate, {} if candidate.reference else self.problem.space.decisions())
        if candidate.reference:
            self.references.append(candidate)
        else:
            self.candidate_pool.candidates[candidate.key] = candidate

    def keep_weights(self, store: WeightStore, key: str, fidelity: float, content: bytes, graph: Graph) -> None:
        """Keep a network's trained weights beside the study, as far as the store's budget goes, the front's first.

        ``graph``: the network as it was trained, which goes into the file.
        """
        front = pareto_front(self.candidate_pool.candidates.values(), self.problem.objectives, trained=True)
        best = [c.key for c in front]
        keep_weights(self._study, store, key, fidelity, content, metadata={GRAPH_ENTRY: graph.to_json()}, best=best)

    def note_evaluation(self, key: str, fidelity: float, trained: TrainingResult) -> None:
        """Keep how an evaluation went beside the study: its learning curve, and what it cost."""
        document = {
            "curve": [[point.images, dict(point.metrics)] for point in trained.curve],
            "cost": {"seconds": trained.seconds, **{n: v for n, v in asdict(trained.cost).items() if v is not None}},
        }
        self._study.note(EVALUATION_NOTE + key + fidelity_suffix(fidelity), document)

    def recorded_candidate(self, candidate: Candidate) -> Candidate | None:
        """What an earlier run of the same search recorded of a candidate; ``None`` where it did not."""
        if candidate.reference:
            return self._recorded_references.get(candidate.reference)
        return self._recorded.get(candidate.key)
