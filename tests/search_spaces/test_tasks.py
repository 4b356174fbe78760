"""Any backbone under any head: features, shapes, training, and searches across tasks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import nas
from evaluators.catalog import DATA_KINDS, DataRow, EvaluatorRow, make_evaluator, quality_metric, trainable_task
from evaluators.evaluator import DataError
from evaluators.tasks.classification import ClassificationTraining
from evaluators.tasks.detection import DetectionTraining
from evaluators.tasks.segmentation import SegmentationTraining
from nas.candidates.metrics import METRICS
from nas.engine.search import run
from nas.engine.settings import SearchSettings
from search_spaces import catalog
from search_spaces.catalog import spaces
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import SpaceError
from search_spaces.tasks import TASK_HEADS, feature_nodes, space_for_task, task_of
from tests.support.fakes import small_space


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CLASSIFIERS = [name for name in spaces() if name != "leyolo"]


def shapes_of(network: str) -> list[tuple[int, ...]]:
    graph = nas.load_network(network)
    return [graph.nodes[i].shape for i in feature_nodes(graph)]


def test_features_are_block_outputs_and_the_last_map() -> None:
    assert shapes_of("mobilenetv2") == [(16, 112, 112), (24, 56, 56), (32, 28, 28), (96, 14, 14), (1280, 7, 7)]
    assert shapes_of("tinynet_a") == [(16, 96, 96), (24, 48, 48), (40, 24, 24), (112, 12, 12), (1280, 6, 6)]
    assert shapes_of("resnet50_v1")[-2:] == [(1024, 14, 14), (2048, 7, 7)]


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("task", TASK_HEADS)
def test_every_space_takes_every_head(name: str, task: str) -> None:
    space = space_for_task(nas.load_space(name), task)
    small = {o: v for o, v in {"image_size": 64, "width": 0.5, "num_classes": 3}.items() if space.accepts(o)}
    space = space.with_options(**small)
    genotype = space.sample(random.Random(3))
    graph = space.graph(genotype)
    if task == "classify":
        assert graph.output_shapes == {"logits": (3,)}
    elif task == "segment":
        (shape,) = graph.output_shapes.values()
        assert shape[0] == 3
        assert min(shape[1:]) > 1
    else:
        assert {"box0", "class0", "box1", "class1"} <= set(graph.output_shapes)
        assert graph.output_shapes["class0"][0] % 4 == 0  # three classes and the background for each anchor
    assert space.graph(space.parse(space.format(genotype))) == graph
    assert set(space.decisions()) >= set(genotype)


def test_a_detector_from_a_classifier_computes_and_learns() -> None:
    space = space_for_task(nas.load_space("mobilenetv2"), "detect").with_options(
        image_size=64, width=0.25, num_classes=2
    )
    module = nas.to_module(space.graph(space.sample(random.Random(0)))).train()
    outputs = module(torch.randn(2, 3, 64, 64))
    sum(value.square().mean() for value in outputs.values()).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_what_is_no_backbone_is_said() -> None:
    with pytest.raises(SpaceError, match="no task 'draw'; there are classify, detect, segment"):
        space_for_task(nas.load_space("mobilenetv2"), "draw")
    with pytest.raises(SpaceError, match="'leyolo' makes no classifier"):
        space_for_task(nas.load_space("leyolo"), "classify")


@pytest.mark.parametrize(
    ("space", "options", "task"),
    [
        ("mobilenetv4", {}, "classify"),
        ("nasbench201", {}, "classify"),
        ("mobiledet", {}, "detect"),
        ("mobiledet", {"task": "classify"}, "classify"),
        ("mobilenetv2", {"task": "detect"}, "detect"),
        ("leyolo", {}, "detect"),
    ],
)
def test_a_space_says_its_task(space: str, options: dict[str, str], task: str) -> None:
    assert task_of(nas.load_space(space, **options)) == task


@pytest.mark.parametrize("task", TASK_HEADS)
def test_a_space_under_a_head_has_its_task(task: str) -> None:
    assert task_of(space_for_task(nas.load_space("nasbench201"), task)) == task


def test_outputs_that_say_nothing_have_no_task() -> None:
    def two(choose: nas.Choose) -> nas.Graph:
        b = nas.Builder()
        x = b.conv(b.input((3, 8, 8)), choose.one_of("width", (8, 16)), 3)
        return b.build({"a": x, "b": b.act(x, "relu")})

    assert task_of(nas.load_space(two)) == ""
    assert task_of(nas.load_space(small_space)) == "classify"


# -- which evaluator serves which data and task -----------------------------------------------------------------------


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

    monkeypatch.setattr(catalog, "entry_points", lambda group: [Point()] if group == "nas.data" else [])
    assert quality_metric("dots") == "accuracy"
    with pytest.raises(UnknownName, match="did you mean 'dots'"):
        quality_metric("dost")


def test_detection_is_cached_under_the_name_that_it_always_had() -> None:
    identity = DetectionTraining(max_train_images=2, max_val_images=2).cache_identity()
    assert identity["evaluator"] == "detection/1"


TINY = {
    "classify": {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 32, "width": 0.25},
    "detect": {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 64, "width": 0.25},
    "segment": {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 48, "width": 0.25},
}


@pytest.mark.parametrize(
    ("space", "asked", "trained", "output"),
    [
        ("mobilenetv2", "", "classify", "logits"),
        ("mobiledet", "", "detect", "box0"),
        ("mobilenetv2", "detect", "detect", "box0"),
        ("mobiledet", "classify", "classify", "logits"),
        ("mobilenetv4", "segment", "segment", "segmentation"),
        ("nasbench201", "", "classify", "logits"),
    ],
)
def test_a_search_trains_the_task_asked_for_or_the_space_s_own(
    tmp_path: Path, space: str, asked: str, trained: str, output: str
) -> None:
    result = nas.search(
        space,
        "edgetpu",
        task=asked,
        trials=6,
        train=1,
        evaluator=TINY[trained],
        references=False,
        workers=0,
        directory=tmp_path,
    )
    assert output in result.front[0].graph.output_shapes
    quality = quality_metric("digits", trained)
    assert [o.metric for o in result.objectives] == ["latency_ms", quality]
    assert 0 <= result.front[0].metrics[quality] <= 1
    assert result.front[0].measurements[quality].source == "trained:digits"
    assert result.tally.misses == 1


def test_data_without_the_space_s_task_get_their_own_head(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    result = nas.search(
        "mobilenetv2",
        "edgetpu",
        data=f"voc:{shared('data/bccd_detection')}",
        trials=6,
        train=1,
        evaluator=TINY["detect"],
        references=False,
        workers=0,
        directory=tmp_path,
    )
    assert "box0" in result.front[0].graph.output_shapes
    assert "map" in result.front[0].metrics


def test_a_resumed_search_trains_the_same_task(tmp_path: Path) -> None:
    arguments = {"trials": 6, "train": 1, "evaluator": TINY["classify"], "references": False, "workers": 0}
    first = nas.search("mobilenetv2", "edgetpu", directory=tmp_path, **arguments)  # type: ignore[arg-type]
    again = run(SearchSettings.from_document(first.settings), study=first.study, workers=0, directory=tmp_path)
    assert again.tally.resumed == 1
    assert [c.to_document() for c in again.candidates] == [c.to_document() for c in first.candidates]


def test_a_task_without_training_is_no_matter_of_the_data(tmp_path: Path) -> None:
    classified = nas.search("mobiledet", "edgetpu", task="classify", trials=15, train=0, directory=tmp_path)
    assert set(classified.front[0].graph.output_shapes) == {"logits"}
    with pytest.raises(DataError, match="cannot train networks to draw"):
        nas.search("mobiledet", "edgetpu", task="draw", trials=5, train=1, directory=tmp_path)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_every_classifier_space_builds_at_the_scale_of_the_training(name: str, task: str) -> None:
    evaluator = make_evaluator("digits", task)
    space = space_for_task(nas.load_space(name), task)
    space = space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})
    for seed in range(3):
        evaluator.check(space.graph(space.sample(random.Random(seed))))
