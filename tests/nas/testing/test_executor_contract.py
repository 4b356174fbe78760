"""An executor that breaks a check of ``ExecutorContract`` is caught by it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import pytest

from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.executor import Executor, Middleware, TrainingResult, call_through, evaluate_job
from nas.execution.in_process import InProcessExecutor
from nas.execution.transfer import NotTransferable
from nas.testing import ExecutorContract
from nas.testing.executors import PracticeEvaluator
from tests.support.space_contracts import checks_of


class Plain(InProcessExecutor):
    """Keeps the contract of an executor in this process, and pretends that workers die."""

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        super().submit(PracticeEvaluator(), job)  # raises once it is closed
        future: Future[TrainingResult] = Future()
        try:
            future.set_result(middleware(job, lambda asked: self.evaluate(evaluator, asked)))
        except LookupError as error:
            future.set_exception(error)
        return future

    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        if isinstance(evaluator, PracticeEvaluator) and evaluator.conduct in ("exits", "is_killed"):
            return self.death()
        return evaluate_job(
            replace(evaluator, pause_s=0.0) if isinstance(evaluator, PracticeEvaluator) else evaluator, job
        )

    def death(self) -> TrainingResult:
        return TrainingResult({}, 0.0, "worker_died", "it exited")


class LosesTheSpace(Plain):
    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        return super().evaluate(evaluator, replace(job, space=None))


class LosesTheArtifact(Plain):
    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        return replace(super().evaluate(evaluator, job), artifact=None)


class CallsNothingABreach(Plain):
    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        return replace(super().evaluate(evaluator, job), breach=False)


class MixesUp(Plain):
    """Each job gets the answer to the first."""

    first: TrainingResult | None = None

    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        self.first = self.first or super().evaluate(evaluator, job)
        return self.first


class BlamesTheCandidate(Plain):
    def death(self) -> TrainingResult:
        return TrainingResult({}, 0.0, "error", "BrokenProcessPool", breach=True)


class DiesForGood(Plain):
    """After one death every evaluation fails."""

    dead = False

    def death(self) -> TrainingResult:
        self.dead = True
        return super().death()

    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        return self.death() if self.dead else super().evaluate(evaluator, job)


class LeavesFuturesOpen(Plain):
    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        return Future()


class GoesOn(Plain):
    def close(self) -> None:
        """It takes jobs ever after."""


class RefusesWith(Plain):
    refusal: Exception = TypeError("cannot pickle '_thread.lock' object")

    def evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        if type(evaluator) is not PracticeEvaluator:
            raise self.refusal
        return super().evaluate(evaluator, job)


class RefusesWithoutAWord(RefusesWith):
    refusal = NotTransferable("")


class ForgetsTheMiddleware(Plain):
    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        return super().submit(evaluator, job)


class AsksTwice(Plain):
    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        if job.seed != 2:
            super().submit(evaluator, job, middleware)
        return super().submit(evaluator, job, middleware)


class TestPlain(ExecutorContract):
    def make_executor(self) -> Executor:
        return Plain()


BROKEN_EXECUTORS: list[tuple[str, Callable[[], Executor], str]] = [
    ("results_are_those_of_this_process", LosesTheSpace, "figures of an evaluator that is 'good'"),
    ("results_are_those_of_this_process", LosesTheArtifact, "artifact of an evaluator that is 'good' is another"),
    ("results_are_those_of_this_process", CallsNothingABreach, "'raises' is 'error', breach False"),
    ("several_at_once_are_told_apart", MixesUp, "seed 1 got another one's answer"),
    ("a_worker_that_dies_fails_its_candidate_alone", BlamesTheCandidate, "exits ends as 'error', breach True"),
    ("a_worker_that_dies_fails_its_candidate_alone", DiesForGood, "beside an evaluation that exits, another fails"),
    ("close_ends_what_runs_and_cancels_what_is_queued", LeavesFuturesOpen, "6 of 6 futures are open"),
    ("close_ends_what_runs_and_cancels_what_is_queued", GoesOn, "takes a job after close"),
    ("what_cannot_be_sent_is_refused_or_needs_no_sending", RefusesWith, "ends in TypeError"),
    ("what_cannot_be_sent_is_refused_or_needs_no_sending", RefusesWithoutAWord, "ends in NotTransferable"),
    ("the_middleware_is_called_once_for_each_job", ForgetsTheMiddleware, r"called for the jobs \[\]"),
    ("the_middleware_is_called_once_for_each_job", AsksTwice, r"called for the jobs \[0, 0, 1, 1, 2, 3, 3\]"),
]


@pytest.mark.parametrize(
    ("check", "make", "message"), BROKEN_EXECUTORS, ids=[f"{c}-{m}" for c, _, m in BROKEN_EXECUTORS]
)
def test_a_broken_executor_is_caught(check: str, make: Callable[[], Executor], message: str) -> None:
    contract = type("Broken", (ExecutorContract,), {"make_executor": lambda self: make(), "patience_s": 0.5})
    with pytest.raises(AssertionError, match=message):
        getattr(contract(), f"test_{check}")()


def test_every_check_is_broken_by_an_executor() -> None:
    assert {f"test_{check}" for check, _, _ in BROKEN_EXECUTORS} == set(checks_of(ExecutorContract))
