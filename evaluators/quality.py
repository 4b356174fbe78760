"""What a quality evaluator is, the ways in which one may fail, and which one serves which data."""

from __future__ import annotations

from typing import Any, Protocol

from search_spaces.catalog import import_object, named_row
from search_spaces.graph import Graph


class EvaluationFailure(Exception):
    """A candidate that cannot be evaluated: recorded with its reason, and the search goes on."""

    code = "failed"


class Diverged(EvaluationFailure):
    """The loss is no longer a finite number."""

    code = "diverged"


class OutOfTime(EvaluationFailure):
    """Training took longer than its time limit."""

    code = "out_of_time"


class OutOfMemory(EvaluationFailure):
    """Training needs, or asked for, more memory than there is."""

    code = "out_of_memory"


class DataError(ValueError):
    """A data set that cannot be used; the message says what was wrong, where, and what to do."""


class QualityEvaluator(Protocol):
    """Trains a network at a stated proxy scale and measures it.

    ``proxy`` are options that the candidate's space is built with for training; ``deploy`` those that the data ask of
    the network itself, such as its number of classes. ``check`` raises ``ValueError`` for a network of a kind that it
    cannot train: asked once, of one network of the space, before a search begins. Plain data: sent to worker processes
    by value.
    """

    name: str

    @property
    def time_limit_s(self) -> float: ...

    @property
    def proxy(self) -> dict[str, Any]: ...

    @property
    def deploy(self) -> dict[str, Any]: ...

    def describe(self) -> str: ...

    def check(self, graph: Graph) -> None: ...

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]: ...


# Kind of data (the word before the colon) to the evaluator that trains on it, given the whole text
DATA: dict[str, str] = {
    "digits": "evaluators.detector:detection_training",
    "voc": "evaluators.detector:detection_training",
    "coco": "evaluators.detector:detection_training",
}


def make_evaluator(data: str, **settings: Any) -> QualityEvaluator:
    """The evaluator for ``digits``, ``voc:PATH`` or ``coco:PATH``. Raises ``UnknownName``, ``DataError``."""
    kind, _, path = data.partition(":")
    factory = named_row("kind of data", kind, DATA)
    if kind != "digits" and not path:
        raise DataError(f"--data {kind} needs a folder, as in {kind}:path/to/data")
    evaluator: QualityEvaluator = import_object(factory)(data, **settings)
    return evaluator
