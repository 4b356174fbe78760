"""Average precision in cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluators.tasks.coco_map import Detections, Truth, coco_map

BOXES = np.array([[10, 10, 30, 30], [50, 40, 90, 95]], np.float32)
LABELS = np.array([0, 1], np.int64)
NOTHING: Detections = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels, np.int64)


def test_perfect_predictions_have_map_1(capfd: pytest.CaptureFixture[str]) -> None:
    truths: list[Truth] = [(BOXES, LABELS), (BOXES + 3, LABELS[::-1].copy())]
    predictions = [(boxes, np.array([0.9, 0.8], np.float32), labels) for boxes, labels in truths]
    assert coco_map(predictions, truths, 2) == {"map": 1.0, "map50": 1.0}
    # A class that no image shows does not count.
    assert coco_map(predictions, truths, 7) == {"map": 1.0, "map50": 1.0}
    assert capfd.readouterr() == ("", "")


def test_nothing_found_is_0() -> None:
    assert coco_map([NOTHING], [(BOXES, LABELS)], 2) == {"map": 0.0, "map50": 0.0}


def test_wrong_class_is_0() -> None:
    predictions = [detections(BOXES.tolist(), [0.9, 0.8], [1, 0])]
    assert coco_map(predictions, [(BOXES, LABELS)], 2)["map"] == 0.0


def test_half_the_boxes_found_fill_51_of_101_recalls() -> None:
    truth = (np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32), np.zeros(2, np.int64))
    predictions = [detections([[0, 0, 10, 10]], [0.9], [0])]
    assert coco_map(predictions, [truth], 1)["map"] == pytest.approx(51 / 101)


def test_iou_of_three_quarters_passes_five_thresholds_of_ten() -> None:
    truth = (np.array([[0, 0, 100, 100]], np.float32), np.zeros(1, np.int64))
    predictions = [detections([[0, 0, 100, 72]], [0.9], [0])]
    assert coco_map(predictions, [truth], 1) == {"map": pytest.approx(0.5), "map50": pytest.approx(1.0)}


def test_a_better_scored_false_box_halves_precision() -> None:
    truth = (np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int64))
    predictions = [detections([[50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.3], [0, 0])]
    assert coco_map(predictions, [truth], 1)["map"] == pytest.approx(0.5)


def test_images_without_boxes_still_count_against_false_boxes() -> None:
    truths: list[Truth] = [(BOXES[:1], LABELS[:1]), (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))]
    predictions = [detections(BOXES[:1].tolist(), [0.5], [0]), detections([[1, 1, 9, 9]], [0.9], [0])]
    assert coco_map(predictions, truths, 1)["map"] == pytest.approx(0.5)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="2 images of predictions for 1 images"):
        coco_map([NOTHING, NOTHING], [(BOXES, LABELS)], 2)
    with pytest.raises(ValueError, match="no true box"):
        coco_map([NOTHING], [(NOTHING[0], NOTHING[2])], 2)
