"""Any backbone under any head: features and shapes."""

from __future__ import annotations

import random

import pytest
import torch

import nas
from search_spaces.catalog import spaces
from search_spaces.space.genotype import SpaceError
from search_spaces.task_heads import TASK_HEADS, feature_nodes, space_for_task, task_of
from tests.support.fakes import small_space

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
    own_space = nas.load_space(name)
    space = space_for_task(own_space, task)
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
    # The choices of the space's own networks, and in the same order, since the same draws make them
    own = own_space.with_options(**{o: v for o, v in small.items() if own_space.accepts(o)}).sample(random.Random(3))
    assert {choice: genotype[choice] for choice in own} == dict(own)
    assert set(genotype) - set(own) <= {"feature.width"}
    if name in ("mobilenetv2", "nasbench101"):  # exploring all choices under a head takes seconds in the large spaces
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
