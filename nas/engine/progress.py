"""Progress of a search: who is told of it, and how trainings at several fidelities are counted."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from nas.candidates.candidate import Candidate
from nas.candidates.fidelity import exact_fraction
from nas.candidates.metrics import METRICS, metric_row
from nas.candidates.objectives import Objective


class Reporter(Protocol):
    """Told of the search's progress."""

    def phase(self, name: str, total: int) -> None: ...

    def advance(self, note: str = "") -> None: ...


class SilentReporter:
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
        self._any_fully_trained = False
        self._done = Fraction(0)

    def advance(self, candidate: Candidate, counts_as_progress: bool = True) -> None:
        """A candidate was trained, now or before; a repeat that the budget did not pay for is no progress."""
        self._any_fully_trained |= candidate.status == "trained"
        self._best = max(self._best, candidate.metrics.get(self._quality, 0.0))
        if not counts_as_progress:
            return
        steps_before = int(self._done)
        self._done += exact_fraction(candidate.fidelity)
        for _ in range(int(self._done) - steps_before):
            self._reporter.advance(self._note(candidate))

    def _note(self, candidate: Candidate) -> str:
        if not self._quality:
            return ""
        if candidate.fidelity < 1 and not self._any_fully_trained:
            return "none trained in full yet"
        return f"best {METRICS[self._quality].label} {self._best:.3f}"
