"""The trainings of a search: who asked for which, what came of them, and what was known already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import NamedTuple

from evaluators.training.fidelity import shortened_to
from nas.cache import EvaluationCache
from nas.candidates.candidate import Candidate, Measurement, Status
from nas.candidates.fidelity import at_share, exact
from nas.engine.problem import Problem
from nas.engine.result import Tally
from nas.execution.cached_training import CachedTraining, averaged, questions_of, seed_of
from nas.execution.executor import Around, Executor, Trained, Training, plainly
from search_spaces.graph.graph import Graph

_Entry = tuple[str, float, int]
"""A network, the share of the full training, and the number of one of its trainings for that."""


class Request(NamedTuple):
    """A candidate to train, the numbers of its trainings, how many of these are new to the budget, and for how long.

    ``share``: of the full training.
    """

    candidate: Candidate
    window: range
    new: int = 1
    share: float = 1.0

    @property
    def counts(self) -> bool:
        """As progress."""
        return self.new > 0


@dataclass(frozen=True)
class Begun:
    """A request whose trainings run, or are known. ``done``: the candidate, where an earlier run had trained it."""

    request: Request
    answers: tuple[Trained | Future[Trained], ...] = ()
    own: tuple[tuple[_Entry, Future[Trained]], ...] = ()
    done: Candidate | None = None

    @property
    def waits_for(self) -> list[Future[Trained]]:
        """What still runs."""
        return [a for a in self.answers if isinstance(a, Future) and not a.done()]


class Trainings:
    """Trains candidates through an executor; where there is a cache, each network's trainings once.

    ``shares``: of the full training, those that are asked for. Raises ``ValueError`` where the evaluator cannot train
    for them (``evaluators.training.fidelity``). ``recorded`` tells what an earlier run of the same search made of a candidate.
    ``graph_of`` gives the network to train. ``tally`` counts what happens.
    """

    def __init__(
        self,
        problem: Problem,
        executor: Executor,
        cache: EvaluationCache | None,
        tally: Tally,
        *,
        shares: Sequence[float] = (1.0,),
        recorded: Callable[[Candidate], Candidate | None],
        graph_of: Callable[[Candidate], Graph],
    ) -> None:
        self._problem = problem
        self._executor = executor
        self._tally = tally
        self._shared = cache is not None
        evaluator = problem.evaluator
        self._evaluators = {} if evaluator is None else shortened_to(evaluator, shares)
        self._around: dict[float, Around] = dict.fromkeys(self._evaluators, plainly)
        if cache is not None:
            questions = questions_of(self._evaluators, problem.settings.seed)
            self._around = {share: CachedTraining(cache, question) for share, question in questions.items()}
        self._recorded = recorded
        self._graph_of = graph_of
        self._answers: dict[_Entry, Trained] = {}  # what this search knows of a network's trainings
        self._running: dict[_Entry, Future[Trained]] = {}
        self._asked = 0

    def begin(self, request: Request) -> Begun:
        """Start what is neither known nor running."""
        candidate, window, _, share = request
        self._asked += 1
        done = self._known_from_before(request)
        if done is not None:
            return Begun(request, done=done)
        graph = self._graph_of(candidate)
        network = graph.digest if self._shared else f"{self._asked}"
        answers: list[Trained | Future[Trained]] = []
        own = []
        for ordinal in window:
            entry = (network, share, ordinal)
            answer = self._answers.get(entry) or self._running.get(entry)
            if answer is None:
                answer = self._submitted(graph, request, ordinal)
                own.append((entry, answer))
                self._running[entry] = answer
            answers.append(answer)
        return Begun(request, tuple(answers), tuple(own))

    def _known_from_before(self, request: Request) -> Candidate | None:
        """The candidate as these very trainings left it in an earlier run of this search; ``None`` where none did."""
        candidate, window, _, share = request
        known = self._recorded(candidate)
        if known is None or window != range(self._problem.settings.evaluations):
            return None
        if known.share == share and known.status in ("trained", "failed"):
            return replace(
                candidate, status=known.status, reason=known.reason, measurements=known.measurements, share=share
            )
        own = {name: m for name, m in known.measurements.items() if share < 1 and name.endswith(at_share(share))}
        if not own:
            return None
        return replace(candidate, status="stopped", measurements={**candidate.measurements, **own}, share=share)

    def _submitted(self, graph: Graph, request: Request, ordinal: int) -> Future[Trained]:
        seed = seed_of(self._problem.settings.seed, ordinal)
        training = Training(graph, seed, request.candidate.architecture, ordinal)
        return self._executor.submit(self._evaluators[request.share], training, self._around[request.share])

    def finish(self, begun: Begun) -> Candidate:
        """The candidate with its quality, or failed; waits for it.

        From here on what it trained itself is known to all; a failure is no answer, and is tried again when met again.
        """
        if begun.done is not None:
            self._tally.resumed += 1
            return begun.done
        owned = {future for _, future in begun.own}
        found = []
        for answer in begun.answers:
            if isinstance(answer, Future):
                trained = answer.result()
                found.append(trained if answer in owned else replace(trained, kind="in_flight"))
            else:
                found.append(answer)
        for entry, future in begun.own:
            del self._running[entry]
            if self._shared and not future.result().failure:
                self._answers[entry] = replace(future.result(), kind="full")
        share = begun.request.share
        self._count(found, share)
        candidate = self._with_quality(begun.request.candidate, found, share)
        self._tally.trained += 1
        self._tally.failed += candidate.status == "failed"
        return candidate

    def as_they_finish(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Candidate]]:
        """All of them, those that are known already first."""
        waiting = [self.begin(request) for request in requests]
        while waiting:
            running: list[Begun] = []
            able: list[Begun] = []
            for one in waiting:
                (running if one.waits_for else able).append(one)
            waiting = running
            for one in able:
                yield one.request, self.finish(one)
            if waiting and not able:
                wait([future for one in waiting for future in one.waits_for], return_when=FIRST_COMPLETED)

    def _count(self, trained: Sequence[Trained], share: float) -> None:
        """Who trained what one candidate asked for."""
        kinds = {t.kind for t in trained}
        tally = self._tally
        tally.short += "miss" in kinds and share < 1
        if kinds == {"miss"}:
            tally.misses += 1
        elif "miss" in kinds:
            tally.partial_hits += 1
        elif "in_flight" in kinds:
            tally.in_flight_hits += 1
        else:
            tally.full_hits += 1
        tally.saved_seconds += sum(t.seconds for t in trained if t.kind != "miss")

    def _with_quality(self, candidate: Candidate, trainings: list[Trained], share: float) -> Candidate:
        trained, stds = averaged(trainings)
        candidate = replace(candidate, train_seconds=trained.seconds, share=share)
        part = "" if share == 1 else f" for {exact(share)}"
        if trained.failure:
            when = f" (training{part} of the steps)" if part else ""
            return replace(candidate, status="failed", reason=f"{trained.failure}: {trained.message}{when}")
        source = f"trained{part}:{self._problem.settings.data}"
        quality = {n + at_share(share): Measurement(float(v), source, stds.get(n)) for n, v in trained.metrics.items()}
        status: Status = "stopped" if part else "trained"
        return replace(candidate, status=status, reason="", measurements={**candidate.measurements, **quality})
