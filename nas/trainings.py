"""The trainings of a search: who asked for which, what came of them, and what was known already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import NamedTuple

from nas.candidate import Candidate, Measurement
from nas.evaluations import averaged, seed_of
from nas.executors import Around, Executor, Trained, Training
from nas.problem import Problem
from nas.result import Tally
from search_spaces.graph import Graph

_Entry = tuple[str, int]
"""A network and the number of one of its trainings."""


class Request(NamedTuple):
    """A candidate to train, the numbers of its trainings, and how many of these are new to the budget."""

    candidate: Candidate
    window: range
    new: int = 1

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
    """Trains candidates through an executor, each network's trainings once where ``shares`` says so.

    ``recorded`` tells what an earlier run of the same search made of a candidate. ``graph_of`` gives the network to
    train. ``tally`` counts what happens.
    """

    def __init__(
        self,
        problem: Problem,
        executor: Executor,
        around: Around,
        tally: Tally,
        *,
        shares: bool,
        recorded: Callable[[Candidate], Candidate | None],
        graph_of: Callable[[Candidate], Graph],
    ) -> None:
        self._problem = problem
        self._executor = executor
        self._around = around
        self._tally = tally
        self._shares = shares
        self._recorded = recorded
        self._graph_of = graph_of
        self._answers: dict[_Entry, Trained] = {}  # what this search knows of a network's trainings
        self._running: dict[_Entry, Future[Trained]] = {}
        self._asked = 0

    def begin(self, request: Request) -> Begun:
        """Start what is neither known nor running."""
        candidate, window, _ = request
        self._asked += 1
        known = self._recorded(candidate)
        whole = range(self._problem.settings.evaluations)
        if known is not None and known.status in ("trained", "failed") and window == whole:
            done = replace(candidate, status=known.status, reason=known.reason, measurements=known.measurements)
            return Begun(request, done=done)
        graph = self._graph_of(candidate)
        network = graph.digest if self._shares else f"{self._asked}"
        answers: list[Trained | Future[Trained]] = []
        own = []
        for ordinal in window:
            entry = (network, ordinal)
            answer = self._answers.get(entry) or self._running.get(entry)
            if answer is None:
                answer = self._submitted(graph, candidate.architecture, ordinal)
                own.append((entry, answer))
                self._running[entry] = answer
            answers.append(answer)
        return Begun(request, tuple(answers), tuple(own))

    def _submitted(self, graph: Graph, architecture: str, ordinal: int) -> Future[Trained]:
        evaluator = self._problem.evaluator
        assert evaluator is not None
        seed = seed_of(self._problem.settings.seed, ordinal)
        return self._executor.submit(evaluator, Training(graph, seed, architecture, ordinal), self._around)

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
            if self._shares and not future.result().failure:
                self._answers[entry] = replace(future.result(), kind="full")
        self._count(found)
        candidate = self._with_quality(begun.request.candidate, found)
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

    def _count(self, trained: Sequence[Trained]) -> None:
        """Who trained what one candidate asked for."""
        kinds = {t.kind for t in trained}
        tally = self._tally
        if kinds == {"miss"}:
            tally.misses += 1
        elif "miss" in kinds:
            tally.partial_hits += 1
        elif "in_flight" in kinds:
            tally.in_flight_hits += 1
        else:
            tally.full_hits += 1
        tally.saved_seconds += sum(t.seconds for t in trained if t.kind != "miss")

    def _with_quality(self, candidate: Candidate, trainings: list[Trained]) -> Candidate:
        trained, stds = averaged(trainings)
        candidate = replace(candidate, train_seconds=trained.seconds)
        if trained.failure:
            return replace(candidate, status="failed", reason=f"{trained.failure}: {trained.message}")
        source = f"trained:{self._problem.settings.data}"
        quality = {n: Measurement(float(v), source, stds.get(n)) for n, v in trained.metrics.items()}
        return replace(candidate, status="trained", measurements={**candidate.measurements, **quality})
