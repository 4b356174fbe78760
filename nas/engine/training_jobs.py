"""The trainings of a search: which candidates request which, what came of them, and which ones are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from evaluators.evaluator import DataError, EvaluationCost, EvaluationJob, Evaluator
from nas.cache import EvaluationCache
from nas.candidates.candidate import Candidate, Measurement
from nas.candidates.fidelity import exact_fraction, fidelity_suffix
from nas.engine.reference_networks import ReferenceNetworks
from nas.engine.state import SearchState
from nas.execution.cached_training import CachedTraining, cache_keys_of, mean_result, repeat_seed
from nas.execution.executor import DATA_ERROR, Executor, Middleware, TrainingResult, call_through
from nas.study.artifacts import WeightStore
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

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


class EvaluatorError(ValueError):
    """The first evaluation of a search went wrong in a way that every other would; the message says how."""


class TrainingScheduler:
    """Trains candidates through an executor; where there is a cache, each network's trainings once.

    ``fidelities``: all at which candidates will be trained. Raises ``ValueError`` where the evaluator cannot train at
    them. ``weights`` keeps what was trained, where it is wanted. ``workspace`` is the folder that the evaluator may
    prepare things in. The state's tally counts what happens.
    """

    def __init__(
        self,
        state: SearchState,
        evaluator: Evaluator,
        reference_networks: ReferenceNetworks,
        executor: Executor,
        cache: EvaluationCache | None,
        weights: WeightStore | None,
        workspace: Path,
        *,
        fidelities: Sequence[float] = (1.0,),
    ) -> None:
        self._state = state
        self._problem = state.problem
        self._tally = state.tally
        self._evaluator = evaluator
        self._reference_networks = reference_networks
        self._executor = executor
        self._uses_cache = cache is not None
        self._weights = weights
        self._workspace = workspace
        evaluator.check_fidelities(fidelities)
        self._middleware: dict[float, Middleware] = dict.fromkeys(fidelities, call_through)
        if cache is not None:
            cache_keys = cache_keys_of(evaluator, self._problem.settings.seed, fidelities)
            self._middleware = {
                fidelity: CachedTraining(cache, cache_key) for fidelity, cache_key in cache_keys.items()
            }
        self._finished_results: dict[_RunKey, TrainingResult] = {}  # shared with later requests; only with a cache
        self._running: dict[_RunKey, Future[TrainingResult]] = {}
        self._first: Future[TrainingResult] | None = None
        self._request_count = 0

    def start(self, request: Request) -> PendingTraining:
        """Start the trainings that are neither finished nor running."""
        candidate, window, _, fidelity = request
        self._request_count += 1
        done = self._from_earlier_run(request)
        if done is not None:
            return PendingTraining(request, done=done)
        network = self._reference_networks.training_network(candidate)
        name = network[0].digest if self._uses_cache else f"{self._request_count}"
        results: list[TrainingResult | Future[TrainingResult]] = []
        own = []
        for ordinal in window:
            run_key = (name, fidelity, ordinal)
            result = self._finished_results.get(run_key) or self._running.get(run_key)
            if result is None:
                result = self._submit(network, request, ordinal)
                own.append((run_key, result))
                self._running[run_key] = result
            results.append(result)
        return PendingTraining(request, tuple(results), tuple(own))

    def _from_earlier_run(self, request: Request) -> Candidate | None:
        """The candidate after these very trainings in an earlier run of this search; ``None`` where there were none."""
        candidate, window, _, fidelity = request
        recorded = self._state.recorded_candidate(candidate)
        if recorded is None or window != range(self._problem.settings.repeats):
            return None
        if recorded.fidelity == fidelity and (recorded.was_trained or recorded.status == "failed"):
            return replace(
                candidate,
                status=recorded.status,
                reason=recorded.reason,
                measurements=recorded.measurements,
                constraint_violation=recorded.constraint_violation,
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

    def _submit(self, network: tuple[Graph, Genotype, Space], request: Request, ordinal: int) -> Future[TrainingResult]:
        if self._first is None:
            self._workspace.mkdir(parents=True, exist_ok=True)
            self._evaluator.prepare(self._problem.proxy_space, self._problem.hardware, self._workspace)
        graph, genotype, space = network
        job = EvaluationJob(
            graph,
            genotype,
            space,
            seed=repeat_seed(self._problem.settings.seed, ordinal),
            fidelity=request.fidelity,
            architecture=request.candidate.architecture,
            key=request.candidate.key,
            ordinal=ordinal,
            keep_artifact=self._weights is not None and ordinal == 0,
        )
        future = self._executor.submit(self._evaluator, job, self._middleware[request.fidelity])
        if self._first is None:
            self._first = future
        return future

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
            self._stop_at_first_breach(future)
            if self._uses_cache and not future.result().failure:
                # Without the weights, which are kept with the study: they would stay in memory to the end
                self._finished_results[run_key] = replace(future.result(), kind="full", artifact=None)
        self._count_hits(results, pending.request.fidelity)
        candidate = self._with_quality(pending.request, results)
        self._tally.trained += 1
        self._tally.failed += candidate.status == "failed"
        self._tally.infeasible += candidate.status == "infeasible" and not candidate.reference
        return candidate

    def _stop_at_first_breach(self, future: Future[TrainingResult]) -> None:
        """Raise ``EvaluatorError`` where the first evaluation of the search broke the evaluator's contract.

        Raises ``DataError`` wherever an evaluation did: what is wrong with the data is no candidate's fault.
        """
        result = future.result()
        if result.failure == DATA_ERROR:
            raise DataError(result.message)
        if future is self._first and result.breach and self._state.is_new:
            raise EvaluatorError(
                f"the first evaluation went wrong, as every other would: {result.message}; mend the evaluator"
                f" {self._evaluator.name} and start again"
            )

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

    def _with_quality(self, request: Request, results: list[TrainingResult]) -> Candidate:
        """The candidate with its quality: trained, over a limit on a quality, stopped, or failed."""
        candidate, window, _, fidelity = request
        trained, stds = mean_result(results)
        candidate = replace(candidate, train_seconds=trained.seconds, fidelity=fidelity)
        part = "" if fidelity == 1 else f" for {exact_fraction(fidelity)}"
        if trained.failure:
            when = f" (training{part} of the steps)" if part else ""
            return replace(candidate, status="failed", reason=f"{trained.failure}: {trained.message}{when}")
        if trained.curve or trained.cost != EvaluationCost():
            self._state.note_evaluation(candidate.key, fidelity, trained)
        if self._weights is not None and trained.artifact is not None:
            graph = self._reference_networks.training_network(candidate)[0]
            self._state.keep_weights(self._weights, candidate.key, fidelity, trained.artifact, graph)
        source = f"trained{part}:{self._problem.evaluated_on}"
        quality = {
            n + fidelity_suffix(fidelity): Measurement(float(v), source, stds.get(n))
            for n, v in trained.metrics.items()
        }
        candidate = replace(candidate, reason="", measurements={**candidate.measurements, **quality})
        if part:
            return replace(candidate, status="stopped")
        candidate = replace(candidate, status="trained")
        return self._within_limits(candidate) if len(window) == self._problem.settings.repeats else candidate

    def _within_limits(self, candidate: Candidate) -> Candidate:
        """The candidate, infeasible where its quality is over a limit; a published network stays what it is."""
        violation, reason = self._problem.constraint_violation(candidate.metrics, ())
        if violation <= 0:
            return candidate
        if candidate.reference:
            return replace(candidate, constraint_violation=max(violation, candidate.constraint_violation))
        return replace(candidate, status="infeasible", reason=reason, constraint_violation=violation)
