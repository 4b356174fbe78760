"""A search without a zero-cost score: every candidate within the limits is trained, for as long as the searcher says.

``in_flight`` of them are trained at a time, and what became of them is told in the order in which they were drawn: the
same draws whether trainings are shared or not, and however many workers there are.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from nas.candidates.candidate import Candidate
from nas.candidates.fidelity import exact
from nas.candidates.metrics import METRICS
from nas.engine.candidate_pool import PATIENCE, Draws
from nas.engine.problem import Problem
from nas.engine.progress import Reporter, TrainingProgress
from nas.engine.training_jobs import Begun, Request, Trainings
from nas.searchers.multi_fidelity import Asked, ByShare
from nas.searchers.protocol import Outcome

_TRAINED = ("trained", "stopped", "failed")
_Entry = tuple[str, float]
"""A network and the share of the full training that it is trained for."""


class TrainAll:
    """Trains what a searcher asks for until the budget of ``train`` is spent: a training of share s costs s of it.

    What asks for more than is left is passed over. Once ``trials`` distinct networks were drawn, or no new ones are
    found, only those that move up to a longer training are trained. Networks that were not trained in full are
    recorded at the end, as stopped. ``shared``: whether trainings are shared through a cache.
    """

    def __init__(
        self,
        problem: Problem,
        draws: Draws,
        searcher: ByShare,
        trainings: Trainings,
        record: Callable[[Candidate], None],
        *,
        shared: bool,
    ) -> None:
        self._problem = problem
        self._draws = draws
        self._searcher = searcher
        self._trainings = trainings
        self._record = record
        self._shared = shared
        self._left = Fraction(problem.settings.train)
        self._windows: dict[_Entry, range] = {}  # the trainings that a network's quality is the mean of
        self._unpaid: set[str] = set()  # keys of networks that were to be trained for longer than was left
        self._unrecorded: dict[str, Candidate] = {}
        self._forgetting = random.Random(f"{problem.settings.seed}:forget")
        self._passed_over = 0
        self._waiting = False  # for an outcome, before the searcher is asked again

    def run(self, reporter: Reporter) -> None:
        """Train and tell, until nothing that is asked for can be had."""
        settings = self._problem.settings
        progress = TrainingProgress(reporter, self._problem.objectives, settings.train)
        begun: deque[tuple[Asked, Begun]] = deque()
        while True:
            if len(begun) < settings.in_flight and self._may_ask():
                asked = self._searcher.ask_at()
                request = self._request(asked)
                if request is not None:
                    self._left -= request.new * exact(asked.share)
                    begun.append((asked, self._trainings.begin(request)))
                continue
            if not begun:
                break
            asked, one = begun.popleft()
            candidate = self._trainings.finish(one)
            progress.advance(candidate, one.request.counts)
            self._searcher.tell_at(self._learnt(candidate, asked.share), asked.share)
            self._waiting = False
        for candidate in self._unrecorded.values():  # a study's trials never change: what may is written at the end
            self._record(self._explained(candidate))

    def _may_ask(self) -> bool:
        shares = self._searcher.shares
        moves_up = len(shares) > 1
        return (
            not self._waiting
            and self._left >= exact(shares[0])
            and (moves_up or not self._draws.out(self._problem.settings.trials))
        )

    def _request(self, asked: Asked) -> Request | None:
        """What is to be trained; ``None`` where nothing is.

        That is for what is over a limit, of which the searcher is told at once; for what asks for more than is left;
        and for what is new where nothing new is to be drawn.
        """
        genotype, share = asked
        key = self._draws.key_of(genotype)
        if exact(share) > self._left:
            self._unpaid.add(key)
            self._passed_over += 1
            self._waiting = self._passed_over >= PATIENCE
            return None
        candidate = self._draws.candidates.get(key)
        if candidate is None or (key, share) in self._windows or candidate.excess > 0:
            if self._draws.out(self._problem.settings.trials):
                self._waiting = True
                return None
            drawn, outcome = self._draws.draw(genotype)
            if outcome.excess > 0:
                if drawn is not None:
                    self._record(drawn)
                self._searcher.tell_at(outcome, share)
                return None
            candidate = self._draws.candidates[key]
        window, new = self._next_window((key, share))
        written = self._problem.space.format(genotype)
        return Request(replace(candidate, genotype=genotype, architecture=written), window, new, share)

    def _next_window(self, entry: _Entry) -> tuple[range, int]:
        """The trainings that this sight of a network asks for, and how many of them are to be paid for."""
        settings = self._problem.settings
        window = self._windows.get(entry, range(0))
        if len(window) == settings.evaluations and settings.forget and self._forgetting.random() < settings.forget:
            window = range(window.stop, window.stop)
        grown = range(window.start, min(window.stop + 1, window.start + settings.evaluations))
        self._windows[entry] = grown
        return grown, len(grown) - len(window) if self._shared else len(grown)

    def _learnt(self, candidate: Candidate, share: float) -> Outcome:
        """What a finished training means to the searcher; the candidate is kept, and recorded where it is final."""
        problem = self._problem
        losses = tuple(float("inf") for _ in problem.objectives)
        if candidate.status != "failed":
            losses = problem.losses(candidate.metrics_at(share))
        key = candidate.key
        self._draws.outcomes[key] = outcome = Outcome(candidate.genotype, losses)
        known = self._draws.candidates[key]
        candidate = replace(candidate, number=known.number, genotype=known.genotype, architecture=known.architecture)
        if known.status in _TRAINED and known.share > share:  # met again, after it was trained for longer
            candidate = replace(known, measurements={**known.measurements, **candidate.measurements})
        self._draws.candidates[key] = self._unrecorded[key] = candidate
        final = candidate.status == "trained" and problem.settings.evaluations == 1
        if final or candidate.status == "failed":
            self._record(self._unrecorded.pop(key))
        return outcome

    def _explained(self, candidate: Candidate) -> Candidate:
        """A stopped candidate with what it was trained for, and why for no longer."""
        if candidate.status != "stopped":
            return candidate
        metrics = candidate.metrics_at(candidate.share)
        qualities = [name for name, row in METRICS.items() if row.origin == "quality" and name in metrics]
        told = ", ".join(f"{name} {metrics[name]:.3f}" for name in qualities)
        why = "promoted, but no budget was left for that" if candidate.key in self._unpaid else "not promoted"
        return replace(candidate, reason=f"trained for {exact(candidate.share)} of the steps: {told}; {why}")
