"""A search without a zero-cost score: every candidate within the limits is trained, for as long as the searcher says.

``in_flight`` candidates are trained at a time, and what became of them is told in the order in which they were drawn:
the same draws whether trainings are shared or not, and however many workers there are.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from fractions import Fraction

from nas.candidates.candidate import Candidate
from nas.candidates.fidelity import exact_fraction
from nas.candidates.metrics import quality_names
from nas.engine.candidate_pool import PATIENCE
from nas.engine.progress import TrainingProgress
from nas.engine.strategies.strategy import SearchContext
from nas.engine.training_jobs import PendingTraining, Request
from nas.searchers.multi_fidelity import Suggestion, as_multi_fidelity
from nas.searchers.protocol import Outcome

_TRAINED = ("trained", "stopped", "failed")
_NetworkFidelity = tuple[str, float]
"""A network, and the fidelity that it is trained at."""


class TrainEveryCandidate:
    """Trains what a searcher asks for until the budget of ``train`` full trainings is spent.

    A training at fidelity f costs f of the budget; what costs more than is left is passed over. Once ``trials``
    distinct networks were drawn, or no new ones are found, only promotions to a longer training go on. Networks that
    were not trained in full are recorded at the end, as stopped.
    """

    def __init__(self, context: SearchContext) -> None:
        self._state = context.state
        self._problem = context.state.problem
        self._candidate_pool = context.state.candidate_pool
        self._searcher = as_multi_fidelity(context.searcher)
        self._trainings = context.required_trainings("train_every_candidate")
        self._feedback = context.feedback
        self._reporter = context.reporter
        self._trainings_are_shared = context.trainings_are_shared
        self._remaining_budget = Fraction(self._problem.settings.train)
        # The ordinals of the trainings whose mean is a network's quality
        self._repeat_windows: dict[_NetworkFidelity, range] = {}
        self._unaffordable: set[str] = set()  # keys of networks whose promotion cost more than was left
        self._unrecorded: dict[str, Candidate] = {}
        self._revisit_rng = random.Random(f"{self._problem.settings.seed}:forget")
        self._skipped_in_a_row = 0
        self._awaits_outcome = False  # whether the searcher is asked again only after the next outcome

    def run(self) -> None:
        """Train and tell until nothing more can be afforded, then measure the best where a device does."""
        settings = self._problem.settings
        self._train_all(
            TrainingProgress(self._reporter, self._problem.objectives, self._problem.metrics, settings.train)
        )
        for candidate in self._unrecorded.values():  # a study's trials never change: what may change comes last
            self._state.record(self._with_stop_reason(candidate))
        self._feedback.verify(self._candidate_pool.candidates.values(), settings.verify_count)

    def _train_all(self, progress: TrainingProgress) -> None:
        """Keep ``in_flight`` trainings running and tell their outcomes in order, until the searcher gets nothing."""
        pending: deque[tuple[Suggestion, PendingTraining]] = deque()
        while True:
            if len(pending) < self._problem.settings.in_flight and self._can_ask():
                suggestion = self._searcher.ask_with_fidelity()
                request = self._request(suggestion)
                if request is not None:
                    self._remaining_budget -= request.new_repeats * exact_fraction(suggestion.fidelity)
                    pending.append((suggestion, self._trainings.start(request)))
                continue
            if not pending:
                return
            suggestion, pending_training = pending.popleft()
            candidate = self._trainings.finish(pending_training)
            progress.advance(candidate, pending_training.request.counts_as_progress)
            self._searcher.tell_with_fidelity(self._outcome_of(candidate, suggestion.fidelity), suggestion.fidelity)
            self._awaits_outcome = False

    def _can_ask(self) -> bool:
        fidelities = self._searcher.fidelities
        promotes = len(fidelities) > 1
        return (
            not self._awaits_outcome
            and self._remaining_budget >= exact_fraction(fidelities[0])
            and (promotes or not self._candidate_pool.exhausted(self._problem.settings.trials))
        )

    def _request(self, suggestion: Suggestion) -> Request | None:
        """The training that a suggestion asks for; ``None`` where nothing is trained.

        Nothing is trained where the network is over a limit, of which the searcher is told at once; where the training
        costs more than is left; and where the network is new but ``trials`` networks were drawn already.
        """
        genotype, fidelity = suggestion
        key = self._candidate_pool.estimator.network_key(genotype)
        if exact_fraction(fidelity) > self._remaining_budget:
            self._unaffordable.add(key)
            self._skipped_in_a_row += 1
            self._awaits_outcome = self._skipped_in_a_row >= PATIENCE
            return None
        candidate = self._candidate_pool.candidates.get(key)
        if candidate is None or (key, fidelity) in self._repeat_windows or candidate.constraint_violation > 0:
            if self._candidate_pool.exhausted(self._problem.settings.trials):
                self._awaits_outcome = True
                return None
            new_candidate, outcome = self._candidate_pool.add_genotype(genotype)
            if outcome.constraint_violation > 0:
                if new_candidate is not None:
                    self._state.record(new_candidate)
                self._searcher.tell_with_fidelity(outcome, fidelity)
                return None
            candidate = self._candidate_pool.candidates[key]
        window, new_repeats = self._next_window((key, fidelity))
        architecture = self._problem.space.format(genotype)
        return Request(replace(candidate, genotype=genotype, architecture=architecture), window, new_repeats, fidelity)

    def _next_window(self, entry: _NetworkFidelity) -> tuple[range, int]:
        """Which of a network's trainings its quality is the mean of now, and how many of them the budget pays for."""
        settings = self._problem.settings
        window = self._repeat_windows.get(entry, range(0))
        if (
            len(window) == settings.repeats
            and settings.revisit_probability
            and self._revisit_rng.random() < settings.revisit_probability
        ):
            window = range(window.stop, window.stop)
        extended_window = range(window.start, min(window.stop + 1, window.start + settings.repeats))
        self._repeat_windows[entry] = extended_window
        return extended_window, len(extended_window) - len(window) if self._trainings_are_shared else len(
            extended_window
        )

    def _outcome_of(self, candidate: Candidate, fidelity: float) -> Outcome:
        """What a finished training means to the searcher; the candidate is kept, and recorded where it is final."""
        problem = self._problem
        losses = tuple(float("inf") for _ in problem.objectives)
        if candidate.status != "failed":
            losses = problem.losses(candidate.metrics_at_fidelity(fidelity))
        key = candidate.key
        self._candidate_pool.outcomes[key] = outcome = Outcome(
            candidate.genotype, losses, candidate.constraint_violation
        )
        previous = self._candidate_pool.candidates[key]
        candidate = replace(
            candidate, number=previous.number, genotype=previous.genotype, architecture=previous.architecture
        )
        if (
            previous.status in _TRAINED or previous.was_trained
        ) and previous.fidelity > fidelity:  # suggested again at a lower fidelity
            candidate = replace(previous, measurements={**previous.measurements, **candidate.measurements})
        self._candidate_pool.candidates[key] = self._unrecorded[key] = candidate
        final = candidate.was_trained and problem.settings.repeats == 1
        if final or candidate.status == "failed":
            self._state.record(self._unrecorded.pop(key))
        return outcome

    def _with_stop_reason(self, candidate: Candidate) -> Candidate:
        """A stopped candidate with what it was trained for, and why for no longer."""
        if candidate.status != "stopped":
            return candidate
        metrics = candidate.metrics_at_fidelity(candidate.fidelity)
        qualities = [
            name
            for name in quality_names(self._problem.metrics)
            if name in metrics and not self._problem.metrics[name].detail
        ]
        figures = ", ".join(f"{name} {metrics[name]:.3f}" for name in qualities)
        promotion_text = (
            "promoted, but no budget was left for that" if candidate.key in self._unaffordable else "not promoted"
        )
        return replace(
            candidate,
            reason=f"trained for {exact_fraction(candidate.fidelity)} of the steps: {figures}; {promotion_text}",
        )
