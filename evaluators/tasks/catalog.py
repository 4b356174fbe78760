"""Tasks by name: a table of strings, and the training of networks for one of them on some data.

A new task is a file and a row in ``TASKS``; other packages add rows through the entry-point group ``nas.tasks``, whose
objects are ``TaskRow``. Every task trains on all data that have its kind of annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from evaluators.data.data_set import Annotation
from evaluators.evaluator import QualityMetric
from evaluators.training.settings import TrainingSettings, is_drawn
from evaluators.training.task import TaskRow
from search_spaces.registry import UnknownName, import_named, import_object, named_row, table_with_plugins, unknown_name

if TYPE_CHECKING:
    from evaluators.training.network_training import NetworkTraining

TASKS: dict[str, TaskRow] = {
    "detect": TaskRow(
        "evaluators.tasks.detection:DetectionTask",
        "detection",
        "boxes",
        (QualityMetric("map", label="mAP@[.5:.95]"), QualityMetric("map50", label="mAP@.5")),
        head="detect",
        photographs={
            "image_size": 128,
            "min_anchor_scale": 0.2,
            "horizontal_flip": True,
            "max_train_images": 2048,
        },
    ),
    "classify": TaskRow(
        "evaluators.tasks.classification:ClassificationTask",
        "classification",
        "class",
        (QualityMetric("accuracy", label="accuracy"), QualityMetric("top5", label="top-5 accuracy")),
        head="classify",
        defaults={
            "image_size": 48,
            "steps": 200,
            "batch_size": 32,
            "learning_rate": 0.05,
            "max_train_images": 1438,  # all the handwriting there is
            "max_val_images": 359,
        },
        photographs={"image_size": 64, "horizontal_flip": True, "max_train_images": 4096, "max_val_images": 1000},
    ),
    "segment": TaskRow(
        "evaluators.tasks.segmentation:SegmentationTask",
        "segmentation",
        "masks",
        (QualityMetric("miou", label="mIoU"), QualityMetric("pixel_accuracy", label="pixel accuracy")),
        head="segment",
        defaults={"learning_rate": 0.2},
        photographs={"image_size": 128, "horizontal_flip": True, "max_train_images": 2048},
    ),
}
"""In the order in which data choose a task where nobody does: the first that their annotations allow.

The defaults are for ``digits``; photographs are larger, and may be mirrored.
"""


def tasks() -> dict[str, TaskRow]:
    """All tasks by name, those of installed plug-ins after the project's own."""
    return {**TASKS, **table_with_plugins("nas.tasks", TASKS, TaskRow)}


def task_row(task: str) -> TaskRow:
    """A task by name, or as ``package.module:ROW`` or ``./file.py:ROW``. Raises ``UnknownName``."""
    if ":" not in task:
        return named_row("task", task, tasks())
    row = import_named(task, UnknownName)
    if not isinstance(row, TaskRow):
        raise UnknownName(f"{task!r} is {type(row).__name__}, not a TaskRow")
    return row


def tasks_of(annotations: tuple[Annotation, ...]) -> list[str]:
    """The names of the tasks that data with these kinds of annotation can train, the default first."""
    return [name for name, row in tasks().items() if row.annotation in annotations]


def setting_names(row: TaskRow) -> list[str]:
    """The settings of training for a task: the trainer's, then the task's own."""
    return [f.name for kind in (TrainingSettings, import_object(row.make)) for f in fields(kind) if f.name != "data"]


def network_training(
    data: Any = "digits",
    task: str | TaskRow = "detect",
    settings: Mapping[str, Any] | None = None,
    *,
    format_defaults: Mapping[str, Any] | None = None,
) -> NetworkTraining:
    """The evaluator that trains networks for this task on these data, with ``settings`` over the defaults.

    ``data``: as ``open_data_set`` takes them, or an open ``DataSet``. Defaults are those of the task, for photographs
    unless the data are the drawn digits, and over them those of the data's format, of which settings that the task
    does not have are left out.
    Raises ``UnknownName`` for an unknown setting, ``ValueError`` for a value that makes no sense.
    """
    from evaluators.training.network_training import NetworkTraining

    row = task_row(task) if isinstance(task, str) else task
    names = setting_names(row)
    settings = dict(settings or {})
    for name in settings:
        if name not in names:
            raise unknown_name(f"setting of {row.name} training", name, names)
    chosen = {
        **row.defaults,
        **({} if is_drawn(data) else row.photographs),
        **{name: value for name, value in (format_defaults or {}).items() if name in names},
        **settings,
    }
    make = import_object(row.make)
    own = {f.name for f in fields(make)}
    return NetworkTraining(
        data=data,
        task_row=row,
        training_task=make(**{name: value for name, value in chosen.items() if name in own}),
        **{name: value for name, value in chosen.items() if name not in own},
    )
