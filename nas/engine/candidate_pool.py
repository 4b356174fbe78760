"""The candidates of a search: what was drawn, and what of it is known before anything is paid for."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import NamedTuple

from evaluators.zero_cost.scores import make_score
from nas.candidates.candidate import Candidate, Measurement, Status
from nas.candidates.metrics import metric_row
from nas.engine.problem import SearchProblem
from nas.engine.quality_predictor import QualityPredictor
from nas.engine.result import Tally
from nas.hashing.deduplicate import Deduplicator
from nas.searchers.protocol import KnownFeatures, Outcome
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

PATIENCE = 2000
"""A searcher that finds nothing new in this many draws has seen the space, or never will."""


class CandidateEstimate(NamedTuple):
    """A genotype that was looked at, and what of it a device cannot run."""

    candidate: Candidate
    unsupported: tuple[str, ...]
    known_features: KnownFeatures


class CandidatePool:
    """Distinct networks by key, numbered as they are drawn, and the last outcome of each; all of it is free.

    ``quality_predictor`` of a quality, where there is one, stands for the zero-cost score. ``consecutive_duplicates`` counts draws since
    the last new network. ``tally`` counts what happens.
    """

    def __init__(self, problem: SearchProblem, deduplicator: Deduplicator, tally: Tally) -> None:
        self.candidates: dict[str, Candidate] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.quality_predictor: QualityPredictor | None = None
        self.consecutive_duplicates = 0
        self._problem = problem
        self._deduplicator = deduplicator
        self._tally = tally
        self._estimates: dict[str, CandidateEstimate] = {}
        self._score = problem.score or make_score("entropy")
        self._score_space: Space | None = None
        if self._score.proxy:
            accepted = {o: v for o, v in self._score.proxy.items() if problem.space.accepts(o)}
            self._score_space = problem.space.with_options(**accepted)

    def exhausted(self, count: int) -> bool:
        """Whether there are enough distinct candidates, or none left to be found."""
        return len(self.candidates) >= count or self.consecutive_duplicates >= PATIENCE

    def network_key(self, genotype: Genotype) -> str:
        """The name of a genotype's network."""
        return self._deduplicator.name(genotype)

    def add_genotype(self, genotype: Genotype) -> tuple[Candidate | None, Outcome]:
        """A new candidate, costed and scored, or ``None`` where its network is known already."""
        key = self.network_key(genotype)
        previous_outcome = self.outcomes.get(key)
        if previous_outcome is not None:
            self.consecutive_duplicates += 1
            self._tally.duplicates += 1
            return None, replace(previous_outcome, genotype=genotype)
        self.consecutive_duplicates = 0
        candidate = replace(self._estimate(genotype, key).candidate, number=len(self.candidates))
        if candidate.genotype != genotype:  # another way to write it was looked at first
            candidate = replace(candidate, genotype=genotype, architecture=self._problem.space.format(genotype))
        outcome = Outcome(genotype, self.expected_losses(candidate), candidate.constraint_violation)
        self._tally.scored += 1
        self._tally.unsupported += bool(self._estimate(genotype, key).unsupported)
        self._tally.infeasible += candidate.status == "infeasible"
        self.outcomes[key] = outcome
        self.candidates[key] = candidate
        return candidate, outcome

    def featurize(self, genotype: Genotype) -> KnownFeatures:
        """What is free of a genotype: its predicted cost, its score, what its graph counts, and its key."""
        return self._estimate(genotype, self.network_key(genotype)).known_features

    def clear_estimates(self) -> None:
        """What is expected of a genotype is no longer what it was."""
        self._estimates.clear()

    def expected_losses(self, candidate: Candidate) -> tuple[float, ...]:
        """Losses with the expected quality, or the zero-cost score where nothing is expected yet."""
        predictions = {} if self.quality_predictor is None else self.quality_predictor.predict(candidate)
        return self._problem.losses({**candidate.metrics, **predictions})

    def zero_cost_score(self, graph: Graph, genotype: Genotype) -> float:
        """The zero-cost score of a candidate, built at the scale that the score asks for."""
        return self._score.score(graph if self._score_space is None else self._score_space.graph(genotype))

    def _estimate(self, genotype: Genotype, key: str) -> CandidateEstimate:
        """Predicted cost, limits and zero-cost score of a candidate, numbered -1."""
        estimate = self._estimates.get(key)
        if estimate is None:
            estimate = self._compute_estimate(genotype, key)
            memo_put(self._estimates, key, estimate)
        return estimate

    def _compute_estimate(self, genotype: Genotype, key: str) -> CandidateEstimate:
        problem = self._problem
        graph = problem.space.graph(genotype)
        measurements, unsupported = problem.estimate_metrics(graph)
        values = {name: m.value for name, m in measurements.items()}
        constraint_violation, reason = problem.constraint_violation(values, unsupported)
        status: Status = "infeasible" if constraint_violation > 0 else "scored"
        scored = self.zero_cost_score(graph, genotype)
        if problem.score is not None:
            measurements["score"] = Measurement(scored, f"score:{problem.score.name}")
        candidate = Candidate(
            number=-1,
            key=key,
            architecture=problem.space.format(genotype),
            genotype=genotype,
            measurements=measurements,
            status=status,
            reason=reason,
            constraint_violation=constraint_violation,
            _space=problem.space,
        )
        losses: tuple[float | None, ...]
        if problem.score is None:
            losses = tuple(o.loss(values) if o.metric in values else None for o in problem.objectives)
        else:
            losses = self.expected_losses(candidate)
        costs = [log(max(v, 1e-9)) for name, v in values.items() if metric_row(name).origin == "hardware"]
        return CandidateEstimate(
            candidate,
            unsupported,
            KnownFeatures(key, (*graph_features(graph), scored, *costs), losses, constraint_violation),
        )
