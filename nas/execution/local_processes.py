"""Where candidates are trained: worker processes of this machine.

Each worker is one process behind one thread. A worker that dies (out of memory, a crash in native code) fails its
candidate and is replaced; the search goes on. Workers end by themselves when the search is killed.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from concurrent.futures import BrokenExecutor, Future
from typing import Any

from evaluators.evaluator import QualityEvaluator
from nas.execution.executor import Middleware, TrainingJob, TrainingResult, call_through, train_one

_START_S = 300.0


def _start_worker(threads: int, parent: int) -> None:
    """Runs first in a worker: bound its threads, and leave when the search is gone."""
    import torch

    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class LocalProcessExecutor:
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
        self._queue: queue.SimpleQueue[tuple[Future[TrainingResult], QualityEvaluator, TrainingJob, Middleware] | None]
        self._queue = queue.SimpleQueue()
        self._server_threads: list[threading.Thread] = []

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

    def _train(self, slot: int, evaluator: QualityEvaluator, job: TrainingJob) -> TrainingResult:
        limit_s = 2 * evaluator.time_limit_s + self._grace_s
        started = time.monotonic()
        try:
            future = self._pool(slot).submit(train_one, evaluator, job.graph.to_json(), job.seed, job.architecture)
            result: TrainingResult = future.result(timeout=limit_s)
            return result
        except TimeoutError:
            self._drop(slot)
            return TrainingResult(
                {}, limit_s, "out_of_time", f"no answer within {limit_s:.0f} s; its process was ended"
            )
        except BrokenExecutor:
            self._drop(slot)
            return TrainingResult(
                {},
                time.monotonic() - started,
                "worker_died",
                "the process that trained it was killed, most often for want of memory; fewer workers leave more",
            )

    def submit(
        self, evaluator: QualityEvaluator, job: TrainingJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Queue a training; a worker is started for it where fewer than ``count`` run."""
        future: Future[TrainingResult] = Future()
        self._queue.put((future, evaluator, job, middleware))
        while len(self._server_threads) < len(self._slots):
            server = threading.Thread(target=self._serve, args=(len(self._server_threads),), daemon=True)
            self._server_threads.append(server)
            server.start()
        return future

    def _serve(self, slot: int) -> None:
        while True:
            item = self._queue.get()
            if item is None or self._closing:
                return
            future, evaluator, job, middleware = item
            try:
                future.set_result(middleware(job, lambda t: self._train(slot, evaluator, t)))  # noqa: B023
            except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
                future.set_exception(error)

    def close(self) -> None:
        """End all workers, in the middle of their work if need be."""
        self._closing = True
        for _ in self._server_threads:
            self._queue.put(None)
        for slot in range(len(self._slots)):
            self._drop(slot)
