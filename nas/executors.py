"""Where candidates are trained: worker processes of this machine.

Each worker is one process behind one thread. A worker that dies (out of memory, a crash in native code) fails its
candidate and is replaced; the search goes on. Workers end by themselves when the search is killed.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Any, Protocol

from evaluators.quality import EvaluationFailure, QualityEvaluator
from search_spaces.graph import Graph

_START_S = 300.0


@dataclass(frozen=True)
class Training:
    """One candidate to train: its network at the evaluator's proxy scale, and as its space writes it.

    ``ordinal`` counts the trainings of one network, each with a seed of its own.
    """

    graph: Graph
    seed: int
    architecture: str = ""
    ordinal: int = 0


@dataclass(frozen=True)
class Trained:
    """What came of it: metrics, or the code and text of a failure.

    ``kind`` says who trained it: this search (``miss``), an earlier one (``full``) or another at the same time
    (``in_flight``); then ``seconds`` is what it took there.
    """

    metrics: dict[str, float]
    seconds: float
    failure: str = ""
    message: str = ""
    kind: str = "miss"


Around = Callable[[Training, Callable[[Training], Trained]], Trained]


def plainly(training: Training, train: Callable[[Training], Trained]) -> Trained:
    """Nothing around a training."""
    return train(training)


class Executor(Protocol):
    """Trains candidates.

    ``around`` is called in place of each training, with the training and the function that does it; several at once,
    each in a thread of its own, where there are several workers.
    """

    def submit(self, evaluator: QualityEvaluator, training: Training, around: Around = plainly) -> Future[Trained]:
        """Begin a training, or queue it; the future tells what came of it, and raises what was no planned failure."""
        ...

    def close(self) -> None: ...


def run_all(
    executor: Executor, evaluator: QualityEvaluator, trainings: Sequence[Training], around: Around = plainly
) -> Iterator[tuple[int, Trained]]:
    """Train all of them; yields ``(place in the sequence, what came of it)`` as they finish."""
    places = {executor.submit(evaluator, training, around): place for place, training in enumerate(trainings)}
    for future in as_completed(places):
        yield places[future], future.result()


def train_one(evaluator: QualityEvaluator, graph_json: str, seed: int, architecture: str = "") -> Trained:
    """Train one candidate in this process; planned failures become a ``Trained`` with their reason."""
    started = time.monotonic()
    look_up = getattr(evaluator, "evaluate_architecture", None)
    try:
        if look_up is not None:
            metrics = look_up(architecture, seed=seed)
        else:
            metrics = evaluator.evaluate(Graph.from_json(graph_json), seed=seed)
    except EvaluationFailure as failure:
        return Trained({}, time.monotonic() - started, failure.code, str(failure))
    return Trained(dict(metrics), time.monotonic() - started)


class InProcess:
    """Trains in this very process, at once: for evaluators that cannot be sent to another."""

    def submit(self, evaluator: QualityEvaluator, training: Training, around: Around = plainly) -> Future[Trained]:
        future: Future[Trained] = Future()
        try:
            future.set_result(
                around(training, lambda t: train_one(evaluator, t.graph.to_json(), t.seed, t.architecture))
            )
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as other executors do
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing to close."""


def _start_worker(threads: int, parent: int) -> None:
    """Runs first in a worker: bound its threads, and leave when the search is gone."""
    import torch

    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class LocalWorkers:
    """``count`` worker processes of ``threads`` threads each.

    ``grace_s`` is added to twice the evaluator's own time limit before a worker that does not answer is killed.
    """

    def __init__(self, count: int, threads: int = 1, grace_s: float = 60.0) -> None:
        if count < 1 or threads < 1:
            raise ValueError(f"needs at least one worker and one thread, not {count} and {threads}")
        self._threads = threads
        self._grace_s = grace_s
        self._slots: list[Any] = [None] * count
        self._closing = False
        self._waiting: queue.SimpleQueue[tuple[Future[Trained], QualityEvaluator, Training, Around] | None]
        self._waiting = queue.SimpleQueue()
        self._serving: list[threading.Thread] = []

    def _pool(self, slot: int) -> Any:
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        if self._slots[slot] is None:
            bound = str(self._threads)
            self._slots[slot] = ProcessPoolExecutor(
                max_workers=1,
                timeout=None,
                context=get_context("loky"),
                initializer=_start_worker,
                initargs=(self._threads, os.getpid()),
                env={"OMP_NUM_THREADS": bound, "MKL_NUM_THREADS": bound},
            )
            # Starting takes seconds, and is no candidate's fault: it is not counted against anyone's limit.
            self._slots[slot].submit(os.getpid).result(timeout=_START_S)
        return self._slots[slot]

    def _drop(self, slot: int) -> None:
        pool, self._slots[slot] = self._slots[slot], None
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)

    def _train(self, slot: int, evaluator: QualityEvaluator, training: Training) -> Trained:
        from concurrent.futures import BrokenExecutor

        limit_s = 2 * evaluator.time_limit_s + self._grace_s
        started = time.monotonic()
        try:
            future = self._pool(slot).submit(
                train_one, evaluator, training.graph.to_json(), training.seed, training.architecture
            )
            result: Trained = future.result(timeout=limit_s)
            return result
        except TimeoutError:
            self._drop(slot)
            return Trained({}, limit_s, "out_of_time", f"no answer within {limit_s:.0f} s; its process was ended")
        except BrokenExecutor:
            self._drop(slot)
            return Trained(
                {},
                time.monotonic() - started,
                "worker_died",
                "the process that trained it was killed, most often for want of memory; fewer workers leave more",
            )

    def submit(self, evaluator: QualityEvaluator, training: Training, around: Around = plainly) -> Future[Trained]:
        future: Future[Trained] = Future()
        self._waiting.put((future, evaluator, training, around))
        while len(self._serving) < len(self._slots):
            server = threading.Thread(target=self._serve, args=(len(self._serving),), daemon=True)
            self._serving.append(server)
            server.start()
        return future

    def _serve(self, slot: int) -> None:
        while True:
            asked = self._waiting.get()
            if asked is None or self._closing:
                return
            future, evaluator, training, around = asked
            try:
                future.set_result(around(training, lambda t: self._train(slot, evaluator, t)))  # noqa: B023
            except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
                future.set_exception(error)

    def close(self) -> None:
        """End all workers, in the middle of their work if need be."""
        self._closing = True
        for _ in self._serving:
            self._waiting.put(None)
        for slot in range(len(self._slots)):
            self._drop(slot)
