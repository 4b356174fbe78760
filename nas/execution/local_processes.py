"""Evaluations in worker processes of this machine.

Each worker is one process behind one thread. A worker that dies (out of memory, a crash in native code) fails its
candidate and is replaced; the search goes on. Workers end by themselves when the search is killed.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any, NamedTuple

from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.executor import Middleware, TrainingResult, call_through
from nas.execution.transfer import evaluate_transferred, transfer_bytes

_START_S = 300.0  # for a worker to start
_CLOSE_S = 5.0  # for the threads to notice that their workers were ended


class WorkerStartError(RuntimeError):
    """No worker process can be started on this machine."""


def _start_worker(threads: int, parent: int) -> None:
    """Runs first in a worker: bound its threads, and leave when the search is gone."""
    import torch

    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Worker:
    """One worker process, started when it is first needed, and again where it was lost."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._ended = False
        self._pool: Any = None  # loky's, of one process

    def evaluate(self, evaluator: Evaluator, job: EvaluationJob, limit_s: float) -> TrainingResult:
        """Evaluate in the process. Raises ``NotTransferable``, and ``CancelledError`` where ``end`` came before."""
        content = transfer_bytes(evaluator, job)
        # Starting takes seconds, and is no candidate's fault: it is not counted against anyone's limit.
        pool = self._ready_pool()
        started = time.monotonic()
        try:
            result: TrainingResult = pool.submit(evaluate_transferred, content).result(timeout=limit_s)
            return result
        except TimeoutError:
            self._drop(pool)
            self._raise_if_ended()
            message = f"no answer within {limit_s:.0f} s; its process was ended"
            return TrainingResult({}, limit_s, "out_of_time", message)
        except RuntimeError as error:  # the pool is broken, or was shut down by `end`
            self._drop(pool)
            self._raise_if_ended()
            if not isinstance(error, BrokenExecutor):
                raise
            return TrainingResult({}, time.monotonic() - started, "worker_died", _death(error))

    def end(self) -> None:
        """End the process for good, in the middle of its work if need be."""
        with self._lock:
            self._ended = True
            pool = self._pool
        self._drop(pool)

    def _ready_pool(self) -> Any:
        """A pool whose process runs: one that died while it was idle is replaced."""
        for _ in range(2):
            with self._lock:
                self._raise_if_ended()
                if self._pool is None:
                    self._pool = _new_pool(self._threads)
                pool = self._pool
            try:
                pool.submit(os.getpid).result(timeout=_START_S)
                return pool
            except (RuntimeError, TimeoutError) as error:  # broken, shut down by `end`, or hanging
                self._drop(pool)
                reason = error
        self._raise_if_ended()
        raise WorkerStartError(f"no worker process starts: {reason}; workers=0 evaluates in this process") from reason

    def _drop(self, pool: Any) -> None:
        with self._lock:
            if pool is self._pool:
                self._pool = None
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)

    def _raise_if_ended(self) -> None:
        if self._ended:
            raise CancelledError("the executor was closed")


def _new_pool(threads: int) -> Any:
    from loky import ProcessPoolExecutor
    from loky.backend import get_context

    bound = str(threads)
    return ProcessPoolExecutor(
        max_workers=1,
        timeout=None,
        context=get_context("loky"),
        initializer=_start_worker,
        initargs=(threads, os.getpid()),
        env={"OMP_NUM_THREADS": bound, "MKL_NUM_THREADS": bound},
    )


def _death(error: BrokenExecutor) -> str:
    """What to say of a worker that is gone, with its exit code where loky tells it."""
    exits = re.search(r"exit codes of the workers are \{(.+?)\}", str(error))
    return (
        f"the process that evaluated it ended{f' ({exits[1]})' if exits else ''}, most often for want of memory; fewer"
        " workers leave more"
    )


class _Queued(NamedTuple):
    future: Future[TrainingResult]
    evaluator: Evaluator
    job: EvaluationJob
    middleware: Middleware


class LocalProcessExecutor:
    """``count`` worker processes of ``threads`` threads each, which start as jobs come.

    A worker that does not answer within ``2 * evaluator.time_limit_s + grace_s`` is killed.
    """

    def __init__(self, count: int, threads: int = 1, grace_s: float = 15.0) -> None:
        if count < 1 or threads < 1:
            raise ValueError(f"needs at least one worker and one thread, not {count} and {threads}")
        if not grace_s >= 0:
            raise ValueError(f"grace_s is a time, 0 or more, not {grace_s}")
        self._grace_s = grace_s
        self._workers = [_Worker(threads) for _ in range(count)]
        self._server_threads: list[threading.Thread] = []
        self._lock = threading.Lock()  # nothing is queued once it is closed
        self._closed = False
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Queue an evaluation; a worker is started for it where fewer than ``count`` run."""
        future: Future[TrainingResult] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor is closed; make another")
            self._queue.put(_Queued(future, evaluator, job, middleware))
            if len(self._server_threads) < len(self._workers):
                worker = self._workers[len(self._server_threads)]
                server = threading.Thread(target=self._serve, args=(worker,), daemon=True)
                self._server_threads.append(server)
                server.start()
        return future

    def _serve(self, worker: _Worker) -> None:
        while (queued := self._queue.get()) is not None:
            future, evaluator, job, middleware = queued
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(middleware(job, lambda asked: self._evaluate(worker, evaluator, asked)))  # noqa: B023
            except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
                future.set_exception(error)

    def _evaluate(self, worker: _Worker, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        return worker.evaluate(evaluator, job, 2 * evaluator.time_limit_s + self._grace_s)

    def close(self) -> None:
        """Cancel what is queued, and end all workers, in the middle of their work if need be."""
        with self._lock:
            self._closed = True
        while not self._queue.empty():
            try:
                queued = self._queue.get_nowait()
            except queue.Empty:  # a thread was quicker; its worker is ended below
                break
            if queued is not None and queued.future.cancel():
                queued.future.set_running_or_notify_cancel()  # else whoever waits for it waits for ever
        for _ in self._server_threads:
            self._queue.put(None)
        for worker in self._workers:
            worker.end()
        give_up = time.monotonic() + _CLOSE_S
        for server in self._server_threads:  # one whose middleware waits for somebody else is left behind
            server.join(max(0.0, give_up - time.monotonic()))


def local_processes(*, workers: int | None = None, threads: int = 1, grace_s: float = 15.0) -> LocalProcessExecutor:
    """Worker processes, by default as many as this process may use cores."""
    from loky import cpu_count

    return LocalProcessExecutor(workers or max(1, cpu_count() // threads), threads, grace_s)
