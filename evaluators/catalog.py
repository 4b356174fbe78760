"""The evaluators of each kind of data: a table of strings, and the evaluator that a text names.

Other packages add kinds of data through the entry-point group ``nas.data``, whose objects are ``DataRow``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluators.evaluator import DataError, QualityEvaluator
from search_spaces.registry import import_object, named_row, table_with_plugins


@dataclass(frozen=True)
class EvaluatorRow:
    """One way to train on data: the function that makes the evaluator from the data's text, and its quality metric."""

    evaluator: str
    quality: str


@dataclass(frozen=True)
class DataRow:
    """One kind of data: an evaluator for each task, and what it reads.

    The first task is the default, for spaces whose own is not among them. The task ``""`` serves any network.
    """

    evaluators: Mapping[str, EvaluatorRow]
    needs: str = ""  # what must follow the colon, if anything


_CLASSIFY = EvaluatorRow("evaluators.tasks.classification:classification_training", "accuracy")
_DETECT = EvaluatorRow("evaluators.tasks.detection:detection_training", "map")
_SEGMENT = EvaluatorRow("evaluators.tasks.segmentation:segmentation_training", "miou")


# By the word before the colon
DATA_KINDS: dict[str, DataRow] = {
    "digits": DataRow({"detect": _DETECT, "classify": _CLASSIFY, "segment": _SEGMENT}),
    "folder": DataRow({"classify": _CLASSIFY}, "a folder"),
    "voc": DataRow({"detect": _DETECT, "segment": _SEGMENT}, "a folder"),
    "coco": DataRow({"detect": _DETECT}, "a folder"),
    "table": DataRow({"": EvaluatorRow("evaluators.tabular:tabular_quality", "accuracy")}, "a CSV file"),
}


def data_kinds() -> dict[str, DataRow]:
    """The kinds of data by name, those of installed plug-ins (entry-point group ``nas.data``) included."""
    return table_with_plugins("nas.data", DATA_KINDS, DataRow)


def _data_row(data: str) -> DataRow:
    return named_row("kind of data", data.partition(":")[0], data_kinds())


def _evaluator_row(data: str, task: str) -> EvaluatorRow:
    """The row for a task; the first where none is given. Raises ``UnknownName``, ``DataError``."""
    evaluators = _data_row(data).evaluators
    if not task:
        return next(iter(evaluators.values()))
    if task not in evaluators and "" not in evaluators:
        kind = data.partition(":")[0]
        raise DataError(f"--data {kind} cannot train networks to {task}, only to {' or '.join(evaluators)}")
    return evaluators[task if task in evaluators else ""]


def trainable_task(data: str, own: str) -> str:
    """``own``, a space's own task, where these data can train it; else ``""``, the data's default."""
    return own if own in _data_row(data).evaluators else ""


def quality_metric(data: str, task: str = "") -> str:
    """The metric that training on these data for that task gives. Raises ``UnknownName``, ``DataError``."""
    return _evaluator_row(data, task).quality


def make_evaluator(data: str, task: str = "", **settings: Any) -> QualityEvaluator:
    """The evaluator for ``digits``, ``folder:PATH``, ``voc:PATH``, ``coco:PATH`` or ``table:PATH``.

    task: ``classify``, ``detect`` or ``segment``; by default the first of the data. Raises
    ``UnknownName``, ``DataError``.
    """
    kind, _, path = data.partition(":")
    row = _data_row(data)
    if row.needs and not path:
        raise DataError(f"--data {kind} needs {row.needs}, as in {kind}:path/to/data")
    evaluator: QualityEvaluator = import_object(_evaluator_row(data, task).evaluator)(data, **settings)
    return evaluator
