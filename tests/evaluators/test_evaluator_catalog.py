"""The evaluator for each kind of data and task, and the rows of installed packages."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from evaluators.catalog import data_kinds, make_evaluator, quality_metric, trainable_task
from evaluators.data.catalog import DATA_FORMATS
from evaluators.evaluator import DataError, EvaluationJob
from evaluators.tasks.catalog import TASKS, tasks_of
from evaluators.training.network_training import NetworkTraining
from search_spaces.catalog import spaces
from search_spaces.registry import UnknownName
from search_spaces.task_heads import TASK_HEADS, space_for_task
from tests.evaluators.data.test_data_catalog import OWN_FORMAT
from tests.support.image_folders import write_noise
from tests.support.installed_package import installed_package

CLASSIFIERS = [name for name in spaces() if name != "leyolo"]


def test_data_have_an_evaluator_for_each_task() -> None:
    assert [quality_metric("digits", task) for task in ("", *TASK_HEADS)] == ["map", "accuracy", "map", "miou"]
    assert quality_metric("voc:x", "segment") == "miou"
    assert quality_metric("table:x") == quality_metric("table:x", "classify") == "accuracy"
    assert make_evaluator("digits").name == "detection"
    classified = make_evaluator("digits", "classify", steps=3)
    assert isinstance(classified, NetworkTraining)
    assert (classified.name, classified.steps) == ("classification", 3)
    assert make_evaluator("voc:x", "segment").name == "segmentation"
    assert make_evaluator("folder:x").name == "classification"
    with pytest.raises(DataError, match="--data coco cannot train networks to classify, only to detect or segment"):
        make_evaluator("coco:x", "classify")
    with pytest.raises(DataError, match="--data folder needs a folder, as in folder:path/to/images"):
        make_evaluator("folder")
    with pytest.raises(DataError, match="--data table needs a CSV file"):
        make_evaluator("table")
    for name in ("tabel:x", "tabel"):
        with pytest.raises(UnknownName, match="no kind of data 'tabel'; did you mean 'table'"):
            make_evaluator(name)


@pytest.mark.parametrize("kind", DATA_FORMATS)
def test_every_format_trains_for_every_task_that_its_annotations_allow(kind: str) -> None:
    row = DATA_FORMATS[kind]
    data = row.example or kind
    assert kind in data_kinds()
    assert len(tasks_of(row.annotations)) >= len(row.annotations)
    for task in tasks_of(row.annotations):
        evaluator = make_evaluator(data, task)
        assert evaluator.metrics[0].name == quality_metric(data, task) == TASKS[task].metrics[0].name


def test_a_space_keeps_its_task_where_the_data_can_train_it() -> None:
    assert trainable_task("digits", "classify") == "classify"
    assert trainable_task("coco:x", "classify") == ""
    assert trainable_task("digits", "") == ""
    assert trainable_task("table:x", "classify") == ""


def samples(count: int = 12) -> list[Any]:
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (24, 24, 3), np.uint8), number % 2) for number in range(count)]


def test_objects_of_python_are_data_too() -> None:
    evaluator = make_evaluator(samples(), "classify", steps=2, image_size=32, batch_size=4)
    assert isinstance(evaluator, NetworkTraining)
    assert evaluator.proxy["num_classes"] == 2
    assert evaluator.describe().startswith("python:list of 12 samples, 32 px")
    space = nas.load_space("mobilenetv2").with_options(**evaluator.proxy)
    graph = space.graph(space.sample(random.Random(0)))
    assert 0 <= evaluator.evaluate(EvaluationJob(graph)).metrics["accuracy"] <= 1
    assert trainable_task(samples(), "classify") == "classify"


def test_the_example_of_the_page_about_data_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    exec(page.partition("```python\n")[2].partition("```")[0], {})  # noqa: S102 - our own text
    assert capsys.readouterr().out.startswith("python:list of 40 samples, 32 px,")


def test_a_format_of_a_package_is_trained_on(tmp_path: Path) -> None:
    for number in range(12):
        write_noise(tmp_path / "data" / f"{('cat', 'dog')[number % 2]}_{number:02}.png", number)
    with installed_package(tmp_path / "site", OWN_FORMAT, {"nas.data": {"prefixed": "ROW"}}):
        data = f"prefixed:{tmp_path / 'data'}"
        assert "prefixed" in data_kinds()
        assert (quality_metric(data), trainable_task(data, "detect")) == ("accuracy", "")
        evaluator = make_evaluator(data, image_size=32, batch_size=4)
        assert isinstance(evaluator, NetworkTraining)
        assert (evaluator.steps, evaluator.horizontal_flip) == (7, True)
        space = nas.load_space("mobilenetv2").with_options(**evaluator.proxy)
        graph = space.graph(space.sample(random.Random(0)))
        assert 0 <= evaluator.evaluate(EvaluationJob(graph)).metrics["accuracy"] <= 1
        with pytest.raises(UnknownName, match="did you mean 'prefixed'"):
            quality_metric("prefixd:x")


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_every_classifier_space_builds_at_the_scale_of_the_training(name: str, task: str) -> None:
    evaluator = make_evaluator("digits", task)
    space = space_for_task(nas.load_space(name), task)
    space = space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})
    for seed in range(3):
        evaluator.check(space.graph(space.sample(random.Random(seed))))
