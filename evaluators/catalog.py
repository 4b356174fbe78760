"""The evaluator that a text names: data joined to a task, both in tables; or one of the evaluators that need no data.

Other packages add formats of data through the entry-point group ``nas.data`` (``evaluators.data.catalog.DataFormat``),
and tasks through ``nas.tasks`` (``evaluators.training.task.TaskRow``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evaluators.data.catalog import DATA_FORMATS, DataSpec, data_format, data_formats, data_spec
from evaluators.evaluator import DataError, Evaluator, QualityMetric
from evaluators.tasks.catalog import network_training, task_row, tasks_of
from search_spaces.registry import import_object, unknown_name


@dataclass(frozen=True)
class LookupRow:
    """An evaluator that trains nothing, and is named as data are: ``kind:PATH``.

    ``make``: ``package.module:name`` of a function from the text after the colon and settings to an ``Evaluator``.
    ``metrics``: those of it that are known beforehand, the first of which searches optimise. ``needs``: what must
    follow the colon, if anything.
    """

    make: str
    metrics: tuple[QualityMetric, ...]
    needs: str = ""


# By the word before the colon, where it is no format of data
LOOKUPS: dict[str, LookupRow] = {
    "table": LookupRow("evaluators.tabular:tabular_quality", (QualityMetric("accuracy"),), "a CSV file"),
}


def data_kinds() -> list[str]:
    """All words that may stand before the colon: formats of data, then what is looked up."""
    return [*data_formats(), *LOOKUPS]


def trainable_task(data: Any, own: str) -> str:
    """``own``, a space's own task, where these data can train it; else ``""``, the data's default."""
    row = _lookup_row(data)
    return own if row is None and own in _tasks(data_spec(data)) else ""


def quality_metric(data: Any, task: str = "") -> str:
    """The metric that searches optimise on these data for that task. Raises ``UnknownName``, ``DataError``."""
    row = _lookup_row(data)
    metrics = task_row(_task(data_spec(data), task)).metrics if row is None else row.metrics
    return metrics[0].name


def make_evaluator(data: Any, task: str = "", **settings: Any) -> Evaluator:
    """The evaluator that trains networks for a task on data: a text such as ``voc:PATH``, or an object of Python.

    task: ``classify``, ``detect``, ``segment`` or another's; by default the first that the data have annotations for.
    Settings go over the defaults of task and data. ``table:PATH`` trains nothing. Raises ``UnknownName``,
    ``DataError``.
    """
    row = _lookup_row(data)
    if row is None:
        spec = data_spec(data)
        defaults = data_format(spec).defaults
        return network_training(
            data if isinstance(data, str) else spec, _task(spec, task), settings, format_defaults=defaults
        )
    kind, _, location = data.partition(":")
    if row.needs and not location:
        raise DataError(f"--data {kind} needs {row.needs}, as in {kind}:path/to/data")
    evaluator: Evaluator = import_object(row.make)(location, **settings)
    return evaluator


def _lookup_row(data: Any) -> LookupRow | None:
    """The row of what is looked up; ``None`` for data. Raises ``UnknownName`` for what is neither."""
    if not isinstance(data, str):
        return None
    kind = data.partition(":")[0]
    if kind not in LOOKUPS and kind not in DATA_FORMATS and kind not in data_formats():
        raise unknown_name("kind of data", kind, data_kinds())
    return LOOKUPS.get(kind)


def _tasks(spec: DataSpec) -> list[str]:
    """The tasks that the data can have annotations for, the default first."""
    return tasks_of(data_format(spec).annotations)


def _task(spec: DataSpec, task: str) -> str:
    """The task asked for, or the data's default. Raises ``DataError`` for one that the data have no annotations for."""
    known = _tasks(spec)
    if not task:
        return known[0]
    if task_row(task).annotation not in data_format(spec).annotations:
        raise DataError(f"--data {spec.kind} cannot train networks to {task}, only to {' or '.join(known)}")
    return task
