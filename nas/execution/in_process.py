"""Trainings in this very process, one after another."""

from __future__ import annotations

from concurrent.futures import Future

from evaluators.evaluator import QualityEvaluator
from nas.execution.executor import Around, Trained, Training, plainly, train_one


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
