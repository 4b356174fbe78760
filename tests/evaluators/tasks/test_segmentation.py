"""Segmentation: the measure by hand, the loss, what a segmenter is, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.data.images import IGNORE_INDEX
from evaluators.evaluator import EvaluationJob
from evaluators.tasks import segmentation
from evaluators.tasks.catalog import network_training
from evaluators.tasks.segmentation import (
    PixelLoss,
    class_weights,
    confusion_matrix,
    mean_iou,
    pixels_of_classes,
    resize_scores,
)
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.graph.builder import Builder
from tests.support.data_sets import in_memory
from tests.support.small_networks import small_segmenter

SMALL = network_training(
    "digits", "segment", {"image_size": 32, "steps": 8, "batch_size": 8, "max_train_images": 64, "max_val_images": 16}
)


def split_of(masks: np.ndarray) -> Any:
    size = masks.shape[-1]
    images = np.zeros((len(masks), 3, size, size), np.uint8)
    return in_memory(images, masks, "masks").train


def test_mean_iou_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, IGNORE_INDEX, 0]])
    predicted = np.array([[0, 0, 1, 1], [1, 2, 2, 0]])
    counts = confusion_matrix(truth, predicted, 4)
    assert counts.tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # class 0: 3 of 4; class 1: 2 of 4; classes 2 and 3 do not occur
    assert mean_iou(counts) == (3 / 4 + 2 / 4) / 2
    assert mean_iou(np.diag([5, 0, 7])) == 1.0


def test_mean_iou_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 6, (2, 4, 9, 9))
    expected = jaccard_score(truth.ravel(), predicted.ravel(), average="macro")
    assert mean_iou(confusion_matrix(truth, predicted, 6)) == pytest.approx(expected, abs=1e-12)


def test_the_loss_is_that_of_the_pixels_with_a_class_and_follows_a_flip() -> None:
    rng = np.random.default_rng(1)
    masks = rng.integers(0, 3, (4, 8, 8)).astype(np.uint8)
    masks[:, :2] = IGNORE_INDEX
    scores = torch.from_numpy(rng.normal(size=(2, 3, 8, 8)).astype(np.float32))
    chosen, straight = np.array([2, 0]), np.zeros(2, np.bool_)
    logs = scores.log_softmax(1).numpy()
    weights = class_weights(pixels_of_classes(split_of(masks), 3))
    pixels = [(n, masks[i, y, x], y, x) for n, i in enumerate(chosen) for y in range(2, 8) for x in range(8)]
    by_hand = sum(-weights[c] * logs[n, c, y, x] for n, c, y, x in pixels) / sum(weights[c] for _, c, _, _ in pixels)
    loss = PixelLoss(split_of(masks), 3)
    assert loss(scores, chosen, straight).item() == pytest.approx(by_hand, abs=1e-5)
    assert loss(scores.flip(3), chosen, ~straight).item() == pytest.approx(by_hand, abs=1e-5)
    masks[2] = masks[0] = IGNORE_INDEX
    assert PixelLoss(split_of(masks), 3)(scores, chosen, straight).item() == 0.0


def test_rare_classes_weigh_more() -> None:
    masks = np.array([[[0] * 9 + [1], [IGNORE_INDEX] * 10]], np.uint8)
    counts = pixels_of_classes(split_of(np.repeat(masks, 5, 1)), 3)
    assert counts.tolist() == [45, 5, 0]
    assert class_weights(counts) == pytest.approx([1 / np.log(1.92), 1 / np.log(1.12), 1 / np.log(1.02)])


def test_of_many_masks_some_are_counted_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.random.default_rng(0).integers(0, 3, (500, 4, 4)).astype(np.uint8)
    split = split_of(masks)
    exact = pixels_of_classes(split, 3)
    assert exact.tolist() == np.bincount(masks.ravel()).tolist()
    monkeypatch.setattr(segmentation, "MASKS_COUNTED", 200)
    some = pixels_of_classes(split, 3)
    assert some.tolist() == pixels_of_classes(split, 3).tolist()
    assert some.sum() == 200 * 16
    assert class_weights(some) == pytest.approx(class_weights(exact), rel=0.1)


def test_scores_are_resized_to_the_size_of_the_mask() -> None:
    even = torch.full((1, 2, 3, 3), 4.0)
    torch.testing.assert_close(resize_scores(even, 7), torch.full((1, 2, 7, 7), 4.0))
    ramp = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    assert resize_scores(ramp, 4)[0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_networks_that_are_no_segmenter_of_the_data_are_refused() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 32, 32)), 8, 3, 2)
    for graph, message in (
        (b.build({"logits": classifier(b, x, 11)}), r"no segmenter: the network gives logits \(11,\)"),
        (small_segmenter(num_classes=9), "segmentation has 9 classes, not 11; use num_classes=11"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(EvaluationJob(graph))


def test_sixteen_images_are_learnt_by_heart() -> None:
    training = replace(SMALL, steps=80, batch_size=16, max_train_images=16)
    job = EvaluationJob(small_segmenter())
    first = replace(training, steps=1).evaluate(job).metrics["final_loss"]
    assert first == pytest.approx(np.log(11), abs=1e-5)
    assert training.evaluate(job).metrics["final_loss"] < 0.5


def test_training_beats_no_training_and_the_background_alone() -> None:
    training = replace(SMALL, steps=120, batch_size=16, max_train_images=400)
    validation = training.data_set().validation
    masks = validation.targets(np.arange(len(validation)))
    background = (masks == 0).mean()
    graph = small_segmenter()
    assert training.evaluate_untrained(graph, seed=0)["miou"] < 0.1
    trained = training.evaluate(EvaluationJob(graph)).metrics
    assert trained["miou"] > 1.2 * background / 11  # what the background everywhere would give
    assert trained["pixel_accuracy"] > background


def test_a_map_at_the_mask_is_measured_as_it_is() -> None:
    class Truth(torch.nn.Module):
        """Answers with the masks themselves, in their order."""

        def __init__(self, masks: np.ndarray) -> None:
            super().__init__()
            self.masks = torch.from_numpy(masks.astype(np.int64))
            self.seen = 0

        def forward(self, images: Tensor) -> Tensor:
            masks = self.masks[self.seen : self.seen + len(images)]
            self.seen += len(images)
            return torch.nn.functional.one_hot(masks, 11).permute(0, 3, 1, 2).float()

    data = SMALL.data_set()
    truth = Truth(data.validation.targets(np.arange(len(data.validation))))
    assert SMALL.training_task.measure(truth, data) == {"miou": 1.0, "pixel_accuracy": 1.0}
