"""Trains a classifier from scratch at a stated small scale and measures its accuracy on held-out images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.labelled_images import ImageData, classification_classes, load_classification_data
from evaluators.tasks.image_task import ImageTaskTraining
from evaluators.training.loop import BatchLoss, predict_batches
from evaluators.training.settings import training_for_data

_cached_data = lru_cache(maxsize=2)(load_classification_data)


@dataclass(frozen=True)
class ClassificationTraining(ImageTaskTraining):
    """As ``ImageTaskTraining``: ``accuracy`` and ``top5`` of networks with one score a class.

    The defaults are for ``digits``; ``classification_training`` has those for folders. label_smoothing: the weight of
    the uniform distribution in the targets (arXiv 1512.00567, section 7).
    """

    image_size: int = 48
    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 0.05
    max_train_images: int = 1438  # all the handwriting there is
    max_val_images: int = 359
    label_smoothing: float = 0.1

    task: ClassVar[str] = "classify"
    quality: ClassVar[str] = "accuracy"
    expected_output: ClassVar[tuple[str, int]] = ("classifier", 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing!r}; it must be 0 at least and below 1")

    @property
    def name(self) -> str:
        return "classification"

    @property
    def num_classes(self) -> int:
        return len(classification_classes(self.data))

    def load(self) -> ImageData:
        """The data set, loaded once a process. Raises ``DataError``."""
        return _cached_data(self.data, **self.data_arguments)

    def loss(self, targets: npt.NDArray[Any]) -> BatchLoss:
        """Cross entropy of whole images, with label smoothing."""
        labels = torch.from_numpy(np.array(targets))

        def loss(scores: Tensor, image_indices: npt.NDArray[np.int64], _: npt.NDArray[np.bool_]) -> Tensor:
            return functional.cross_entropy(scores, labels[image_indices], label_smoothing=self.label_smoothing)

        return loss

    def measure_quality(self, module: nn.Module, data: ImageData) -> dict[str, float]:
        """``accuracy``: the fraction of validation images whose class scores highest; ``top5``: among the first five.

        Raises ``Diverged``.
        """
        ranks = np.concatenate(list(_ranks(module, data)))
        return {"accuracy": float((ranks < 1).mean()), "top5": float((ranks < 5).mean())}


DEFAULTS_BY_DATA: dict[str, dict[str, Any]] = {
    "digits": {},
    "folder": {"image_size": 64, "horizontal_flip": True, "max_train_images": 4096, "max_val_images": 1000},
}
"""What each kind of data changes in the defaults: photographs are larger, and may be flipped."""


def classification_training(data: str = "digits", **settings: Any) -> ClassificationTraining:
    """The training for ``digits`` or ``folder:FOLDER``; settings go over that kind's defaults."""
    return training_for_data(ClassificationTraining, "training to classify", DEFAULTS_BY_DATA, data, settings)


def _ranks(module: nn.Module, data: ImageData) -> Iterator[npt.NDArray[np.int64]]:
    """How many classes come before each image's own; of equal scores the lower class comes first."""
    for chunk, scores in predict_batches(module, data.validation.images):
        order = torch.argsort(scores, dim=1, descending=True, stable=True).numpy()
        yield np.nonzero(order == data.validation.targets[chunk, None])[1]
