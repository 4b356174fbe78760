"""The published networks of a search's space, trained in the same way as its candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nas.candidates.candidate import Candidate, Measurement
from nas.engine.candidate_estimates import CandidateEstimator
from nas.engine.problem import SearchProblem
from nas.hashing import functional_hash
from nas.hashing.canonical import canonical
from nas.hashing.deduplicate import Deduplicator
from nas.hashing.equivalence import DEFAULT
from search_spaces.catalog import network_space
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space
from search_spaces.task_heads import space_for_task

_DEPLOYMENT_OPTIONS = ("num_classes", "image_size", "task")


class ReferenceNetworks:
    """The published networks of one search's space, as candidates and as graphs to train."""

    def __init__(self, problem: SearchProblem, deduplicator: Deduplicator) -> None:
        self._problem = problem
        self._deduplicator = deduplicator

    def candidates(self) -> list[Candidate]:
        """The published networks of this space, predicted but not trained, numbered -1 and down."""
        names = [name for name, row in networks().items() if row.space == self._problem.settings.space]
        return [self._candidate(-1 - index, name) for index, name in enumerate(names)]

    def _candidate(self, number: int, name: str) -> Candidate:
        problem = self._problem
        space, architecture = self._space_of(name, {})
        genotype = space.parse(architecture)
        graph = space.graph(genotype)
        measurements, unsupported = problem.estimate_metrics(graph)
        constraint_violation, _ = problem.constraint_violation(
            {metric: m.value for metric, m in measurements.items()}, unsupported
        )
        return Candidate(
            number=number,
            key=self._network_key(graph),
            architecture=architecture,
            genotype=genotype,
            measurements=measurements,
            status="scored",
            constraint_violation=constraint_violation,
            reference=name,
            _space=space,
        )

    def training_graph(self, candidate: Candidate) -> Graph:
        """The network to train, of a candidate or a published one: the one form of all that compute the same."""
        if candidate.reference:
            space, architecture = self._space_of(candidate.reference, self._problem.proxy)
            return canonical(space.graph(space.parse(architecture)))
        return canonical(self._problem.proxy_space.graph(candidate.genotype))

    def in_space(self, references: Iterable[Candidate], estimator: CandidateEstimator) -> list[Candidate]:
        """Those that were trained, keep the limits, and are networks of the space itself; with a zero-cost score."""
        problem = self._problem
        members = []
        for reference in references:
            if reference.status != "trained" or reference.constraint_violation != 0:
                continue
            try:
                graph = problem.space.graph(reference.genotype)
            except (GenotypeError, SpaceError):
                continue
            if self._network_key(graph) == reference.key:
                zero_cost_score = estimator.zero_cost_score(graph, reference.genotype)
                score = Measurement(zero_cost_score, f"score:{problem.settings.score}")
                members.append(replace(reference, measurements={**reference.measurements, "score": score}))
        return members

    def _space_of(self, name: str, proxy: Mapping[str, Any]) -> tuple[Space, str]:
        """The published network's own space, with the options of this search, and its architecture there."""
        deployment_options = {o: v for o, v in self._problem.space.options.items() if o in _DEPLOYMENT_OPTIONS}
        options = {**self._problem.settings.space_options, **deployment_options, **proxy}
        space, architecture = network_space(name, **options)
        task = self._problem.settings.task
        return (space_for_task(space, task) if task else space), architecture

    def _network_key(self, graph: Graph) -> str:
        """The key of a network that is no candidate."""
        return functional_hash(
            graph, rules=DEFAULT if self._deduplicator.uses_notation else self._problem.settings.rules
        )
