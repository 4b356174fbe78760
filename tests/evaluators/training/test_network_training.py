"""The one trainer, on every task: what it says of itself, what it gives, what it cannot do, how little it reads."""

from __future__ import annotations

import json
import pickle
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import nas
from evaluators.data.data_set import Normalisation
from evaluators.evaluator import DataError, Diverged, EvaluationJob, NothingToTrain, OutOfMemory, OutOfTime
from evaluators.tasks.catalog import TASKS, network_training
from evaluators.training import loop
from evaluators.training import network_training as trainer
from evaluators.training.network_training import NetworkTraining
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module
from tests.support.data_sets import in_memory, noise_data
from tests.support.small_networks import small_classifier, small_detector, small_segmenter, small_yolo

SMALL: dict[str, Any] = {"steps": 4, "batch_size": 4, "max_train_images": 12, "max_val_images": 8}
NETWORKS: list[tuple[str, Callable[..., Graph], int]] = [
    ("classify", small_classifier, 16),
    ("detect", small_detector, 32),
    ("detect", small_yolo, 32),
    ("segment", small_segmenter, 16),
]


def on_noise(task: str, size: int, images: int = 12, *, bands: int = 3, **settings: Any) -> NetworkTraining:
    data = noise_data(TASKS[task].annotation, images, size=size, channels=bands)
    return network_training(data, task, {**SMALL, "image_size": size, **settings})


# -- what it says of itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_evaluator_is_plain_data(task: str) -> None:
    settings = {"steps": 7, "max_train_images": 20, "max_val_images": 9}
    training = network_training("digits", task, settings)
    assert pickle.loads(pickle.dumps(training)) == training  # noqa: S301 - our own value
    assert hash(training) == hash(network_training("digits", task, settings))
    assert (training.name, training.task) == (TASKS[task].name, task)
    assert [metric.name for metric in training.metrics] == [*(m.name for m in TASKS[task].metrics), "final_loss"]
    assert training.metrics[-1].direction == "minimize"
    identity = training.cache_identity(1.0)
    assert json.loads(json.dumps(identity)) == identity
    batch = f"7 steps of {training.batch_size} images from at most 20"
    expected = f"digits, {training.image_size} px, width x0.5, {batch}, measured on at most 9"
    assert training.describe() == expected


def test_the_data_decide_some_options_of_the_network() -> None:
    for task, classes in (("detect", 10), ("classify", 10), ("segment", 11)):
        training = network_training("digits", task, {"max_train_images": 20, "max_val_images": 9})
        assert training.proxy == {"image_size": training.image_size, "width": 0.5, "num_classes": classes}
        assert training.deploy == {}  # digits stand in for the user's own data
    grey = on_noise("classify", 16, bands=1)
    assert grey.proxy == {"image_size": 16, "width": 0.5, "num_classes": 3, "image_channels": 1}
    assert grey.deploy == {"num_classes": 3, "image_channels": 1}
    with pytest.raises(DataError, match="no folder"):
        _ = network_training("voc:/does/not/exist").proxy
    with pytest.raises(DataError, match="no folder"):
        _ = network_training("voc:/does/not/exist").deploy


def test_wrong_settings_are_refused() -> None:
    wrong: dict[str, Any] = {
        "steps": 0,
        "batch_size": 1,
        "width": 0.0,
        "learning_rate": -1.0,
        "data_seed": -1,
        "time_limit_s": float("nan"),
        "horizontal_flip": 1,
        "channels": -1,
    }
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name} is {value!r}; it must be"):
            network_training("digits", "detect", {name: value})
    for name, value in {"steps": True, "width": "1"}.items():
        with pytest.raises(ValueError, match=f"{name} is {value!r}; it must be of type"):
            network_training("digits", "detect", {name: value})


def test_a_result_depends_on_all_settings_but_the_limits() -> None:
    training = on_noise("detect", 32, horizontal_flip=False)
    identity = training.cache_identity(1.0)
    assert identity == replace(training, time_limit_s=1, memory_limit_mib=1).cache_identity(1.0)
    assert identity["evaluator"] == "detection/1"
    assert identity["data"] == training.data_set().digest
    changes: list[dict[str, Any]] = [
        {"steps": 5},
        {"width": 1.0},
        {"horizontal_flip": True},
        {"data_seed": 1},
        {"channels": 3},
    ]
    for change in changes:
        assert identity != replace(training, **change).cache_identity(1.0)
    assert identity != on_noise("detect", 32, horizontal_flip=False, match_iou=0.5).cache_identity(1.0)
    row = replace(TASKS["detect"], version=2)
    assert replace(training, task_row=row).cache_identity(1.0)["evaluator"] == "detection/1.2"


def test_settings_that_earlier_releases_had_not_leave_the_key_alone() -> None:
    """So that what those trained is found."""
    fidelity = network_training("digits", "classify", {"max_train_images": 20}).cache_identity(1.0)["fidelity"]
    assert set(fidelity) == {
        "image_size",
        "width",
        "steps",
        "batch_size",
        "learning_rate",
        "horizontal_flip",
        "max_train_images",
        "max_val_images",
        "data_seed",
        "label_smoothing",
    }
    assert on_noise("classify", 16, channels=1).cache_identity(1.0)["fidelity"]["channels"] == 1


def test_a_fidelity_is_fewer_steps() -> None:
    training = on_noise("classify", 16, steps=30)
    third = replace(training, steps=10)
    assert training.cache_identity(1 / 3) == third.cache_identity(1.0) != training.cache_identity(1.0)
    graph = small_classifier(16, 3)
    short = training.evaluate(EvaluationJob(graph, fidelity=1 / 3))
    assert short.metrics == third.evaluate(EvaluationJob(graph)).metrics
    assert short.cost.images == 10 * 4
    training.check_fidelities((1 / 9, 1 / 3, 1.0))
    with pytest.raises(ValueError, match=r"of 30 steps, fidelities 0\.01 and 0\.02 are both 1"):
        training.check_fidelities((0.01, 0.02))
    with pytest.raises(ValueError, match="a fidelity is above 0 and up to 1"):
        training.evaluate(EvaluationJob(graph, fidelity=0.0))


# -- what it gives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "network", "size"), NETWORKS)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_every_task_trains_on_images_of_any_number_of_channels(
    task: str, network: Callable[..., Graph], size: int, channels: int
) -> None:
    training = on_noise(task, size, bands=channels, horizontal_flip=True)
    graph = network(size, 3, channels)
    state = torch.get_rng_state()
    first, second, other = (training.evaluate(EvaluationJob(graph, seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.metrics == second.metrics != other.metrics
    assert list(first.metrics) == [metric.name for metric in training.metrics]
    assert all(np.isfinite(value) for value in first.metrics.values())
    assert first.curve == second.curve
    assert [point.images for point in first.curve] == [4, 8, 12, 16]
    assert first.curve[-1].metrics == {"loss": first.metrics["final_loss"]}
    assert first.cost.images == 16
    assert first.cost.seconds is not None
    assert first.cost.seconds > 0
    assert first.cost.peak_memory_mib is None  # nobody counts it on a processor
    assert first.artifact is None


@pytest.mark.parametrize(("task", "network", "size"), NETWORKS)
def test_the_artifact_is_the_trained_network(task: str, network: Callable[..., Graph], size: int) -> None:
    training, graph = on_noise(task, size), network(size, 3)
    evaluation = training.evaluate(EvaluationJob(graph, seed=1, keep_artifact=True))
    assert evaluation.artifact is not None
    module = to_module(graph, 99)
    module.load_state_dict(dict(evaluation.artifact.tensors))
    data = training.data_set()
    measured = training.training_task.measure(module, data)
    assert measured == {name: evaluation.metrics[name] for name in measured}
    metadata = evaluation.artifact.metadata
    assert metadata["task"] == TASKS[task].name
    assert json.loads(metadata["class_names"]) == list(data.class_names)
    assert (metadata["image_size"], metadata["image_channels"]) == (str(size), "3")
    mean, std = (tuple(json.loads(metadata[name])) for name in ("mean", "std"))
    assert Normalisation(mean, std) == data.normalisation


def test_pixels_of_another_depth_train_alike() -> None:
    """A network sees what the normalisation makes of pixels, not how many bits they have."""
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 16), dtype=np.uint8)
    labels = np.arange(12) % 3
    figures = []
    for scale in (1, 256):
        middle = Normalisation((128.0 * scale,) * 3, (128.0 * scale,) * 3)
        data = in_memory(
            images if scale == 1 else images.astype(np.uint16) * 256,
            labels,
            class_names=("a", "b", "c"),
            normalisation=middle,
        )
        training = network_training(data, "classify", {**SMALL, "image_size": 16})
        figures.append(training.evaluate(EvaluationJob(small_classifier(16, 3))).metrics)
    assert figures[0] == figures[1]


@pytest.mark.parametrize(("task", "network", "size"), NETWORKS)
def test_an_untrained_network_is_measured_too(task: str, network: Callable[..., Graph], size: int) -> None:
    training, graph = on_noise(task, size), network(size, 3)
    figures = training.evaluate_untrained(graph, seed=0)
    assert list(figures) == [metric.name for metric in TASKS[task].metrics]
    assert figures == training.evaluate_untrained(graph, seed=0)


@pytest.mark.parametrize(("task", "network", "size"), NETWORKS)
def test_a_hundred_thousand_images_take_no_longer_and_no_more_memory(
    task: str, network: Callable[..., Graph], size: int
) -> None:
    training, graph = on_noise(task, size, images=100_000), network(size, 3)
    train_split: Any = training.data_set().train
    tracemalloc.start()
    started = time.monotonic()
    training.evaluate(EvaluationJob(graph))
    seconds = time.monotonic() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert train_split.read == 4 * 4 + loop.BATCH_NORM_BATCHES * loop.EVALUATION_BATCH_SIZE
    assert peak < 64 * 2**20
    assert seconds < 30


# -- what it cannot do -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "network", "size"), NETWORKS)
def test_networks_for_other_images_are_refused(task: str, network: Callable[..., Graph], size: int) -> None:
    training = on_noise(task, size)
    training.check(network(size, 3))
    other = 2 * size
    with pytest.raises(
        ValueError, match=rf"takes \(3, {other}, {other}\), the data are \(3, {size}, {size}\); use image_size={size}$"
    ):
        training.check(network(other, 3))
    with pytest.raises(ValueError, match=rf"takes \(1, {size}, {size}\), the data are .*, image_channels=3$"):
        training.check(network(size, 3, 1))
    with pytest.raises(ValueError, match="use num_classes=3"):
        training.evaluate(EvaluationJob(network(size, 2)))
    b = Builder()
    with pytest.raises(ValueError, match=r"the network takes \(5,\), the data are"):
        training.check(b.build(b.linear(b.input((5,)), 2)))


def test_data_of_another_kind_are_refused() -> None:
    data = noise_data("class", 12)
    with pytest.raises(DataError, match="detection training needs boxes, but the data 'made up' have class"):
        network_training(data, "detect", {"image_size": 16}).data_set()
    with pytest.raises(DataError, match="'made up' are 16 px, not 24; set image_size=16"):
        network_training(data, "classify", {"image_size": 24}).data_set()


def test_planned_failures() -> None:
    training, job = on_noise("classify", 16), EvaluationJob(small_classifier(16, 3))
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step"):
        replace(training, learning_rate=1e30).evaluate(job)
    with pytest.raises(OutOfTime, match="of 4 steps took the 1e-09 s"):
        replace(training, time_limit_s=1e-9).evaluate(job)
    with pytest.raises(OutOfMemory, match=r"estimated at 1\d\d MiB, over the limit of 64 MiB"):
        replace(training, memory_limit_mib=64).evaluate(job)
    with pytest.raises(ValueError, match=r"no compute device 'abacus': .*; give cpu, cuda or cuda:0"):
        training.evaluate(replace(job, compute_device="abacus"))
    b = Builder()
    fixed = b.slice(b.reshape(b.input((3, 16, 16)), (3 * 16 * 16,)), 0, 0, 3)
    with pytest.raises(NothingToTrain, match="no parameters"):
        training.evaluate(EvaluationJob(b.build({"logits": fixed})))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), OutOfMemory),
        (RuntimeError("a bug"), RuntimeError),
        (KeyError("a bug"), KeyError),
    ],
)
def test_only_failures_of_memory_are_planned(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trainer, "train", fail)
    with pytest.raises(expected):
        on_noise("classify", 16).evaluate(EvaluationJob(small_classifier(16, 3)))


def test_a_space_is_built_for_the_trainer_and_trains() -> None:
    for task, name in (("classify", "mobilenetv2"), ("detect", "mobiledet"), ("detect", "leyolo")):
        training = network_training("digits", task, {**SMALL, "steps": 2, "width": 0.25, "image_size": 64})
        space = nas.load_space(name)
        space = space.with_options(**{o: v for o, v in training.proxy.items() if space.accepts(o)})
        job = EvaluationJob(space.graph(space.sample(random.Random(0))))
        assert training.evaluate(job).metrics["final_loss"] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
@pytest.mark.parametrize(("task", "network", "size"), NETWORKS)
def test_a_gpu_trains_the_same_network(task: str, network: Callable[..., Graph], size: int) -> None:
    training = on_noise(task, size, horizontal_flip=True, learning_rate=0.01)
    job = EvaluationJob(network(size, 3), seed=1, keep_artifact=True)
    here = training.evaluate(job)
    state = torch.cuda.get_rng_state()
    there = training.evaluate(replace(job, compute_device="cuda"))
    assert torch.equal(torch.cuda.get_rng_state(), state)
    losses = [[point.metrics["loss"] for point in evaluation.curve] for evaluation in (here, there)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert there.cost.peak_memory_mib is not None
    assert there.cost.peak_memory_mib > 0
    assert there.artifact is not None
    assert all(tensor.device.type == "cpu" for tensor in there.artifact.tensors.values())
