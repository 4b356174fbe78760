"""Any backbone under any head: features, shapes, training, and searches across tasks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

import nas
from search_spaces.catalog import spaces
from search_spaces.space import SpaceError
from search_spaces.tasks import HEADS, features_of, space_for

CLASSIFIERS = [name for name in spaces() if name != "leyolo"]


def shapes_of(network: str) -> list[tuple[int, ...]]:
    graph = nas.load_network(network)
    return [graph.nodes[i].shape for i in features_of(graph)]


def test_features_are_block_outputs_and_the_last_map() -> None:
    assert shapes_of("mobilenetv2") == [(16, 112, 112), (24, 56, 56), (32, 28, 28), (96, 14, 14), (1280, 7, 7)]
    assert shapes_of("tinynet_a") == [(16, 96, 96), (24, 48, 48), (40, 24, 24), (112, 12, 12), (1280, 6, 6)]
    assert shapes_of("resnet50_v1")[-2:] == [(1024, 14, 14), (2048, 7, 7)]


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("task", HEADS)
def test_every_space_takes_every_head(name: str, task: str) -> None:
    space = space_for(nas.load_space(name), task)
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
    space = space_for(nas.load_space("mobilenetv2"), "detect").with_options(image_size=64, width=0.25, num_classes=2)
    module = nas.to_module(space.graph(space.sample(random.Random(0)))).train()
    outputs = module(torch.randn(2, 3, 64, 64))
    sum(value.square().mean() for value in outputs.values()).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_what_is_no_backbone_is_said() -> None:
    with pytest.raises(SpaceError, match="no task 'draw'; there are classify, detect, segment"):
        space_for(nas.load_space("mobilenetv2"), "draw")
    with pytest.raises(SpaceError, match="'leyolo' makes no classifier"):
        space_for(nas.load_space("leyolo"), "classify")


def test_a_search_puts_the_head_on_that_its_task_or_its_data_need(tmp_path: Path) -> None:
    classified = nas.search("mobiledet", "edgetpu", task="classify", trials=15, train=0, directory=tmp_path)
    assert set(classified.front[0].graph.output_shapes) == {"logits"}
    evaluator = {"steps": 2, "max_train_images": 32, "max_val_images": 8, "image_size": 64, "width": 0.25}
    detected = nas.search(
        "mobilenetv2",
        "edgetpu",
        trials=15,
        train=1,
        evaluator=evaluator,
        references=False,
        workers=0,
        directory=tmp_path,
    )
    assert "box0" in detected.front[0].graph.output_shapes
    assert detected.tally.misses == 1
