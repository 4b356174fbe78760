"""Classification: its settings, what a classifier is, its loss and accuracy, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.evaluator import EvaluationJob
from evaluators.tasks.catalog import network_training
from evaluators.tasks.classification import ClassificationTask
from evaluators.training.initialisation import zero_output_layers
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.graph.builder import Builder
from search_spaces.pytorch.module import to_module
from tests.support.small_networks import small_classifier

SMALL = network_training(
    "digits", "classify", {"image_size": 24, "steps": 12, "batch_size": 8, "max_train_images": 96, "max_val_images": 64}
)


def test_settings_that_make_no_sense_are_refused() -> None:
    for value in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"label_smoothing is {value}; it must be 0 at least and below 1"):
            ClassificationTask(label_smoothing=value)
    with pytest.raises(ValueError, match="label_smoothing is '0'; it must be of type float"):
        network_training("digits", "classify", {"label_smoothing": "0"})
    assert SMALL.cache_identity(1.0)["fidelity"]["label_smoothing"] == 0.1


def test_networks_that_are_no_classifier_of_the_data_are_refused() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 24, 24)), 8, 3, 2)
    for graph, message in (
        (b.build({"map": x}), r"no classifier: the network gives map \(8, 12, 12\), not one output of 1 axes"),
        (small_classifier(num_classes=9), "logits has 9 classes, not 10; use num_classes=10"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(EvaluationJob(graph))


def test_all_classes_are_equally_likely_at_first() -> None:
    module = to_module(small_classifier(), 0)
    zero_output_layers(module)
    scores = module(torch.rand(2, 3, 24, 24))
    assert isinstance(scores, Tensor)
    assert not scores.any()
    loss = SMALL.training_task.loss(module, SMALL.data_set())
    assert loss(scores, np.array([0, 1]), np.zeros(2, np.bool_)).item() == pytest.approx(np.log(10), abs=1e-6)


def test_the_loss_is_smoothed_cross_entropy_of_the_batch_s_own_labels() -> None:
    data = SMALL.data_set()
    module = to_module(small_classifier(), 0)
    rng = np.random.default_rng(0)
    scores, chosen = torch.from_numpy(rng.normal(size=(3, 10)).astype(np.float32)), np.array([7, 0, 7])
    loss = ClassificationTask(label_smoothing=0.2).loss(module, data)(scores, chosen, np.zeros(3, np.bool_)).item()
    targets = np.full((3, 10), 0.2 / 10)
    targets[np.arange(3), data.train.targets(chosen)] += 0.8
    assert loss == pytest.approx(-(targets * scores.log_softmax(1).numpy()).sum() / 3, abs=1e-5)


def test_sixteen_images_are_learnt_by_heart() -> None:
    training = network_training(
        "digits",
        "classify",
        {
            "image_size": 24,
            "steps": 60,
            "batch_size": 16,
            "max_train_images": 16,
            "label_smoothing": 0.0,
            "max_val_images": 8,
        },
    )
    job = EvaluationJob(small_classifier())
    first = replace(training, steps=1).evaluate(job).metrics["final_loss"]
    assert first == pytest.approx(np.log(10), abs=1e-5)
    assert training.evaluate(job).metrics["final_loss"] < 0.1


def test_training_beats_no_training() -> None:
    training = replace(SMALL, steps=200, batch_size=32, max_train_images=1400, max_val_images=300, learning_rate=0.2)
    graph = small_classifier()
    assert training.evaluate_untrained(graph, seed=0)["accuracy"] < 0.25
    assert training.evaluate(EvaluationJob(graph)).metrics["accuracy"] > 0.4


def test_accuracy_counts_the_highest_score_and_the_first_five() -> None:
    class Always(torch.nn.Module):
        """Scores classes 3, 1, 4, 0, 5 in this order, whatever it sees."""

        def forward(self, images: Tensor) -> Tensor:
            scores = torch.zeros(len(images), 10)
            scores[:, [3, 1, 4, 0, 5]] = torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0])
            return scores

    data = SMALL.data_set()
    labels = data.validation.targets(np.arange(len(data.validation)))
    quality = SMALL.training_task.measure(Always(), data)
    assert quality["accuracy"] == (labels == 3).mean()
    assert quality["top5"] == np.isin(labels, [3, 1, 4, 0, 5]).mean()
