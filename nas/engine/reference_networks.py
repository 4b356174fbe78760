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
from search_spaces.input_channels import space_for_channels
from search_spaces.published.networks import networks
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space
from search_spaces.task_heads import space_for_task

_DEPLOYMENT_OPTIONS = ("num_classes", "image_size", "image_channels", "task")


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
        )

    def graph(self, candidate: Candidate) -> Graph:
        """The network as it is deployed, of a candidate or a published one."""
        return self.space(candidate).graph(candidate.genotype)

    def space(self, candidate: Candidate) -> Space:
        """The space at deployment scale, of a candidate or a published network, which may have one of its own."""
        return self._space_of(candidate.reference, {})[0] if candidate.reference else self._problem.space

    def training_network(self, candidate: Candidate) -> tuple[Graph, Genotype, Space]:
        """The network to train, in the one form of all that compute the same; and what made it, at proxy scale."""
        if candidate.reference:
            space, architecture = self._space_of(candidate.reference, self._problem.proxy)
            genotype = space.parse(architecture)
        else:
            space, genotype = self._problem.proxy_space, candidate.genotype
        return canonical(space.graph(genotype)), genotype, space

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
        channels = options.pop("image_channels", None)
        space, architecture = network_space(name, **options)
        if self._problem.task:
            space = space_for_task(space, self._problem.task)
        return (space if channels is None else space_for_channels(space, channels)), architecture

    def _network_key(self, graph: Graph) -> str:
        """The key of a network that is no candidate."""
        return functional_hash(
            graph, rules=DEFAULT if self._deduplicator.uses_notation else self._problem.settings.rules
        )
