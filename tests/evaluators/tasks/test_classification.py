"""Training classifiers: it learns, repeats, and says what it cannot do."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.evaluator import DataError, Diverged, NothingToTrain, OutOfMemory, OutOfTime
from evaluators.tasks.classification import ClassificationTraining, classification_training
from evaluators.tasks.image_task import initialise_network
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module

SMALL = ClassificationTraining(image_size=24, steps=12, batch_size=8, max_train_images=96, max_val_images=64)


def small_classifier(image_size: int = 24, num_classes: int = 10) -> Graph:
    b = Builder()
    x = conv_norm_act(b, b.input((3, image_size, image_size)), 16, 3, 2)
    x = conv_norm_act(b, x, 32, 3, 2)
    x = inverted_bottleneck(b, x, 32, expanded=64, residual=True)
    return b.build({"logits": classifier(b, x, num_classes)})


def test_the_evaluator_is_plain_data() -> None:
    training = classification_training("digits", steps=7)
    assert ClassificationTraining(**json.loads(json.dumps(asdict(training)))) == training
    assert pickle.loads(pickle.dumps(training)) == training  # noqa: S301 - our own value
    assert training.proxy == {"image_size": training.image_size, "width": 0.5, "num_classes": 10}
    assert training.deploy == {}
    assert (training.task, training.quality) == ("classify", "accuracy")
    assert classification_training("folder:somewhere").horizontal_flip
    assert not training.horizontal_flip
    with pytest.raises(DataError, match="no folder"):
        _ = classification_training("folder:/does/not/exist").proxy
    identity = SMALL.cache_identity()
    assert identity["evaluator"] == "classification/1"
    assert identity["fidelity"]["label_smoothing"] == 0.1
    assert identity != replace(SMALL, label_smoothing=0.0).cache_identity()


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        classification_training("digits", step=3)
    with pytest.raises(ValueError, match=r"label_smoothing is 1\.0; it must be"):
        classification_training("digits", label_smoothing=1.0)
    with pytest.raises(ValueError, match="steps is 0"):
        classification_training("digits", steps=0)


def test_networks_that_are_no_classifier_of_the_data_are_refused() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 24, 24)), 8, 3, 2)
    for graph, message in (
        (b.build({"map": x}), r"no classifier: the network gives map \(8, 12, 12\)"),
        (small_classifier(32), r"takes \(3, 32, 32\), the data are \(3, 24, 24\); use image_size=24"),
        (small_classifier(num_classes=9), "logits has 9 classes, not 10; use num_classes=10"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(graph, seed=0)


def test_all_classes_are_equally_likely_at_first() -> None:
    module = to_module(small_classifier(), 0)
    initialise_network(module)
    scores = module(torch.rand(2, 3, 24, 24))
    assert isinstance(scores, Tensor)
    assert not scores.any()
    loss = SMALL.loss(SMALL.load().train.targets)
    value = loss(scores, np.array([0, 1]), np.zeros(2, np.bool_)).item()
    assert value == pytest.approx(np.log(10), abs=1e-6)


def test_sixteen_images_are_learnt_by_heart() -> None:
    training = replace(
        SMALL, steps=60, batch_size=16, max_train_images=16, label_smoothing=0.0, learning_rate=0.05, max_val_images=8
    )
    first = replace(training, steps=1).evaluate(small_classifier(), seed=0)["final_loss"]
    assert first == pytest.approx(np.log(10), abs=1e-5)
    assert training.evaluate(small_classifier(), seed=0)["final_loss"] < 0.1


def test_the_same_seed_gives_the_same_result_to_the_bit() -> None:
    graph = small_classifier()
    state = torch.get_rng_state()
    first, second, other = (SMALL.evaluate(graph, seed=seed) for seed in (3, 3, 4))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)
    assert set(first) == {"accuracy", "top5", "final_loss"}


def test_training_beats_no_training() -> None:
    training = replace(SMALL, steps=200, batch_size=32, max_train_images=1400, max_val_images=300, learning_rate=0.2)
    graph = small_classifier()
    assert training.evaluate_untrained(graph, seed=0)["accuracy"] < 0.25
    assert training.evaluate(graph, seed=0)["accuracy"] > 0.4


def test_accuracy_counts_the_highest_score_and_the_first_five() -> None:
    class Always(torch.nn.Module):
        """Scores classes 3, 1, 4, 0, 5 in this order, whatever it sees."""

        def forward(self, images: Tensor) -> Tensor:
            scores = torch.zeros(len(images), 10)
            scores[:, [3, 1, 4, 0, 5]] = torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0])
            return scores

    data = SMALL.load()
    labels = data.validation.targets
    quality = SMALL.measure_quality(Always(), data)
    assert quality["accuracy"] == (labels == 3).mean()
    assert quality["top5"] == np.isin(labels, [3, 1, 4, 0, 5]).mean()


def test_planned_failures() -> None:
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step"):
        replace(SMALL, learning_rate=1e30).evaluate(small_classifier(), seed=0)
    with pytest.raises(OutOfTime, match="of 12 steps took the 1e-09 s"):
        replace(SMALL, time_limit_s=1e-9).evaluate(small_classifier(), seed=0)
    with pytest.raises(OutOfMemory, match="over the limit of 64 MiB"):
        replace(SMALL, memory_limit_mib=64).evaluate(small_classifier(), seed=0)
    b = Builder()
    fixed = b.slice(b.reshape(b.input((3, 24, 24)), (3 * 24 * 24,)), 0, 0, 10)
    with pytest.raises(NothingToTrain, match="no parameters"):
        SMALL.evaluate(b.build({"logits": fixed}), seed=0)
