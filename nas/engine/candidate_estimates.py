"""Estimates of a genotype before anything is trained: predicted cost, limits, zero-cost score, expected losses."""

from __future__ import annotations

from math import log
from typing import NamedTuple

from evaluators.zero_cost.scores import make_score
from nas.candidates.candidate import Candidate, Measurement, Status
from nas.candidates.metrics import metric_row
from nas.engine.problem import SearchProblem
from nas.engine.quality_predictor import QualityPredictor
from nas.hashing.deduplicate import Deduplicator
from nas.searchers.protocol import KnownFeatures
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


class CandidateEstimate(NamedTuple):
    """A genotype as a candidate numbered -1, what of it a device cannot run, and what a searcher may know of it."""

    candidate: Candidate
    unsupported: tuple[str, ...]
    known_features: KnownFeatures


class CandidateEstimator:
    """Estimates of a search's genotypes, one a network, kept until ``clear``.

    ``quality_predictor``, once there is one, predicts the quality that the zero-cost score stands in for until then.
    """

    def __init__(self, problem: SearchProblem, deduplicator: Deduplicator) -> None:
        self.quality_predictor: QualityPredictor | None = None
        self._problem = problem
        self._deduplicator = deduplicator
        self._estimates: dict[str, CandidateEstimate] = {}
        self._score = problem.score or make_score("entropy")
        self._score_space: Space | None = None
        if self._score.proxy:
            accepted = {o: v for o, v in self._score.proxy.items() if problem.space.accepts(o)}
            self._score_space = problem.space.with_options(**accepted)

    def network_key(self, genotype: Genotype) -> str:
        """The key of a genotype's network, equal for genotypes that are one network."""
        return self._deduplicator.network_key(genotype)

    def featurize(self, genotype: Genotype) -> KnownFeatures:
        """What searchers may know of a genotype without paying: key, predicted cost, score, counts of its graph."""
        return self.estimate(genotype, self.network_key(genotype)).known_features

    def estimate(self, genotype: Genotype, key: str) -> CandidateEstimate:
        """The estimate of a genotype whose network has this key."""
        estimate = self._estimates.get(key)
        if estimate is None:
            estimate = self._compute(genotype, key)
            memo_put(self._estimates, key, estimate)
        return estimate

    def clear(self) -> None:
        """Forget all estimates: the hardware model or the quality predictor changed."""
        self._estimates.clear()

    def expected_losses(self, candidate: Candidate) -> tuple[float, ...]:
        """Losses with the predicted quality, or with the zero-cost score while nothing predicts one."""
        predictions = {} if self.quality_predictor is None else self.quality_predictor.predict(candidate)
        return self._problem.losses({**candidate.metrics, **predictions})

    def zero_cost_score(self, graph: Graph, genotype: Genotype) -> float:
        """The zero-cost score of a candidate, built at the scale that the score asks for."""
        return self._score.score(graph if self._score_space is None else self._score_space.graph(genotype))

    def _compute(self, genotype: Genotype, key: str) -> CandidateEstimate:
        problem = self._problem
        graph = problem.space.graph(genotype)
        measurements, unsupported = problem.estimate_metrics(graph)
        values = {name: m.value for name, m in measurements.items()}
        constraint_violation, reason = problem.constraint_violation(values, unsupported)
        status: Status = "infeasible" if constraint_violation > 0 else "scored"
        zero_cost_score = self.zero_cost_score(graph, genotype)
        if problem.score is not None:
            measurements["score"] = Measurement(zero_cost_score, f"score:{problem.score.name}")
        candidate = Candidate(
            number=-1,
            key=key,
            architecture=problem.space.format(genotype),
            genotype=genotype,
            measurements=measurements,
            status=status,
            reason=reason,
            constraint_violation=constraint_violation,
        )
        losses: tuple[float | None, ...]
        if problem.score is None:
            losses = tuple(o.loss(values) if o.metric in values else None for o in problem.objectives)
        else:
            losses = self.expected_losses(candidate)
        costs = [
            log(max(v, 1e-9)) for name, v in values.items() if metric_row(name, problem.metrics).origin == "hardware"
        ]
        features = (*graph_features(graph), zero_cost_score, *costs)
        return CandidateEstimate(candidate, unsupported, KnownFeatures(key, features, losses, constraint_violation))
