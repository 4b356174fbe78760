"""The evaluator for each kind of data and task, and the rows of installed packages."""

from __future__ import annotations

import random

import pytest

import nas
from evaluators.catalog import DATA_KINDS, DataRow, EvaluatorRow, make_evaluator, quality_metric, trainable_task
from evaluators.evaluator import DataError
from evaluators.tasks.classification import ClassificationTraining
from evaluators.tasks.detection import DetectionTraining
from evaluators.tasks.segmentation import SegmentationTraining
from nas.candidates.metrics import METRICS
from search_spaces import registry
from search_spaces.catalog import spaces
from search_spaces.registry import UnknownName
from search_spaces.task_heads import TASK_HEADS, space_for_task

CLASSIFIERS = [name for name in spaces() if name != "leyolo"]


def test_data_have_an_evaluator_for_each_task() -> None:
    assert [quality_metric("digits", task) for task in ("", *TASK_HEADS)] == ["map", "accuracy", "map", "miou"]
    assert quality_metric("voc:x", "segment") == "miou"
    assert quality_metric("table:x") == quality_metric("table:x", "classify") == "accuracy"
    assert isinstance(make_evaluator("digits"), DetectionTraining)
    classified = make_evaluator("digits", "classify", steps=3)
    assert isinstance(classified, ClassificationTraining)
    assert classified.steps == 3
    assert isinstance(make_evaluator("voc:x", "segment"), SegmentationTraining)
    assert isinstance(make_evaluator("folder:x"), ClassificationTraining)
    with pytest.raises(DataError, match="--data coco cannot train networks to classify, only to detect"):
        make_evaluator("coco:x", "classify")
    with pytest.raises(DataError, match="--data folder needs a folder"):
        make_evaluator("folder")
    for kind, row in DATA_KINDS.items():
        for task, served in row.evaluators.items():
            assert METRICS[served.quality].origin == "quality", (kind, task)


def test_a_space_keeps_its_task_where_the_data_can_train_it() -> None:
    assert trainable_task("digits", "classify") == "classify"
    assert trainable_task("coco:x", "classify") == ""
    assert trainable_task("digits", "") == ""


def test_an_installed_package_adds_data(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "dots"
        value = "dots_package:ROW"

        def load(self) -> DataRow:
            return DataRow(
                {"classify": EvaluatorRow("evaluators.tasks.classification:classification_training", "accuracy")}
            )

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "nas.data" else [])
    assert quality_metric("dots") == "accuracy"
    with pytest.raises(UnknownName, match="did you mean 'dots'"):
        quality_metric("dost")


def test_detection_is_cached_under_the_name_that_it_always_had() -> None:
    identity = DetectionTraining(max_train_images=2, max_val_images=2).cache_identity()
    assert identity["evaluator"] == "detection/1"


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_every_classifier_space_builds_at_the_scale_of_the_training(name: str, task: str) -> None:
    evaluator = make_evaluator("digits", task)
    space = space_for_task(nas.load_space(name), task)
    space = space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})
    for seed in range(3):
        evaluator.check(space.graph(space.sample(random.Random(seed))))
