"""Evaluations in this very process, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.executor import Middleware, TrainingResult, call_through, evaluate_job


class InProcessExecutor:
    """Evaluates in this very process, at once: for evaluators that cannot be sent to another, or only look up.

    Each evaluation has ``threads`` threads of PyTorch, as in a worker, for figures depend on their number; afterwards
    the process has its own again. Nothing is ended from outside: no time limit holds, and an evaluator that takes the
    process down takes the search down.
    """

    def __init__(self, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"needs at least one thread, not {threads}")
        self._threads = threads
        self._closed = False

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Evaluate now; the future is done when this returns. ``KeyboardInterrupt`` passes."""
        if self._closed:
            raise RuntimeError("the executor is closed; make another")
        future: Future[TrainingResult] = Future()
        try:
            future.set_result(middleware(job, lambda asked: self._evaluate(evaluator, asked)))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as other executors do
            future.set_exception(error)
        return future

    def _evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        with _torch_threads(self._threads):
            return evaluate_job(evaluator, job)

    def close(self) -> None:
        """There is nothing to end."""
        self._closed = True


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """With so many threads of PyTorch's."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_process(*, workers: int | None = None, threads: int = 1) -> InProcessExecutor:
    """The executor of this process, which has no workers, whatever their number."""
    return InProcessExecutor(threads)
