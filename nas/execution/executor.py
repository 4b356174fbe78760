"""Where trainings run: the protocol, a training job and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Protocol

from evaluators.evaluator import EvaluationFailure, QualityEvaluator
from search_spaces.graph.graph import Graph


@dataclass(frozen=True)
class Training:
    """One candidate to train: its network at the evaluator's proxy scale, and as its space writes it.

    ``ordinal`` counts the trainings of one network, each with a seed of its own.
    """

    graph: Graph
    seed: int
    architecture: str = ""
    ordinal: int = 0


@dataclass(frozen=True)
class Trained:
    """What came of it: metrics, or the code and text of a failure.

    ``kind`` says who trained it: this search (``miss``), an earlier one (``full``) or another at the same time
    (``in_flight``); then ``seconds`` is what it took there.
    """

    metrics: dict[str, float]
    seconds: float
    failure: str = ""
    message: str = ""
    kind: str = "miss"


Around = Callable[[Training, Callable[[Training], Trained]], Trained]


def plainly(training: Training, train: Callable[[Training], Trained]) -> Trained:
    """Nothing around a training."""
    return train(training)


class Executor(Protocol):
    """Trains candidates.

    ``around`` is called in place of each training, with the training and the function that does it; several at once,
    each in a thread of its own, where there are several workers.
    """

    def submit(self, evaluator: QualityEvaluator, training: Training, around: Around = plainly) -> Future[Trained]:
        """Begin a training, or queue it; the future tells what came of it, and raises what was no planned failure."""
        ...

    def close(self) -> None: ...


def run_all(
    executor: Executor, evaluator: QualityEvaluator, trainings: Sequence[Training], around: Around = plainly
) -> Iterator[tuple[int, Trained]]:
    """Train all of them; yields ``(place in the sequence, what came of it)`` as they finish."""
    places = {executor.submit(evaluator, training, around): place for place, training in enumerate(trainings)}
    for future in as_completed(places):
        yield places[future], future.result()


def train_one(evaluator: QualityEvaluator, graph_json: str, seed: int, architecture: str = "") -> Trained:
    """Train one candidate in this process; planned failures become a ``Trained`` with their reason."""
    started = time.monotonic()
    look_up = getattr(evaluator, "evaluate_architecture", None)
    try:
        if look_up is not None:
            metrics = look_up(architecture, seed=seed)
        else:
            metrics = evaluator.evaluate(Graph.from_json(graph_json), seed=seed)
    except EvaluationFailure as failure:
        return Trained({}, time.monotonic() - started, failure.code, str(failure))
    return Trained(dict(metrics), time.monotonic() - started)
