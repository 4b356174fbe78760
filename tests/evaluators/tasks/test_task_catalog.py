"""The table of tasks: defaults for each kind of data, unknown settings, and tasks of other packages and files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from evaluators.data.data_set import Annotation
from evaluators.evaluator import EvaluationJob, QualityMetric
from evaluators.tasks.catalog import TASKS, network_training, setting_names, task_row, tasks, tasks_of
from evaluators.training.task import TaskRow
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.registry import UnknownName, import_object
from search_spaces.task_heads import TASK_HEADS
from tests.support.data_sets import noise_data
from tests.support.installed_package import installed_package

COUNTING = '''
"""A task of somebody else's: how many objects there are in an image."""

from dataclasses import dataclass

import numpy as np
import torch

from evaluators.evaluator import QualityMetric
from evaluators.training.loop import predict_batches
from evaluators.training.task import TaskRow


@dataclass(frozen=True)
class Counting:
    scale: float = 1.0

    def check(self, shapes, num_classes, image_size):
        if list(shapes.values()) != [(1,)]:
            raise ValueError("to count takes one output of one number")

    def initialise(self, module, data):
        pass

    def loss(self, module, data):
        def loss(outputs, image_indices, flipped):
            counts = [len(boxes.labels) for boxes in data.train.targets(image_indices)]
            return (outputs[:, 0] - torch.tensor(counts, dtype=torch.float32)).abs().mean() * self.scale

        return loss

    def measure(self, module, data):
        errors = []
        for chunk, outputs in predict_batches(module, data.validation, data.normalisation):
            counts = np.array([len(boxes.labels) for boxes in data.validation.targets(chunk)])
            errors += abs(outputs[:, 0].numpy() - counts).tolist()
        return {"count_error": float(np.mean(errors))}


ROW = TaskRow(
    "neighbour:Counting",
    "counting",
    "boxes",
    (QualityMetric("count_error", "minimize"),),
    defaults={"steps": 3, "scale": 0.5},
)
NO_ROW = "count"
'''


def test_rows_fit_what_they_name() -> None:
    annotations = set(Annotation.__args__)  # type: ignore[attr-defined]
    assert set(TASKS) == set(TASK_HEADS)
    for name, row in TASKS.items():
        assert row.head == name
        assert row.annotation in annotations
        assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - our own value
        names = setting_names(row)
        assert "data" not in names
        assert set(row.defaults) | set(row.photographs) <= set(names)
        assert len(names) == len(set(names)), "a task's setting hides one of the trainer's"
        assert import_object(row.make)() == import_object(row.make)()
    assert tasks_of(("boxes", "class", "masks")) == ["detect", "classify", "segment"]
    assert tasks_of(("masks", "boxes")) == ["detect", "segment"]
    assert tasks_of(("class",)) == ["classify"]


@pytest.mark.parametrize(
    ("task", "digits", "photographs"),
    [
        ("detect", (96, 100, 16, 0.8, False, 1600, 256), (128, 100, 16, 0.8, True, 2048, 256)),
        ("classify", (48, 200, 32, 0.05, False, 1438, 359), (64, 200, 32, 0.05, True, 4096, 1000)),
        ("segment", (96, 100, 16, 0.2, False, 1600, 256), (128, 100, 16, 0.2, True, 2048, 256)),
    ],
)
def test_defaults_depend_on_the_data(task: str, digits: tuple[object, ...], photographs: tuple[object, ...]) -> None:
    names = ("image_size", "steps", "batch_size", "learning_rate", "horizontal_flip", "max_train_images")
    for data, expected in (("digits", digits), ("voc:somewhere", photographs), ("folder:somewhere", photographs)):
        training = network_training(data, task)
        assert (*(getattr(training, name) for name in names), training.max_val_images) == expected
    changed = network_training("voc:x", task, {"image_size": 32}, format_defaults={"image_size": 64, "steps": 7})
    assert (changed.image_size, changed.steps, changed.horizontal_flip) == (32, 7, True)
    assert network_training("voc:x", task, format_defaults={"min_anchor_scale": 0.1, "match_iou": 0.3}).image_size


def test_unknown_names_have_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="no setting of classification training 'step'; did you mean 'steps'"):
        network_training("digits", "classify", {"step": 3})
    with pytest.raises(UnknownName, match="no setting of classification training 'match_iou'"):
        network_training("digits", "classify", {"match_iou": 0.3})
    with pytest.raises(UnknownName, match="did you mean 'label_smoothing'"):
        network_training("digits", "classify", {"label_smooth": 0.3})
    with pytest.raises(UnknownName, match="no task 'clasify'; did you mean 'classify'"):
        network_training("digits", "clasify")


def test_an_installed_package_adds_a_task(tmp_path: Path) -> None:
    def graph(outputs: int) -> Graph:
        b = Builder()
        return b.build({"count": b.linear(b.reshape(b.input((3, 16, 16)), (3 * 16 * 16,)), outputs)})

    with installed_package(tmp_path, COUNTING, {"nas.tasks": {"count": "ROW"}}):
        assert list(tasks()) == [*TASKS, "count"]
        assert "count" in tasks_of(("boxes",))
        data = noise_data("boxes", 12)
        training = network_training(data, "count", {"image_size": 16, "batch_size": 4, "learning_rate": 0.001})
        assert training == network_training(
            data, task_row("neighbour:ROW"), {"image_size": 16, "batch_size": 4, "learning_rate": 0.001}
        )
        assert (training.name, training.task, training.steps) == ("counting", "", 3)
        assert training.metrics[0] == QualityMetric("count_error", "minimize")
        assert training.cache_identity(1.0)["fidelity"]["scale"] == 0.5
        assert set(training.evaluate(EvaluationJob(graph(1))).metrics) == {"count_error", "final_loss"}
        with pytest.raises(ValueError, match="one output of one number"):
            training.check(graph(2))
        with pytest.raises(UnknownName, match="'neighbour:NO_ROW' is str, not a TaskRow"):
            task_row("neighbour:NO_ROW")
        file = tmp_path / "neighbour.py"
        assert isinstance(task_row(f"{file}:ROW"), TaskRow)
    with pytest.raises(UnknownName, match="no task 'count'"):
        task_row("count")


def test_the_documented_defaults_are_those_of_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "quality.md").read_text(encoding="utf-8")
    columns = {"detect": 2, "classify": 3, "segment": 4}
    for task, column in columns.items():
        digits = network_training("digits", task)
        documented = 0
        for line in page.splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            name = cells[1].split("`")[1] if line.startswith("| `") else ""
            if name not in setting_names(task_row(task)):
                continue
            value = getattr(digits, name, getattr(digits.training_task, name, None))
            shown = "no" if value is False else f"{value:g}"
            assert cells[column] == shown, (task, name)
            documented += 1
        assert documented == len(setting_names(task_row(task))) - 4  # those that are alike for all are in the text
