"""Where trainings run: the protocol, a training job and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Protocol

from evaluators.evaluator import EvaluationFailure, QualityEvaluator
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json


@dataclass(frozen=True)
class TrainingJob:
    """One candidate to train: its network at the evaluator's proxy scale, and as its space writes it.

    ``ordinal`` counts the trainings of one network, each with a seed of its own.
    """

    graph: Graph
    seed: int
    architecture: str = ""
    ordinal: int = 0


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training: metrics, or the code and text of a failure.

    ``kind`` says who trained it: this search (``miss``), an earlier one (``full``) or another at the same time
    (``in_flight``); then ``seconds`` is what it took there.
    """

    metrics: dict[str, float]
    seconds: float
    failure: str = ""
    message: str = ""
    kind: str = "miss"


Middleware = Callable[[TrainingJob, Callable[[TrainingJob], TrainingResult]], TrainingResult]


def call_through(job: TrainingJob, train: Callable[[TrainingJob], TrainingResult]) -> TrainingResult:
    """The middleware that adds nothing."""
    return train(job)


class Executor(Protocol):
    """Trains candidates.

    ``middleware`` is called in place of each training, with the job and the function that trains it; several at once,
    each in a thread of its own, where there are several workers.
    """

    def submit(
        self, evaluator: QualityEvaluator, job: TrainingJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        """Start a training, or queue it; the future has its result, and raises what was no planned failure."""
        ...

    def close(self) -> None:
        """Release all workers."""
        ...


def run_all(
    executor: Executor, evaluator: QualityEvaluator, jobs: Sequence[TrainingJob], middleware: Middleware = call_through
) -> Iterator[tuple[int, TrainingResult]]:
    """Train all of them; yields ``(index in the sequence, result)`` as they finish."""
    indices = {executor.submit(evaluator, job, middleware): index for index, job in enumerate(jobs)}
    for future in as_completed(indices):
        yield indices[future], future.result()


def train_one(evaluator: QualityEvaluator, graph_json: str, seed: int, architecture: str = "") -> TrainingResult:
    """Train one candidate in this process; planned failures become a ``TrainingResult`` with their reason."""
    started = time.monotonic()
    evaluate_architecture = getattr(evaluator, "evaluate_architecture", None)
    try:
        if evaluate_architecture is not None:
            metrics = evaluate_architecture(architecture, seed=seed)
        else:
            metrics = evaluator.evaluate(graph_from_json(graph_json), seed=seed)
    except EvaluationFailure as failure:
        return TrainingResult({}, time.monotonic() - started, failure.code, str(failure))
    return TrainingResult(dict(metrics), time.monotonic() - started)
