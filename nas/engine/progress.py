"""Progress of a search: who is told of it, and how trainings at several fidelities are counted."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from nas.candidates.candidate import Candidate
from nas.candidates.fidelity import exact_fraction
from nas.candidates.metrics import MetricTable, metric_row
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

    def __init__(self, reporter: Reporter, objectives: Sequence[Objective], metrics: MetricTable, total: int) -> None:
        reporter.phase("training", total)
        self._reporter = reporter
        qualities = [o for o in objectives if metric_row(o.metric, metrics).origin == "quality"]
        self._quality = qualities[0] if qualities else None
        self._label = metrics[self._quality.metric].label if self._quality else ""
        self._best: float | None = None
        self._any_fully_trained = False
        self._done = Fraction(0)

    def advance(self, candidate: Candidate, counts_as_progress: bool = True) -> None:
        """A candidate was trained, now or before; a repeat that the budget did not pay for is no progress."""
        self._any_fully_trained |= candidate.status == "trained"
        self._note_best(candidate)
        if not counts_as_progress:
            return
        steps_before = int(self._done)
        self._done += exact_fraction(candidate.fidelity)
        for _ in range(int(self._done) - steps_before):
            self._reporter.advance(self._note(candidate))

    def _note_best(self, candidate: Candidate) -> None:
        if self._quality is None or self._quality.metric not in candidate.metrics:
            return
        value = candidate.metrics[self._quality.metric]
        choose_better = max if self._quality.direction == "maximize" else min
        self._best = value if self._best is None else choose_better(self._best, value)

    def _note(self, candidate: Candidate) -> str:
        if self._quality is None:
            return ""
        if candidate.fidelity < 1 and not self._any_fully_trained:
            return "none trained in full yet"
        return f"best {self._label} {0.0 if self._best is None else self._best:.3f}"
