"""What a quality evaluator is, the ways in which one may fail, and which one serves which data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.catalog import import_object, named_row, table_with_plugins
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


class NothingToTrain(EvaluationFailure):
    """The network has no parameters: what its operations give does not depend on its input, or they learn nothing."""

    code = "nothing_to_train"


class DataError(ValueError):
    """A data set that cannot be used; the message says what was wrong, where, and what to do."""


class QualityEvaluator(Protocol):
    """Trains a network at a stated proxy scale and measures it.

    ``proxy`` are options that the candidate's space is built with for training; ``deploy`` those that the data ask of
    the network itself, such as its number of classes. ``check`` raises ``ValueError`` for a network of a kind that it
    cannot train: asked once, of one network of the space, before a search begins. Plain data: sent to worker processes
    by value.

    An evaluator may have more: ``quality``, the metric that searches maximise by default (else ``map``); ``task``, that
    of the networks it trains (``search_spaces.tasks``), for spaces that have another;
    ``cache_identity()``, all that its results depend on but network and seed: ``evaluator`` with its version, ``data``
    with their digest, and ``fidelity``; ``evaluate_architecture(text, seed=)`` in place of ``evaluate``, where it
    knows networks by what they are called.
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


@dataclass(frozen=True)
class EvaluatorRow:
    """One way to train on data: the evaluator made from their whole text, and the quality that this reports."""

    evaluator: str
    quality: str


@dataclass(frozen=True)
class DataRow:
    """One kind of data: an evaluator for each task that it serves, and what it reads.

    The first task is that of spaces whose own is not among them. The task ``""`` serves any network.
    """

    evaluators: Mapping[str, EvaluatorRow]
    needs: str = ""  # what stands behind the colon, if anything


_CLASSIFY = EvaluatorRow("evaluators.classifier:classification_training", "accuracy")
_DETECT = EvaluatorRow("evaluators.detector:detection_training", "map")
_SEGMENT = EvaluatorRow("evaluators.segmenter:segmentation_training", "miou")

# By the word before the colon
DATA: dict[str, DataRow] = {
    "digits": DataRow({"detect": _DETECT, "classify": _CLASSIFY, "segment": _SEGMENT}),
    "folder": DataRow({"classify": _CLASSIFY}, "a folder"),
    "voc": DataRow({"detect": _DETECT, "segment": _SEGMENT}, "a folder"),
    "coco": DataRow({"detect": _DETECT}, "a folder"),
    "table": DataRow({"": EvaluatorRow("evaluators.tabular:tabular_quality", "accuracy")}, "a CSV file"),
}


def data_kinds() -> dict[str, DataRow]:
    """The kinds of data by name, those of installed plug-ins (entry-point group ``nas.data``) included."""
    return table_with_plugins("nas.data", DATA, DataRow)


def _row(data: str) -> DataRow:
    return named_row("kind of data", data.partition(":")[0], data_kinds())


def _evaluator_row(data: str, task: str) -> EvaluatorRow:
    """The first where no task is asked for. Raises ``UnknownName``, ``DataError``."""
    evaluators = _row(data).evaluators
    if not task:
        return next(iter(evaluators.values()))
    if task not in evaluators and "" not in evaluators:
        kind = data.partition(":")[0]
        raise DataError(f"--data {kind} cannot train networks to {task}, only to {' or '.join(evaluators)}")
    return evaluators[task if task in evaluators else ""]


def task_served(data: str, own: str) -> str:
    """``own``, a space's own task, where these data can train it; else ``""``, the data's default."""
    return own if own in _row(data).evaluators else ""


def quality_of(data: str, task: str = "") -> str:
    """The metric that training on these data for that task gives. Raises ``UnknownName``, ``DataError``."""
    return _evaluator_row(data, task).quality


def make_evaluator(data: str, task: str = "", **settings: Any) -> QualityEvaluator:
    """The evaluator for ``digits``, ``folder:PATH``, ``voc:PATH``, ``coco:PATH`` or ``table:PATH``.

    task: ``classify``, ``detect`` or ``segment``, what the networks are to do; by default the data's first. Raises
    ``UnknownName``, ``DataError``.
    """
    kind, _, path = data.partition(":")
    row = _row(data)
    if row.needs and not path:
        raise DataError(f"--data {kind} needs {row.needs}, as in {kind}:path/to/data")
    evaluator: QualityEvaluator = import_object(_evaluator_row(data, task).evaluator)(data, **settings)
    return evaluator
