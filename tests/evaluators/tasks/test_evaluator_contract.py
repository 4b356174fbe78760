"""The one trainer keeps the contract of evaluators, for every task."""

from __future__ import annotations

from random import Random
from typing import Any

from evaluators.tasks.catalog import network_training
from nas.testing import EvaluatorContract
from search_spaces.catalog import load_space

SMALL = {"image_size": 64, "width": 0.25, "steps": 3, "max_train_images": 16, "max_val_images": 8}


class TestDetection(EvaluatorContract):
    def make_evaluator(self) -> Any:
        return network_training("digits", "detect", SMALL)

    def make_wrong_graphs(self) -> list[Any]:
        classifier = load_space("mobilenetv2", image_size=64, width=0.25)
        larger = load_space("mobiledet", image_size=96, width=0.25)
        return [
            *super().make_wrong_graphs(),
            *[space.graph(space.sample(Random(0))) for space in (classifier, larger)],
        ]


class TestClassification(EvaluatorContract):
    space = "mobilenetv2"

    def make_evaluator(self) -> Any:
        return network_training("digits", "classify", SMALL)


class TestSegmentation(EvaluatorContract):
    space = "mobilenetv2"

    def make_evaluator(self) -> Any:
        return network_training("digits", "segment", SMALL)
