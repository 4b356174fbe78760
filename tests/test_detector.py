"""The training evaluator: it learns, repeats, and says what it cannot do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators import detector, ssd, ssd_training
from evaluators.detector import (
    CLASS_BIAS,
    DetectionTraining,
    detection_training,
    initialise,
    residual_norms,
)
from evaluators.quality import DataError, Diverged, OutOfMemory, OutOfTime
from evaluators.ssd_training import estimate_statistics, feature_sizes, train_detector
from search_spaces.blocks import conv_norm_act, inverted_bottleneck
from search_spaces.builder import Builder
from search_spaces.catalog import network_space
from search_spaces.graph import Graph
from search_spaces.heads import ssdlite
from search_spaces.module import to_module

SMALL = DetectionTraining(image_size=48, steps=12, batch_size=8, max_train_images=96, max_val_images=32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_detector(image_size: int = 48, num_classes: int = 10) -> Graph:
    """Six convolutions and two residual blocks to a stride of 8, then an SSDLite head."""
    b = Builder()
    x = conv_norm_act(b, b.input((3, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 32, 3, 2)
    x = conv_norm_act(b, x, 48, 3, 2)
    for _ in range(2):
        x = inverted_bottleneck(b, x, 48, expanded=96, residual=True)
    return b.build(ssdlite(b, [x], num_classes=num_classes, extra_widths=(64, 64, 64, 64)))


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
        (b.build({"logits": x}), "no SSD head"),
        (small_detector(64), r"takes \(3, 64, 64\), the data are \(3, 48, 48\); use image_size=48"),
        (small_detector(num_classes=9), "class0 has 30 channels, not 33; use num_classes=10"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(graph, seed=0)


# -- starting point --------------------------------------------------------------------------------------------------


def test_residual_branches_start_at_zero_and_predictors_at_the_prior() -> None:
    graph = small_detector()
    ends = residual_norms(graph)
    assert len(ends) == 2
    module = to_module(graph, 0)
    initialise(module)
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


def test_levels_are_found_by_running() -> None:
    module = to_module(small_detector(), 0)
    assert feature_sizes(module, 48) == [(6, 6), (3, 3), (2, 2), (1, 1)]
    assert module.training
    with pytest.raises(ValueError, match="returns one tensor"):
        feature_sizes(torch.nn.Conv2d(3, 4, 3), 48)


def test_batch_statistics_are_those_of_the_data() -> None:
    norm = torch.nn.BatchNorm2d(3, momentum=0.01)
    split = SMALL.load().train
    estimate_statistics(norm, split, np.random.default_rng(0))
    assert norm.momentum == 0.01
    pixels = torch.from_numpy(split.images / 127.5 - 1).float()
    torch.testing.assert_close(norm.running_mean, pixels.mean((0, 2, 3)), rtol=0, atol=0.03)
    torch.testing.assert_close(norm.running_var, pixels.var((0, 2, 3)), rtol=0.1, atol=0)


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
    untrained = training.untrained(graph, seed=0)
    trained = training.evaluate(graph, seed=0)
    assert untrained["map"] < 0.02
    assert trained["map50"] > 0.1
    assert trained["map"] > 3 * untrained["map"]


def test_flips_carry_the_boxes_along() -> None:
    data = SMALL.load()
    anchors = ssd.anchors([(6, 6), (3, 3)], 48)
    codes, classes = (t[:4] for t in ssd_training._targets(data.train, anchors, 0.4, 48, True))
    boxes = ssd.decode(codes, anchors)
    for image in range(4):
        found = boxes[image][classes[image] > 0]
        mirrored = found[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([48, 0, 48, 0])
        expected = torch.from_numpy(np.array(data.train.boxes[image]))
        assert torch.cdist(mirrored, expected).min(1).values.max() < 1e-3
        assert torch.cdist(expected, mirrored).min(1).values.max() < 1e-3


def test_training_takes_any_module_with_an_ssd_head() -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3, 8, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
            )
            self.box, self.score = torch.nn.Conv2d(8, 12, 1), torch.nn.Conv2d(8, 33, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            x = self.body(x)
            return {"box0": self.box(x), "class0": self.score(x)}

    loss = train_detector(
        Head(),
        SMALL.load(),
        steps=3,
        batch_size=4,
        learning_rate=0.1,
        min_anchor_scale=0.4,
        match_iou=0.4,
        horizontal_flip=True,
        seed=0,
    )
    assert np.isfinite(loss)


# -- planned failures ------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_is_diverged() -> None:
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step"):
        replace(SMALL, learning_rate=1e30).evaluate(small_detector(), seed=0)


def test_answers_that_are_no_numbers_are_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(module: torch.nn.Module, *_: object, **__: object) -> float:
        for parameter in module.parameters():
            torch.nn.init.constant_(parameter, float("nan"))
        return 1.0

    monkeypatch.setattr(detector, "train_detector", spoil)
    with pytest.raises(Diverged, match="outputs are not finite"):
        SMALL.evaluate(small_detector(), seed=0)


def test_the_time_limit_ends_training() -> None:
    with pytest.raises(OutOfTime, match="of 12 steps took the 1e-09 s"):
        replace(SMALL, time_limit_s=1e-9).evaluate(small_detector(), seed=0)


def test_too_large_a_network_is_refused_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "train_detector", lambda *_, **__: pytest.fail("it trained"))
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

    monkeypatch.setattr(detector, "train_detector", fail)
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
    assert training.untrained(graph, seed=0)["map"] < 0.03
    assert training.evaluate(graph, seed=0)["map"] > 0.2
