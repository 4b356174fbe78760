"""The trainings of a search: which candidates request which, what came of them, and which ones are shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import NamedTuple

from evaluators.training.at_fidelity import evaluators_by_fidelity
from nas.cache import EvaluationCache
from nas.candidates.candidate import Candidate, Measurement, Status
from nas.candidates.fidelity import exact_fraction, fidelity_suffix
from nas.engine.problem import SearchProblem
from nas.engine.result import Tally
from nas.execution.cached_training import CachedTraining, cache_keys_of, mean_result, repeat_seed
from nas.execution.executor import Executor, Middleware, TrainingJob, TrainingResult, call_through
from search_spaces.graph.graph import Graph

_RunKey = tuple[str, float, int]
"""A network, a fidelity, and the ordinal of one of the network's trainings at that fidelity."""


class Request(NamedTuple):
    """A candidate to train at a fidelity, the ordinals of its trainings, and how many of them the budget pays for."""

    candidate: Candidate
    window: range
    new_repeats: int = 1
    fidelity: float = 1.0

    @property
    def counts_as_progress(self) -> bool:
        """Whether the request moves the search's progress: not where the budget paid for all of it before."""
        return self.new_repeats > 0


@dataclass(frozen=True)
class PendingTraining:
    """A request whose trainings run or are finished.

    ``own`` are the trainings that this request started, ``results`` those and the ones it shares with others.
    ``done``: the candidate, where an earlier run of the search had trained it.
    """

    request: Request
    results: tuple[TrainingResult | Future[TrainingResult], ...] = ()
    own: tuple[tuple[_RunKey, Future[TrainingResult]], ...] = ()
    done: Candidate | None = None

    @property
    def running_futures(self) -> list[Future[TrainingResult]]:
        """The trainings that still run."""
        return [a for a in self.results if isinstance(a, Future) and not a.done()]


class TrainingScheduler:
    """Trains candidates through an executor; where there is a cache, each network's trainings once.

    ``fidelities``: all at which candidates will be trained. Raises ``ValueError`` where the evaluator cannot train at
    them (``evaluators.training.at_fidelity``). ``recorded_candidate`` tells what an earlier run of the same search made
    of a candidate. ``training_graph`` gives the network to train. ``tally`` counts what happens.
    """

    def __init__(
        self,
        problem: SearchProblem,
        executor: Executor,
        cache: EvaluationCache | None,
        tally: Tally,
        *,
        fidelities: Sequence[float] = (1.0,),
        recorded_candidate: Callable[[Candidate], Candidate | None],
        training_graph: Callable[[Candidate], Graph],
    ) -> None:
        self._problem = problem
        self._executor = executor
        self._tally = tally
        self._uses_cache = cache is not None
        evaluator = problem.evaluator
        self._evaluators = {} if evaluator is None else evaluators_by_fidelity(evaluator, fidelities)
        self._middleware: dict[float, Middleware] = dict.fromkeys(self._evaluators, call_through)
        if cache is not None:
            cache_keys = cache_keys_of(self._evaluators, problem.settings.seed)
            self._middleware = {
                fidelity: CachedTraining(cache, cache_key) for fidelity, cache_key in cache_keys.items()
            }
        self._recorded_candidate = recorded_candidate
        self._training_graph = training_graph
        self._finished_results: dict[_RunKey, TrainingResult] = {}  # shared with later requests; only with a cache
        self._running: dict[_RunKey, Future[TrainingResult]] = {}
        self._request_count = 0

    def start(self, request: Request) -> PendingTraining:
        """Start the trainings that are neither finished nor running."""
        candidate, window, _, fidelity = request
        self._request_count += 1
        done = self._from_earlier_run(request)
        if done is not None:
            return PendingTraining(request, done=done)
        graph = self._training_graph(candidate)
        network = graph.digest if self._uses_cache else f"{self._request_count}"
        results: list[TrainingResult | Future[TrainingResult]] = []
        own = []
        for ordinal in window:
            run_key = (network, fidelity, ordinal)
            result = self._finished_results.get(run_key) or self._running.get(run_key)
            if result is None:
                result = self._submit(graph, request, ordinal)
                own.append((run_key, result))
                self._running[run_key] = result
            results.append(result)
        return PendingTraining(request, tuple(results), tuple(own))

    def _from_earlier_run(self, request: Request) -> Candidate | None:
        """The candidate after these very trainings in an earlier run of this search; ``None`` where there were none."""
        candidate, window, _, fidelity = request
        recorded = self._recorded_candidate(candidate)
        if recorded is None or window != range(self._problem.settings.repeats):
            return None
        if recorded.fidelity == fidelity and recorded.status in ("trained", "failed"):
            return replace(
                candidate,
                status=recorded.status,
                reason=recorded.reason,
                measurements=recorded.measurements,
                fidelity=fidelity,
            )
        own = {
            name: m
            for name, m in recorded.measurements.items()
            if fidelity < 1 and name.endswith(fidelity_suffix(fidelity))
        }
        if not own:
            return None
        return replace(candidate, status="stopped", measurements={**candidate.measurements, **own}, fidelity=fidelity)

    def _submit(self, graph: Graph, request: Request, ordinal: int) -> Future[TrainingResult]:
        seed = repeat_seed(self._problem.settings.seed, ordinal)
        job = TrainingJob(graph, seed, request.candidate.architecture, ordinal)
        return self._executor.submit(self._evaluators[request.fidelity], job, self._middleware[request.fidelity])

    def finish(self, pending: PendingTraining) -> Candidate:
        """The candidate with its quality, or failed; waits for it.

        From here on later requests share what it trained itself. A failure is not shared: it is tried again.
        """
        if pending.done is not None:
            self._tally.resumed += 1
            return pending.done
        owned = {future for _, future in pending.own}
        results = []
        for result in pending.results:
            if isinstance(result, Future):
                trained = result.result()
                results.append(trained if result in owned else replace(trained, kind="in_flight"))
            else:
                results.append(result)
        for run_key, future in pending.own:
            del self._running[run_key]
            if self._uses_cache and not future.result().failure:
                self._finished_results[run_key] = replace(future.result(), kind="full")
        fidelity = pending.request.fidelity
        self._count_hits(results, fidelity)
        candidate = self._with_quality(pending.request.candidate, results, fidelity)
        self._tally.trained += 1
        self._tally.failed += candidate.status == "failed"
        return candidate

    def as_completed(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Candidate]]:
        """All requests with their candidates as they finish, those that need no training first."""
        unfinished = [self.start(request) for request in requests]
        while unfinished:
            running: list[PendingTraining] = []
            finished: list[PendingTraining] = []
            for pending in unfinished:
                (running if pending.running_futures else finished).append(pending)
            unfinished = running
            for pending in finished:
                yield pending.request, self.finish(pending)
            if unfinished and not finished:
                wait([f for pending in unfinished for f in pending.running_futures], return_when=FIRST_COMPLETED)

    def _count_hits(self, trained: Sequence[TrainingResult], fidelity: float) -> None:
        """Count where the results of one request came from."""
        kinds = {t.kind for t in trained}
        tally = self._tally
        tally.short += "miss" in kinds and fidelity < 1
        if kinds == {"miss"}:
            tally.misses += 1
        elif "miss" in kinds:
            tally.partial_hits += 1
        elif "in_flight" in kinds:
            tally.in_flight_hits += 1
        else:
            tally.full_hits += 1
        tally.saved_seconds += sum(t.seconds for t in trained if t.kind != "miss")

    def _with_quality(self, candidate: Candidate, results: list[TrainingResult], fidelity: float) -> Candidate:
        trained, stds = mean_result(results)
        candidate = replace(candidate, train_seconds=trained.seconds, fidelity=fidelity)
        part = "" if fidelity == 1 else f" for {exact_fraction(fidelity)}"
        if trained.failure:
            when = f" (training{part} of the steps)" if part else ""
            return replace(candidate, status="failed", reason=f"{trained.failure}: {trained.message}{when}")
        source = f"trained{part}:{self._problem.settings.data}"
        quality = {
            n + fidelity_suffix(fidelity): Measurement(float(v), source, stds.get(n))
            for n, v in trained.metrics.items()
        }
        status: Status = "stopped" if part else "trained"
        return replace(candidate, status=status, reason="", measurements={**candidate.measurements, **quality})
