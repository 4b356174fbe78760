"""The figures of one training for each head: what the cache keeps is what would be trained today.

They are pinned together with the version that stands in the cache's keys, as closely as the rounding of processors
allows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from evaluators.evaluator import EvaluationJob
from evaluators.tasks.catalog import network_training
from search_spaces.graph.graph import Graph
from tests.support.small_networks import small_classifier, small_detector, small_segmenter, small_yolo

SETTINGS: dict[str, Any] = {
    "steps": 6,
    "batch_size": 8,
    "max_train_images": 40,
    "max_val_images": 40,
    "horizontal_flip": True,
}


@dataclass(frozen=True)
class Pinned:
    """``key``: a digest of what the cache's key says beside the network. ``losses``: of every step.

    ``learning_rate``: low enough for differences in rounding to stay small.
    """

    task: str
    network: Callable[[int], Graph]
    image_size: int
    learning_rate: float
    evaluator: str
    key: str
    losses: tuple[float, ...]
    quality: dict[str, float]


PINNED = [
    Pinned(
        "classify",
        small_classifier,
        24,
        0.05,
        "classification/1",
        "69edfade3474ba59",
        (2.3026, 2.3064, 2.3138, 2.3056, 2.3144, 2.2646),
        {"accuracy": 0.1, "top5": 0.45},
    ),
    Pinned(
        "detect",
        small_detector,
        48,
        0.1,
        "detection/1",
        "251902d0be1c643e",
        (5.0079, 4.9855, 4.8741, 4.6724, 4.7026, 4.5379),
        {"map": 0.0127, "map50": 0.049},
    ),
    Pinned(
        "detect",
        small_yolo,
        64,
        0.1,
        "detection/1",
        "0bd11c14b8d6cf8b",
        (30.667, 28.254, 23.19, 22.751, 21.943, 18.618),
        {"map": 0.0, "map50": 0.0003},
    ),
    Pinned(
        "segment",
        small_segmenter,
        32,
        0.2,
        "segmentation/1",
        "2be23751d088929a",
        (2.3979, 2.394, 2.3571, 2.2679, 2.3072, 2.2069),
        {"miou": 0.0862, "pixel_accuracy": 0.8145},
    ),
]


@pytest.mark.parametrize("pinned", PINNED, ids=[pinned.network.__name__ for pinned in PINNED])
def test_a_training_gives_what_it_gave(pinned: Pinned) -> None:
    settings = {**SETTINGS, "image_size": pinned.image_size, "learning_rate": pinned.learning_rate}
    training = network_training("digits", pinned.task, settings)
    identity = training.cache_identity(1.0)
    key = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()
    evaluation = training.evaluate(EvaluationJob(pinned.network(pinned.image_size), seed=1))
    losses = [point.metrics["loss"] for point in evaluation.curve]
    quality = {name: value for name, value in evaluation.metrics.items() if name != "final_loss"}
    assert losses == pytest.approx(pinned.losses, rel=0.003), (
        f"{training.name} training gives other losses than before: {losses}; raise `version` of NetworkTraining, or"
        " that of the task's row, and pin the new ones"
    )
    assert quality == pytest.approx(pinned.quality, abs=0.03), (
        f"{training.name} training is measured otherwise than before: {quality}; raise `version` of NetworkTraining,"
        " or that of the task's row, and pin the new figures"
    )
    assert identity["evaluator"] == pinned.evaluator
    assert key == pinned.key, f"the same training has another key in the cache, {key}: stored results are not found"
