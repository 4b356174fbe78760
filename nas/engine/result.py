"""The result of a search: candidates, their Pareto front, and counts of what the search did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.evaluator import QualityMetric
from nas.candidates.candidate import Candidate
from nas.candidates.constraints import Limit
from nas.candidates.metrics import METRICS, MetricTable, search_metrics
from nas.candidates.objectives import Objective
from nas.candidates.pareto import non_dominated_indices
from nas.candidates.verified import VerifiedCandidate, verification_scores
from nas.study.artifacts import ArtifactError, WeightStore, artifact_metadata
from nas.study.load import StoredStudy
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import pandas as pd

    from search_spaces.pytorch.module import GraphModule


GRAPH_ENTRY = "graph"
"""The entry of a weights file with the network that was trained, as JSON."""
METRICS_NOTE = "metrics"
"""The note in which a study keeps what its evaluator declares."""


def stored_metrics(study: StoredStudy) -> MetricTable:
    """The metrics that a stored study's search had."""
    declared = [QualityMetric(metric, **row) for metric, row in study.notes(METRICS_NOTE).get("", {}).items()]
    return search_metrics(declared) if declared else METRICS


@dataclass
class Tally:
    """What a search did: candidates costed, repeated draws that were not, trainings, and seconds in all.

    ``resumed`` counts trainings that an earlier run of the same search had done. Of the others, ``misses`` were
    trained now, ``full_hits`` came from this search's own results or the evaluation cache, ``in_flight_hits`` were
    being trained for another candidate or by another search, ``partial_hits`` had some repeats trained before and some
    now; ``saved_seconds`` is what the hits took when they were trained. ``short`` of those trained now were at a
    fidelity below 1. ``unsupported`` of the infeasible have operations that a device cannot run. ``collisions`` are
    different networks whose keys met; ``undecided`` are networks of which it was not found out whether another of their
    key is the same, so that they share no result.
    """

    scored: int = 0
    duplicates: int = 0
    infeasible: int = 0
    unsupported: int = 0
    trained: int = 0
    failed: int = 0
    resumed: int = 0
    full_hits: int = 0
    partial_hits: int = 0
    in_flight_hits: int = 0
    misses: int = 0
    short: int = 0
    collisions: int = 0
    undecided: int = 0
    hash_seconds: float = 0.0
    saved_seconds: float = 0.0
    seconds: float = 0.0


def pareto_front(
    candidates: Iterable[Candidate], objectives: Sequence[Objective], *, trained: bool
) -> tuple[Candidate, ...]:
    """Finished candidates that no other dominates, best first objective first.

    Finished are the trained ones, or, in a search that trains none, the scored ones.
    """
    finished = "trained" if trained else "scored"
    eligible = [c for c in candidates if c.status == finished]
    losses = [tuple(o.loss(c.metrics) for o in objectives) for c in eligible]
    return tuple(eligible[i] for i in sorted(non_dominated_indices(losses), key=lambda i: losses[i]))


@dataclass(frozen=True)
class SearchResult:
    """A finished search. ``references`` are the space's published networks, trained in the same way.

    ``verified`` are the candidates that were measured on a real device, in that order. ``baselines`` are rows of
    ``nas.candidates.published_baselines.baselines``: published networks predicted on the same hardware, not trained.
    ``metrics``: what candidates have figures of. ``reference_spaces``: the references' own spaces, by name.
    """

    study: str
    directory: Path
    settings: dict[str, Any]
    space: Space
    metrics: MetricTable = field(repr=False)
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...]
    candidates: tuple[Candidate, ...]
    references: tuple[Candidate, ...]
    reference_spaces: Mapping[str, Space] = field(repr=False, compare=False)
    proxy: str
    tally: Tally
    verified: tuple[VerifiedCandidate, ...] = ()
    baselines: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    @cached_property
    def front(self) -> tuple[Candidate, ...]:
        """Distinct networks within the limits that no other dominates, best first objective first."""
        return pareto_front(self.candidates, self.objectives, trained=bool(self.proxy))

    @cached_property
    def nearest_miss(self) -> Candidate | None:
        """Where the limits leave nothing on the front, the candidate that breaks them least; ``None`` elsewhere.

        Where some candidates keep the limits on cost, but none that was trained keeps those on quality, a trained one.
        """
        if self.front:
            return None
        over = [c for c in self.candidates if c.status == "infeasible"]
        if len(over) < len(self.candidates):
            over = [c for c in over if c.was_trained]
        return min(over, key=lambda c: c.constraint_violation, default=None)

    def graph(self, candidate: Candidate) -> Graph:
        """The network of a candidate or a reference in normal form, as it would be deployed."""
        space = self.reference_spaces[candidate.reference] if candidate.reference else self.space
        return space.graph(candidate.genotype)

    def weights(self, candidate: Candidate) -> Path | None:
        """The file of a candidate's trained weights (``trained_module`` reads it); ``None`` where none were kept."""
        return WeightStore(self.directory, 0).path(candidate.key)

    def trained_module(self, candidate: Candidate) -> GraphModule:
        """A candidate's network at the scale it was trained at, with its trained weights.

        Raises ``ArtifactError`` where none were kept, ``WeightsFileError`` where they are no weights of the network.
        """
        from search_spaces.pytorch.weights import load_weights  # torch, only when it is used

        path = self.weights(candidate)
        if path is None:
            raise ArtifactError(
                f"no trained weights of candidate {candidate.number} were kept: it was not trained in this study, or"
                " keep_weights_mib left no room"
            )
        return load_weights(graph_from_json(artifact_metadata(path)[GRAPH_ENTRY]), path)

    def to_frame(self) -> pd.DataFrame:
        """One row a candidate, references last: number, status, figures, architecture, key, reason."""
        import pandas as pd

        best = {c.key for c in self.front}
        rows = [
            {
                "number": c.number,
                "status": c.status,
                "front": c.key in best and not c.reference,
                **c.metrics,
                "architecture": c.architecture,
                "reference": c.reference,
                "key": c.key,
                "reason": c.reason,
            }
            for c in (*self.candidates, *self.references)
        ]
        return pd.DataFrame(rows)

    def to_document(self) -> dict[str, Any]:
        """The result as JSON-able data: settings, tally, the front and the references whole, and counts."""
        return {
            "study": self.study,
            "directory": str(self.directory),
            "settings": self.settings,
            "proxy": self.proxy,
            "tally": asdict(self.tally),
            "objectives": [f"{o.metric}:{o.direction}" for o in self.objectives],
            "limits": [str(limit) for limit in self.limits],
            "front": [c.to_document() for c in self.front],
            "references": [c.to_document() for c in self.references],
            "verified": [v.to_document() for v in self.verified],
            "verification": verification_scores(self.verified),
            "baselines": [dict(row) for row in self.baselines],
        }
