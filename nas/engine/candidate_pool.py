"""The candidates of a search: what was drawn, and what of it is known before anything is paid for."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import NamedTuple

from evaluators.zero_cost.scores import make_score
from nas.candidates.candidate import Candidate, Measurement, Status
from nas.candidates.metrics import metric_row
from nas.engine.problem import Problem
from nas.engine.quality_predictor import ExpectedQuality
from nas.engine.result import Tally
from nas.hashing.deduplicate import Recogniser
from nas.searchers.protocol import Free, Outcome
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

PATIENCE = 2000
"""A searcher that finds nothing new in this many draws has seen the space, or never will."""


class _Looked(NamedTuple):
    """A genotype that was looked at, and what of it a device cannot run."""

    candidate: Candidate
    unsupported: tuple[str, ...]
    free: Free


class Draws:
    """Distinct networks by key, numbered as they are drawn, and the last outcome of each; all of it is free.

    ``expectation`` of a quality, where there is one, stands for the zero-cost score. ``fruitless`` counts draws since
    the last new network. ``tally`` counts what happens.
    """

    def __init__(self, problem: Problem, recogniser: Recogniser, tally: Tally) -> None:
        self.candidates: dict[str, Candidate] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.expectation: ExpectedQuality | None = None
        self.fruitless = 0
        self._problem = problem
        self._recogniser = recogniser
        self._tally = tally
        self._looked: dict[str, _Looked] = {}
        self._score = problem.score or make_score("entropy")
        self._score_space: Space | None = None
        if self._score.proxy:
            accepted = {o: v for o, v in self._score.proxy.items() if problem.space.accepts(o)}
            self._score_space = problem.space.with_options(**accepted)

    def out(self, count: int) -> bool:
        """Whether there are enough distinct candidates, or none left to be found."""
        return len(self.candidates) >= count or self.fruitless >= PATIENCE

    def key_of(self, genotype: Genotype) -> str:
        """The name of a genotype's network."""
        return self._recogniser.name(genotype)

    def draw(self, genotype: Genotype) -> tuple[Candidate | None, Outcome]:
        """A new candidate, costed and scored, or ``None`` where its network is known already."""
        key = self.key_of(genotype)
        known = self.outcomes.get(key)
        if known is not None:
            self.fruitless += 1
            self._tally.duplicates += 1
            return None, replace(known, genotype=genotype)
        self.fruitless = 0
        candidate = replace(self._judged(genotype, key).candidate, number=len(self.candidates))
        if candidate.genotype != genotype:  # another way to write it was looked at first
            candidate = replace(candidate, genotype=genotype, architecture=self._problem.space.format(genotype))
        outcome = Outcome(genotype, self.expected_losses(candidate), candidate.excess)
        self._tally.scored += 1
        self._tally.unsupported += bool(self._judged(genotype, key).unsupported)
        self._tally.infeasible += candidate.status == "infeasible"
        self.outcomes[key] = outcome
        self.candidates[key] = candidate
        return candidate, outcome

    def look(self, genotype: Genotype) -> Free:
        """What is free of a genotype: its predicted cost, its score, what its graph counts, and its key."""
        return self._judged(genotype, self.key_of(genotype)).free

    def forget_looks(self) -> None:
        """What is expected of a genotype is no longer what it was."""
        self._looked.clear()

    def expected_losses(self, candidate: Candidate) -> tuple[float, ...]:
        """Losses with the expected quality, or the zero-cost score where nothing is expected yet."""
        expected = {} if self.expectation is None else self.expectation.of(candidate)
        return self._problem.losses({**candidate.metrics, **expected})

    def scored(self, graph: Graph, genotype: Genotype) -> float:
        """The zero-cost score of a candidate, built at the scale that the score asks for."""
        return self._score.score(graph if self._score_space is None else self._score_space.graph(genotype))

    def _judged(self, genotype: Genotype, key: str) -> _Looked:
        """Predicted cost, limits and zero-cost score of a candidate, numbered -1."""
        found = self._looked.get(key)
        if found is None:
            found = self._judge(genotype, key)
            remember(self._looked, key, found)
        return found

    def _judge(self, genotype: Genotype, key: str) -> _Looked:
        problem = self._problem
        graph = problem.space.graph(genotype)
        measurements, unsupported = problem.judged(graph)
        values = {name: m.value for name, m in measurements.items()}
        excess, reason = problem.verdict(values, unsupported)
        status: Status = "infeasible" if excess > 0 else "scored"
        scored = self.scored(graph, genotype)
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
            excess=excess,
            _space=problem.space,
        )
        losses: tuple[float | None, ...]
        if problem.score is None:
            losses = tuple(o.loss(values) if o.metric in values else None for o in problem.objectives)
        else:
            losses = self.expected_losses(candidate)
        costs = [log(max(v, 1e-9)) for name, v in values.items() if metric_row(name).origin == "hardware"]
        return _Looked(candidate, unsupported, Free(key, (*graph_features(graph), scored, *costs), losses, excess))
