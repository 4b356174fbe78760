"""Where candidates are trained: worker processes of this machine.

Each worker is one process behind one thread. A worker that dies (out of memory, a crash in native code) fails its
candidate and is replaced; the search goes on. Workers end by themselves when the search is killed.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any

from evaluators.evaluator import QualityEvaluator
from nas.execution.executor import Around, Trained, Training, plainly, train_one

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
