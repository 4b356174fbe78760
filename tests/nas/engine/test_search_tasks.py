"""Searches across tasks: the head that is trained is the one given, the space's own, or that of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.engine.search import run
from nas.engine.settings import SearchSettings
from search_spaces.registry import UnknownName

TINY = {
    "classify": {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 32, "width": 0.25},
    "detect": {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 64, "width": 0.25},
    "segment": {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 48, "width": 0.25},
}


@pytest.mark.parametrize(
    ("space", "task", "trained_task", "output"),
    [
        ("mobilenetv2", "", "classify", "logits"),
        ("mobiledet", "", "detect", "box0"),
        ("mobilenetv2", "detect", "detect", "box0"),
        ("mobiledet", "classify", "classify", "logits"),
        ("mobilenetv4", "segment", "segment", "segmentation"),
        ("nasbench201", "", "classify", "logits"),
    ],
)
def test_a_search_trains_the_given_task_or_the_space_s_own(
    tmp_path: Path, space: str, task: str, trained_task: str, output: str
) -> None:
    result = nas.search(
        space,
        "edgetpu",
        task=task,
        trials=6,
        train=1,
        training=TINY[trained_task],
        train_published=False,
        workers=0,
        directory=tmp_path,
    )
    assert output in result.graph(result.front[0]).output_shapes
    quality = {"classify": "accuracy", "detect": "map", "segment": "miou"}[trained_task]
    assert [o.metric for o in result.objectives] == ["latency_ms", quality]
    assert 0 <= result.front[0].metrics[quality] <= 1
    assert result.front[0].measurements[quality].source == "trained:digits"
    assert result.tally.misses == 1


def test_data_that_cannot_train_the_space_s_task_get_their_own_head(
    tmp_path: Path, shared: Callable[[str], Path]
) -> None:
    result = nas.search(
        "mobilenetv2",
        "edgetpu",
        data=f"voc:{shared('data/bccd_detection')}",
        trials=6,
        train=1,
        training=TINY["detect"],
        train_published=False,
        workers=0,
        directory=tmp_path,
    )
    assert "box0" in result.graph(result.front[0]).output_shapes
    assert "map" in result.front[0].metrics


def test_a_resumed_search_trains_the_same_task(tmp_path: Path) -> None:
    arguments = {"trials": 6, "train": 1, "training": TINY["classify"], "train_published": False, "workers": 0}
    first = nas.search("mobilenetv2", "edgetpu", directory=tmp_path, **arguments)  # type: ignore[arg-type]
    settings = SearchSettings.from_document(first.settings)
    again = run(replace(settings, study=first.study, workers=0, directory=tmp_path))
    assert again.tally.resumed == 1
    assert [c.to_document() for c in again.candidates] == [c.to_document() for c in first.candidates]


def test_a_task_without_training_does_not_depend_on_the_data(tmp_path: Path) -> None:
    classified = nas.search("mobiledet", "edgetpu", task="classify", trials=15, train=0, directory=tmp_path)
    assert set(classified.graph(classified.front[0]).output_shapes) == {"logits"}
    with pytest.raises(UnknownName, match="no task 'draw'"):
        nas.search("mobiledet", "edgetpu", task="draw", trials=5, train=1, directory=tmp_path)
