"""What a search tells of its progress, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from nas.candidates.candidate import Candidate
from nas.candidates.fidelity import exact
from nas.candidates.metrics import METRICS, metric_row
from nas.candidates.objectives import Objective


class Reporter(Protocol):
    """Told of the search's progress."""

    def phase(self, name: str, total: int) -> None: ...

    def advance(self, note: str = "") -> None: ...


class Silent:
    """Reports nothing."""

    def phase(self, name: str, total: int) -> None:
        """Nothing to show."""

    def advance(self, note: str = "") -> None:
        """Nothing to show."""


class TrainingProgress:
    """One phase of trainings, counted in full ones: nine trainings for a ninth are a step. The note is the best yet."""

    def __init__(self, reporter: Reporter, objectives: Sequence[Objective], total: int) -> None:
        reporter.phase("training", total)
        self._reporter = reporter
        self._quality = next((o.metric for o in objectives if metric_row(o.metric).origin == "quality"), "")
        self._best = 0.0
        self._any_in_full = False
        self._done = Fraction(0)

    def advance(self, candidate: Candidate, counts: bool = True) -> None:
        """A candidate was trained, or known already; ``counts`` says whether as progress."""
        self._any_in_full |= candidate.status == "trained"
        self._best = max(self._best, candidate.metrics.get(self._quality, 0.0))
        if not counts:
            return
        before = int(self._done)
        self._done += exact(candidate.share)
        for _ in range(int(self._done) - before):
            self._reporter.advance(self._note(candidate))

    def _note(self, candidate: Candidate) -> str:
        if not self._quality:
            return ""
        if candidate.share < 1 and not self._any_in_full:
            return "none trained in full yet"
        return f"best {METRICS[self._quality].label} {self._best:.3f}"
