"""The training evaluator: it learns, repeats, and says what it cannot do."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.evaluator import DataError, Diverged, OutOfMemory, OutOfTime
from evaluators.tasks import detection, ssd, ssd_head, yolo_head
from evaluators.tasks.detection import DetectionTraining, detection_training, head_kind, measure
from evaluators.tasks.ssd_head import CLASS_BIAS
from evaluators.training.initialisation import residual_norms
from evaluators.training.loop import network_input, reestimate_batch_norm, train
from search_spaces.blocks.heads import ssdlite
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.catalog import load_space, network_space
from search_spaces.families.leyolo import dnin
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph

SMALL = DetectionTraining(image_size=48, steps=12, batch_size=8, max_train_images=96, max_val_images=32)


def small_detector(image_size: int = 48, num_classes: int = 10) -> Graph:
    """Six convolutions and two residual blocks to a stride of 8, then an SSDLite head."""
    b = Builder()
    x = conv_norm_act(b, b.input((3, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 32, 3, 2)
    x = conv_norm_act(b, x, 48, 3, 2)
    for _ in range(2):
        x = inverted_bottleneck(b, x, 48, expanded=96, residual=True)
    return b.build(ssdlite(b, [x], num_classes=num_classes, extra_widths=(64, 64, 64, 64)))


def small_yolo(image_size: int = 64, num_classes: int = 10) -> Graph:
    """Convolutions, with redundant biases, to the strides 8, 16 and 32, then the head of LeYOLO."""
    b = Builder()
    x = conv_norm_act(b, b.input((3, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 24, 3, 2)
    features = []
    for width in (32, 48, 48):
        x = b.act(b.norm(b.conv(x, width, 3, 2, padding=1, bias=True)), "silu")
        x = inverted_bottleneck(b, x, width, expanded=2 * width, residual=True)
        features.append(x)
    return b.build(dnin(b, features, num_classes=num_classes))


# -- the value -------------------------------------------------------------------------------------------------------


def test_the_evaluator_is_plain_data() -> None:
    training = detection_training("digits", steps=7)
    assert DetectionTraining(**json.loads(json.dumps(asdict(training)))) == training
    assert pickle.loads(pickle.dumps(training)) == training  # noqa: S301 - our own value
    assert training.proxy == {"image_size": 96, "width": 0.5, "num_classes": 10}
    assert training.deploy == {}  # digits stand in for the user's own data
    assert training.describe().startswith("digits, 96 px, width x0.5, 7 steps of 16 images from at most 1600")
    assert detection_training("voc:somewhere").horizontal_flip
    with pytest.raises(DataError, match="no folder"):
        _ = detection_training("voc:/does/not/exist").proxy


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        detection_training("digits", step=3)
    for name, value in {"steps": 0, "batch_size": 1, "width": 0.0, "time_limit_s": float("nan")}.items():
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            detection_training("digits", **{name: value})


def test_graphs_that_are_no_detector_for_the_data_are_refused() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 48, 48)), 8, 3, 2)
    for graph, message in (
        (b.build({"logits": x}), "no detection head"),
        (small_detector(64), r"takes \(3, 64, 64\), the data are \(3, 48, 48\); use image_size=48"),
        (small_detector(num_classes=9), "as SSD, class0 has 30 channels, not 33; use num_classes=10"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(graph, seed=0)


def test_a_head_is_known_by_its_shapes() -> None:
    kinds = {graph: head_kind(graph.output_shapes, 64, 10).loss for graph in (small_detector(64), small_yolo(64))}
    assert list(kinds.values()) == [ssd_head.LOSS_DESCRIPTION, yolo_head.LOSS_DESCRIPTION]
    space = load_space("emo", task="detect", image_size=64, num_classes=10)
    emo = space.graph(space.sample(random.Random(0)))
    assert head_kind(emo.output_shapes, 64, 10).loss == ssd_head.LOSS_DESCRIPTION
    levels = len(emo.outputs) // 2
    map_sides = [int(emo.output_shapes[f"box{i}"][1]) for i in range(levels)]
    head = ssd_head.ssd_head(emo.output_shapes, 64, 10)
    assert len(head.anchors) == 6 * sum(side * side for side in map_sides)


def test_a_yolo_head_for_other_data_is_refused() -> None:
    good = dict(small_yolo(64).output_shapes)
    for wrong, message in (
        ({"class1": (9, 4, 4)}, "as YOLO, class1 has 9 channels, not 10; use num_classes=10"),
        ({"box2": (32, 2, 2)}, "as YOLO, box2 has 32 channels; it must have 4 times as many as there are bins"),
        ({"box1": (64, 8, 8)}, "as YOLO, box1 has 8 x 8 positions, not the 4 x 4 of stride 16"),
    ):
        with pytest.raises(ValueError, match=message):
            head_kind({**good, **wrong}, 64, 10)


# -- starting point --------------------------------------------------------------------------------------------------


def test_residual_branches_start_at_zero_and_predictors_at_the_prior() -> None:
    graph = small_detector()
    ends = residual_norms(graph)
    assert len(ends) == 2
    module, _ = SMALL._build_network(graph, 0)
    for index, layer in module.layers.items():
        if graph.nodes[int(index)].op == "norm":
            assert (not torch.any(torch.as_tensor(layer.weight))) == (int(index) in ends)
    module.eval()
    outputs = module(torch.rand(2, 3, 48, 48))
    assert isinstance(outputs, dict)
    assert all(torch.all(v == (CLASS_BIAS if n.startswith("class") else 0)) for n, v in outputs.items())


def test_only_the_branch_of_a_sum_counts_as_residual() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 8, 8)), 8, 3, act="identity")
    first, second = (conv_norm_act(b, x, 8, kernel, act="identity") for kernel in (3, 5))
    parallel = b.build({"y": b.conv(b.add(first, second), 8, 1)})
    assert residual_norms(parallel) == []
    space, architecture = network_space("mobiledet_edgetpu")
    assert len(residual_norms(space.graph(space.parse(architecture)))) == 15


def test_yolo_scores_start_at_few_objects_an_image_and_distances_flat() -> None:
    graph = small_yolo(64)
    module, _ = detection_training("digits", image_size=64)._build_network(graph, 0)
    module.eval()
    outputs = module(torch.rand(2, 3, 64, 64))
    for level, side in enumerate((8, 4, 2)):
        assert not outputs[f"box{level}"].any()
        expected = torch.full((2, 10, side, side), 5 / 10 / side**2)
        torch.testing.assert_close(outputs[f"class{level}"].exp(), expected)
    assert not any(
        layer.bias is not None
        for layer in module.layers.values()
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.any()
    )


# -- training --------------------------------------------------------------------------------------------------------


def test_the_loss_falls() -> None:
    graph = small_detector()
    first, last = (replace(SMALL, steps=steps).evaluate(graph, seed=0)["final_loss"] for steps in (1, 60))
    assert last < 0.6 * first


def test_the_same_seed_gives_the_same_result_to_the_bit() -> None:
    graph = small_detector()
    state = torch.get_rng_state()
    first, second, other = (SMALL.evaluate(graph, seed=seed) for seed in (3, 3, 4))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)
    assert set(first) == {"map", "map50", "final_loss"}


def test_training_beats_no_training() -> None:
    training = replace(SMALL, image_size=64, steps=80, batch_size=16, max_train_images=400)
    graph = small_detector(64)
    untrained = training.evaluate_untrained(graph, seed=0)
    trained = training.evaluate(graph, seed=0)
    assert untrained["map"] < 0.02
    assert trained["map50"] > 0.1
    assert trained["map"] > 3 * untrained["map"]


def test_flips_carry_the_boxes_along() -> None:
    data = SMALL.load()
    anchors = ssd.anchors([(6, 6), (3, 3)], 48)
    codes, classes = (t[:4] for t in ssd_head._targets(data.train, anchors, 0.4, 48, True))
    boxes = ssd.decode(codes, anchors)
    for image in range(4):
        matched_boxes = boxes[image][classes[image] > 0]
        mirrored = matched_boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([48, 0, 48, 0])
        expected = torch.from_numpy(np.array(data.train.boxes[image]))
        assert torch.cdist(mirrored, expected).min(1).values.max() < 1e-3
        assert torch.cdist(expected, mirrored).min(1).values.max() < 1e-3


def test_a_yolo_network_fits_eight_images() -> None:
    """They are validated on: of one data set the two splits are the same eight images."""
    training = DetectionTraining(image_size=64, steps=40, batch_size=8, max_train_images=8, max_val_images=8)
    data = training.load()
    same = replace(data, validation=data.train)
    graph = small_yolo(64)
    module, head = training._build_network(graph, 0)
    reestimate_batch_norm(module, data.train.images, np.random.default_rng(0))
    before = measure(module, head, same)
    loss = head.loss(data.train, horizontal_flip=False)
    none = np.zeros(8, np.bool_)
    first = loss(module(network_input(data.train.images)), np.arange(8), none).item()
    last = train(
        module, data.train.images, loss, steps=40, batch_size=8, learning_rate=0.8, horizontal_flip=False, seed=0
    )
    after = measure(module, head, same)
    assert last < 0.2 * first
    assert before["map"] < 0.02
    assert after["map"] > 0.7


def test_leyolo_is_trained_by_the_evaluator() -> None:
    training = replace(SMALL, image_size=64, width=0.25, steps=2, horizontal_flip=True)
    space = load_space("leyolo", **training.proxy)
    graph = space.graph(space.sample(random.Random(0)))
    first, second = (training.evaluate(graph, seed=1) for _ in range(2))
    assert first == second
    assert set(first) == {"map", "map50", "final_loss"}


# -- planned failures ------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_is_diverged() -> None:
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step"):
        replace(SMALL, learning_rate=1e30).evaluate(small_detector(), seed=0)


def test_outputs_that_are_not_finite_are_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_nan_weights(module: torch.nn.Module, *_: object, **__: object) -> float:
        for parameter in module.parameters():
            torch.nn.init.constant_(parameter, float("nan"))
        return 1.0

    monkeypatch.setattr(detection, "train", set_nan_weights)
    with pytest.raises(Diverged, match="outputs are not finite"):
        SMALL.evaluate(small_detector(), seed=0)


def test_the_time_limit_ends_training() -> None:
    with pytest.raises(OutOfTime, match="of 12 steps took the 1e-09 s"):
        replace(SMALL, time_limit_s=1e-9).evaluate(small_detector(), seed=0)


def test_too_large_a_network_is_refused_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(OutOfMemory, match=r"estimated at 1\d\d MiB, over the limit of 64 MiB"):
        replace(SMALL, memory_limit_mib=64).evaluate(small_detector(), seed=0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
        (RuntimeError("a bug"), RuntimeError),
        (KeyError("a bug"), KeyError),
    ],
)
def test_only_failures_of_memory_are_planned(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> float:
        raise error

    monkeypatch.setattr(detection, "train", fail)
    with pytest.raises(expected):
        SMALL.evaluate(small_detector(), seed=0)


# -- published figures of the proxy ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("network", "least"), [("mobiledet_edgetpu", 0.35), ("mobiledet_dsp", 0.45)])
def test_digits_proxy(network: str, least: float) -> None:
    training = detection_training("digits")
    space, architecture = network_space(network, **training.proxy)
    assert training.evaluate(space.graph(space.parse(architecture)), seed=0)["map"] > least


@pytest.mark.slow
def test_blood_cells_proxy(shared: Callable[[str], Path]) -> None:
    training = detection_training(f"voc:{shared('data/bccd_detection')}")
    space, architecture = network_space("mobiledet_edgetpu", **training.proxy)
    graph = space.graph(space.parse(architecture))
    assert training.evaluate_untrained(graph, seed=0)["map"] < 0.03
    assert training.evaluate(graph, seed=0)["map"] > 0.2
