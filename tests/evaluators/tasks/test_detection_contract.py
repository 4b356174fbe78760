"""The built-in detection training keeps the contract of evaluators."""

from __future__ import annotations

from random import Random
from typing import Any

from evaluators.tasks.detection import DetectionTraining
from nas.testing import EvaluatorContract
from search_spaces.catalog import load_space


class TestDetectionTraining(EvaluatorContract):
    def make_evaluator(self) -> Any:
        return DetectionTraining(image_size=64, width=0.25, steps=2, max_train_images=16, max_val_images=8)

    def make_wrong_graphs(self) -> list[Any]:
        classifier = load_space("mobilenetv2", image_size=64, width=0.25)
        larger = load_space("mobiledet", image_size=96, width=0.25)
        return [
            *super().make_wrong_graphs(),
            *[space.graph(space.sample(Random(0))) for space in (classifier, larger)],
        ]
