"""Trainings in this very process, one after another."""

from __future__ import annotations

from concurrent.futures import Future

from evaluators.evaluator import QualityEvaluator
from nas.execution.executor import Middleware, TrainingJob, TrainingResult, call_through, train_one


class InProcessExecutor:
    """Trains in this very process, at once: for evaluators that cannot be sent to another."""

    def submit(
        self, evaluator: QualityEvaluator, job: TrainingJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Train now; the future is done when this returns."""
        future: Future[TrainingResult] = Future()
        try:
            future.set_result(
                middleware(job, lambda t: train_one(evaluator, t.graph.to_json(), t.seed, t.architecture))
            )
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as other executors do
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing to close."""
