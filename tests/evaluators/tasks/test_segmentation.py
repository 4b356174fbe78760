"""Training segmenters: the measure by hand, the loss, learning, repeating, and what it cannot do."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.data.images import IGNORE_INDEX
from evaluators.evaluator import DataError, Diverged
from evaluators.tasks.segmentation import (
    PixelLoss,
    SegmentationTraining,
    class_weights,
    confusion_matrix,
    mean_iou,
    resize_scores,
    segmentation_training,
)
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.blocks.multitask_heads import segmentation_decoder
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph

SMALL = SegmentationTraining(image_size=32, steps=8, batch_size=8, max_train_images=64, max_val_images=16)


def small_segmenter(image_size: int = 32, num_classes: int = 11) -> Graph:
    """Two features, at strides 2 and 4, under the light decoder."""
    b = Builder()
    fine = conv_norm_act(b, b.input((3, image_size, image_size)), 16, 3, 2)
    coarse = inverted_bottleneck(b, conv_norm_act(b, fine, 32, 3, 2), 32, expanded=64, residual=True)
    return b.build({"segmentation": segmentation_decoder(b, [fine, coarse], num_classes, width=32)})


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
    weights = class_weights(masks, 3)
    pixels = [(n, masks[i, y, x], y, x) for n, i in enumerate(chosen) for y in range(2, 8) for x in range(8)]
    by_hand = sum(-weights[c] * logs[n, c, y, x] for n, c, y, x in pixels) / sum(weights[c] for _, c, _, _ in pixels)
    loss = PixelLoss(masks, 3)
    assert loss(scores, chosen, straight).item() == pytest.approx(by_hand, abs=1e-5)
    assert loss(scores.flip(3), chosen, ~straight).item() == pytest.approx(by_hand, abs=1e-5)
    masks[2] = masks[0] = IGNORE_INDEX
    assert PixelLoss(masks, 3)(scores, chosen, straight).item() == 0.0


def test_rare_classes_weigh_more() -> None:
    masks = np.array([[[0] * 9 + [1], [IGNORE_INDEX] * 10]], np.uint8)
    assert class_weights(masks, 3) == pytest.approx([1 / np.log(1.92), 1 / np.log(1.12), 1 / np.log(1.02)])


def test_scores_are_resized_to_the_size_of_the_mask() -> None:
    even = torch.full((1, 2, 3, 3), 4.0)
    torch.testing.assert_close(resize_scores(even, 7), torch.full((1, 2, 7, 7), 4.0))
    ramp = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    assert resize_scores(ramp, 4)[0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_the_evaluator_is_plain_data() -> None:
    training = segmentation_training("digits", steps=7)
    assert SegmentationTraining(**json.loads(json.dumps(asdict(training)))) == training
    assert pickle.loads(pickle.dumps(training)) == training  # noqa: S301 - our own value
    assert training.proxy == {"image_size": 96, "width": 0.5, "num_classes": 11}
    assert (training.task, training.quality, training.deploy) == ("segment", "miou", {})
    assert segmentation_training("voc:somewhere").horizontal_flip
    with pytest.raises(DataError, match="no folder"):
        _ = segmentation_training("voc:/does/not/exist").deploy
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        segmentation_training("digits", step=3)
    assert SMALL.cache_identity()["evaluator"] == "segmentation/1"


def test_networks_that_are_no_segmenter_of_the_data_are_refused() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 32, 32)), 8, 3, 2)
    for graph, message in (
        (b.build({"logits": classifier(b, x, 11)}), r"no segmenter: the network gives logits \(11,\)"),
        (small_segmenter(48), r"takes \(3, 48, 48\), the data are \(3, 32, 32\); use image_size=32"),
        (small_segmenter(num_classes=9), "segmentation has 9 classes, not 11; use num_classes=11"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(graph, seed=0)


def test_sixteen_images_are_learnt_by_heart() -> None:
    training = replace(SMALL, steps=80, batch_size=16, max_train_images=16)
    graph = small_segmenter()
    first = replace(training, steps=1).evaluate(graph, seed=0)["final_loss"]
    assert first == pytest.approx(np.log(11), abs=1e-5)
    assert training.evaluate(graph, seed=0)["final_loss"] < 0.5


def test_the_same_seed_gives_the_same_result_to_the_bit() -> None:
    graph = small_segmenter()
    first, second, other = (SMALL.evaluate(graph, seed=seed) for seed in (3, 3, 4))
    assert first == second != other
    assert set(first) == {"miou", "pixel_accuracy", "final_loss"}


def test_training_beats_no_training_and_the_background_alone() -> None:
    training = replace(SMALL, steps=120, batch_size=16, max_train_images=400)
    masks = training.load().validation.targets
    background = (masks == 0).mean()
    graph = small_segmenter()
    assert training.evaluate_untrained(graph, seed=0)["miou"] < 0.1
    trained = training.evaluate(graph, seed=0)
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

    data = SMALL.load()
    truth = Truth(np.array(data.validation.targets))
    assert SMALL.measure_quality(truth, data) == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_a_loss_that_is_no_number_is_diverged() -> None:
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step"):
        replace(SMALL, learning_rate=1e30).evaluate(small_segmenter(), seed=0)
