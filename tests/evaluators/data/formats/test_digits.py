"""Drawn digits: the same for the same seed, those to validate in no training image, legible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from evaluators.data.formats import digits
from evaluators.data.formats.digits import DIGITS, draw_scenes, draw_singles
from evaluators.evaluator import DataError
from tests.support.image_folders import check_boxes, images_of, opened, targets_of


@pytest.mark.parametrize(
    ("annotation", "digest"),
    [
        ("class", "4a4ce626d556c76659eed8d4769d8ba2"),
        ("boxes", "86a9c4677eeb29b2e3ce6641cb574be2"),
        ("masks", "2dc3bcc19398ee61f64082ab700737aa"),
    ],
)
def test_digests_are_those_that_caches_have_recorded(annotation: str, digest: str) -> None:
    assert opened("digits", annotation, 32, max_train_images=6, max_val_images=3).digest == digest


def test_nothing_is_drawn_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_handwriting", None)
    data = opened("digits", "boxes", 33)
    assert (data.class_names, data.channels, data.name) == (DIGITS, 3, "digits")
    assert opened("digits", "masks", 33).class_names == ("background", *DIGITS)


def test_digits_are_the_same_for_the_same_seed_alone() -> None:
    for annotation in ("class", "boxes", "masks"):
        first = opened("digits", annotation, max_train_images=20, max_val_images=10)
        images, digest = images_of(first.train), first.digest
        for seed in (1, 0):
            other = opened("digits", annotation, seed=seed, max_train_images=20, max_val_images=10)
            again = opened("digits", annotation, seed=seed, max_train_images=19, max_val_images=10)
            assert (other.digest == digest) == (seed == 0)
            assert np.array_equal(images_of(again.train), images[:19]) == (seed == 0)


def test_scenes_keep_to_the_contract() -> None:
    data = opened("digits", "boxes", 96, max_train_images=60, max_val_images=20)
    assert (len(data.train), len(data.validation), data.image_size) == (60, 20, 96)
    for split in (data.train, data.validation):
        check_boxes(split, 96, 10)
    boxes = targets_of(data.train)
    assert np.bincount(np.concatenate([each.labels for each in boxes]), minlength=10).min() > 0
    heights = np.concatenate([each.corners[:, 3] - each.corners[:, 1] for each in boxes]) / 96
    low, high = digits.SCENE_HEIGHT
    assert low - 0.01 < heights.min() <= heights.max() < high + 0.01
    assert data.train.sources(np.array([3])) == ["digits: training image 3"]


def test_what_is_given_is_the_callers_own() -> None:
    data = opened("digits", "class", 32, max_train_images=4, max_val_images=2)
    before = images_of(data.train)
    images_of(data.train)[:] = 0
    assert np.array_equal(images_of(data.train), before)


def test_digits_of_validation_are_in_no_training_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = []
    draw = digits._scenes

    def spy(bunch: Any, source: Any, *rest: Any) -> digits.DigitScenes:
        sources.append(set(source.tolist()))
        return draw(bunch, source, *rest)

    monkeypatch.setattr(digits, "_scenes", spy)
    assert opened("digits", "boxes", 64, seed=77, max_train_images=2, max_val_images=2).digest
    train, validation = sources
    assert not train & validation
    assert len(train) + len(validation) == 1797


def test_digits_stand_out_of_their_background() -> None:
    data = opened("digits", "boxes", max_train_images=20, max_val_images=1)
    for image, boxes in zip(images_of(data.train), targets_of(data.train), strict=True):
        outside = np.ones(image.shape[1:], bool)
        for x1, y1, x2, y2 in boxes.corners.astype(int):
            outside[y1:y2, x1:x2] = False
        for x1, y1, x2, y2 in boxes.corners.astype(int):
            assert np.percentile(image[:, y1:y2, x1:x2], 90) > image[:, outside].mean() + 20


def test_a_digit_stands_out_from_its_canvas() -> None:
    """Removing the digit is what its label is about: the brightest part of an image is its ink."""
    singles, _ = draw_singles(48, 0, 20, 1)
    assert all(np.ptp(image.mean(0)) > 60 for image in singles.images)


def test_every_handwritten_digit_is_drawn_once() -> None:
    data = opened("digits", "class", 16, max_train_images=5000, max_val_images=5000)
    assert (len(data.train), len(data.validation)) == (1438, 359)
    counts = np.bincount(np.concatenate([targets_of(data.train), targets_of(data.validation)]))
    assert counts.tolist() == np.bincount(load_digits().target).tolist()


def test_scenes_are_those_of_detection_and_masks_lie_in_their_boxes() -> None:
    scenes, held_out = draw_scenes(64, 3, 12, 4)
    detection = opened("digits", "boxes", 64, seed=3, max_train_images=12, max_val_images=4)
    assert np.array_equal(scenes.images, images_of(detection.train))
    assert np.array_equal(held_out.images, images_of(detection.validation))
    for mask, boxes, labels in zip(scenes.masks, scenes.boxes, scenes.labels, strict=True):
        assert set(np.unique(mask)) - {0} == {label + 1 for label in labels}
        inside = np.zeros_like(mask, bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            inside[y1:y2, x1:x2] = True
        assert not mask[~inside].any()
        assert 0.2 < (mask[inside] > 0).mean() < 0.9
    data = opened("digits", "masks", 64, seed=3, max_train_images=12, max_val_images=4)
    assert np.array_equal(targets_of(data.train), scenes.masks)


def test_digits_are_in_colour() -> None:
    with pytest.raises(DataError, match="drawn in 3 channels, not 1"):
        opened("digits", "class", channels=1)
