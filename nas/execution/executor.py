"""Where evaluations run: the protocol, one evaluation in this process, and its result."""

from __future__ import annotations

import inspect
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evaluators.evaluator import CurvePoint, DataError, EvaluationCost, EvaluationFailure, EvaluationJob, Evaluator
from nas.execution.answer import WrongAnswer, checked_answer

_UNKNOWN_COST = EvaluationCost()


DATA_ERROR = "data_error"
"""The failure of an evaluation whose data cannot be used."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of an evaluation: what came of it, or the code and text of a failure.

    ``seconds``: from call to answer. ``kind`` says who evaluated: this search (``miss``), an earlier one (``full``) or
    another at the same time (``in_flight``); then ``seconds`` is what it took there. ``cost``: by the evaluator's own
    word. ``artifact``: a safetensors file of trained weights, where the job wanted them. ``breach``: the failure is no
    ``EvaluationFailure``, but an exception or an answer that breaks the evaluator's contract.
    """

    metrics: Mapping[str, float]
    seconds: float
    failure: str = ""
    message: str = ""
    kind: str = "miss"
    curve: tuple[CurvePoint, ...] = ()
    cost: EvaluationCost = _UNKNOWN_COST
    artifact: bytes | None = None
    breach: bool = False


Middleware = Callable[[EvaluationJob, Callable[[EvaluationJob], TrainingResult]], TrainingResult]


def call_through(job: EvaluationJob, train: Callable[[EvaluationJob], TrainingResult]) -> TrainingResult:
    """The middleware that adds nothing."""
    return train(job)


@runtime_checkable
class Executor(Protocol):
    """Evaluates candidates.

    ``middleware`` is called in place of each evaluation, in the process that submits, with the job and the function
    that evaluates it; several at once, each in a thread of its own, where there are several workers.
    """

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Start an evaluation, or queue it. Raises ``RuntimeError`` after ``close``.

        The future has the result of ``evaluate_job``, or one with the failure ``worker_died`` or ``out_of_time`` where
        the worker died or was ended; neither harms other jobs. It raises what the middleware raises, and
        ``NotTransferable`` where the evaluator or the job cannot be sent to where it would run.
        """
        ...

    def close(self) -> None:
        """End all workers, in the middle of their work if need be; a second call does nothing.

        Afterwards no future stays open: of what was queued they are cancelled, of what ran they are done, or raise
        ``CancelledError``.
        """
        ...


def run_all(
    executor: Executor, evaluator: Evaluator, jobs: Sequence[EvaluationJob], middleware: Middleware = call_through
) -> Iterator[tuple[int, TrainingResult]]:
    """Evaluate all of them; yields ``(index in the sequence, result)`` as they finish."""
    indices = {executor.submit(evaluator, job, middleware): index for index, job in enumerate(jobs)}
    for future in as_completed(indices):
        yield indices[future], future.result()


def evaluate_job(evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
    """Evaluate one candidate in this process, and check the answer. Whatever goes wrong becomes a result that says so.

    Failures: an ``EvaluationFailure``'s own code; ``data_error`` for a ``DataError``, which is no candidate's fault;
    ``error`` for every other exception and ``exit`` for ``SystemExit``,
    with the line of the evaluator that they came from; ``wrong_answer``. All but the first are breaches. Only
    ``KeyboardInterrupt`` passes.
    """
    started = time.monotonic()
    try:
        declared = [metric.name for metric in evaluator.metrics]
        evaluation = evaluator.evaluate(job)
        seconds = time.monotonic() - started
        answer = checked_answer(evaluation, declared, keep_artifact=job.keep_artifact)
    except EvaluationFailure as failure:
        return TrainingResult({}, time.monotonic() - started, str(failure.code or "failed"), str(failure))
    except WrongAnswer as wrong:
        return TrainingResult({}, time.monotonic() - started, "wrong_answer", str(wrong), breach=True)
    except DataError as error:
        return TrainingResult({}, time.monotonic() - started, DATA_ERROR, str(error), breach=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's code may raise anything
        code = "exit" if isinstance(error, SystemExit) else "error"
        return TrainingResult({}, time.monotonic() - started, code, _blamed(error, evaluator), breach=True)
    return TrainingResult(answer.metrics, seconds, curve=answer.curve, cost=answer.cost, artifact=answer.artifact)


def _blamed(error: BaseException, evaluator: Evaluator) -> str:
    """The type and text of an exception, and the last line of the evaluator's own code that it went through."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is evaluate_job itself
    if not frames:
        return text
    files = _own_files(evaluator)
    folders = {os.path.dirname(file) for file in files if not file.startswith("<")}
    own = [f for f in frames if f.filename in files or os.path.dirname(f.filename) in folders] or frames[:1]
    return f"{text} ({own[-1].filename}:{own[-1].lineno})"


def _own_files(evaluator: Evaluator) -> set[str]:
    """The files, as tracebacks name them, in which the evaluator's class and those it extends are written."""
    classes = [kind for kind in type(evaluator).__mro__ if kind not in (Evaluator, object)]
    functions = [inspect.unwrap(f) for kind in classes for f in vars(kind).values() if inspect.isfunction(f)]
    return {function.__code__.co_filename for function in functions}
