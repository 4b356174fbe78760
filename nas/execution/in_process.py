"""Evaluations in this very process, one after another."""

from __future__ import annotations

from concurrent.futures import Future

from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.executor import Middleware, TrainingResult, call_through, evaluate_job


class InProcessExecutor:
    """Evaluates in this very process, at once: for evaluators that cannot be sent to another, or only look up.

    Nothing is ended from outside: no time limit holds, and an evaluator that takes the process down takes the search
    down.
    """

    def __init__(self) -> None:
        self._closed = False

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Evaluate now; the future is done when this returns. ``KeyboardInterrupt`` passes."""
        if self._closed:
            raise RuntimeError("the executor is closed; make another")
        future: Future[TrainingResult] = Future()
        try:
            future.set_result(middleware(job, lambda asked: evaluate_job(evaluator, asked)))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as other executors do
            future.set_exception(error)
        return future

    def close(self) -> None:
        """There is nothing to end."""
        self._closed = True


def in_process(*, workers: int | None = None) -> InProcessExecutor:
    """The executor of this process, which has no workers, whatever their number."""
    return InProcessExecutor()
