"""Trains a segmenter from scratch at a stated small scale and measures its mean IoU on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.images import IGNORE_INDEX
from evaluators.data.labelled_images import ImageData, load_segmentation_data, segmentation_classes
from evaluators.tasks.image_task import ImageTaskTraining
from evaluators.training.loop import predict_batches
from evaluators.training.settings import training_for_data

_cached_data = lru_cache(maxsize=2)(load_segmentation_data)


@dataclass(frozen=True)
class SegmentationTraining(ImageTaskTraining):
    """As ``ImageTaskTraining``: ``miou`` and ``pixel_accuracy`` of networks with a map of scores for every class.

    Scores are resized to the mask's size before the loss and before they are measured. The defaults are for
    ``digits``; ``segmentation_training`` has those for VOC folders.
    """

    learning_rate: float = 0.2

    task: ClassVar[str] = "segment"
    quality: ClassVar[str] = "miou"
    expected_output: ClassVar[tuple[str, int]] = ("segmenter", 3)

    @property
    def name(self) -> str:
        return "segmentation"

    @property
    def num_classes(self) -> int:
        return len(segmentation_classes(self.data))

    def load(self) -> ImageData:
        """The data set, loaded once a process. Raises ``DataError``."""
        return _cached_data(self.data, **self.data_arguments)

    def loss(self, targets: npt.NDArray[Any]) -> PixelLoss:
        """Cross entropy of the pixels that have a class, rare classes weighted up."""
        return PixelLoss(targets, self.num_classes)

    def measure_quality(self, module: nn.Module, data: ImageData) -> dict[str, float]:
        """``miou`` and ``pixel_accuracy`` on the validation images. Raises ``Diverged``."""
        classes = len(data.class_names)
        counts = np.zeros((classes, classes), np.int64)
        for chunk, scores in predict_batches(module, data.validation.images):
            predicted = resize_scores(scores, data.image_size).argmax(1).numpy()
            counts += confusion_matrix(data.validation.targets[chunk], predicted, classes)
        return {"miou": mean_iou(counts), "pixel_accuracy": float(np.trace(counts) / counts.sum())}


DEFAULTS_BY_DATA: dict[str, dict[str, Any]] = {
    "digits": {},
    "voc": {"image_size": 128, "horizontal_flip": True, "max_train_images": 2048},
}
"""What each kind of data changes in the defaults: photographs are larger, and may be flipped."""


def segmentation_training(data: str = "digits", **settings: Any) -> SegmentationTraining:
    """The training for ``digits`` or ``voc:FOLDER``; settings go over that kind's defaults."""
    return training_for_data(SegmentationTraining, "training to segment", DEFAULTS_BY_DATA, data, settings)


class PixelLoss:
    """Cross entropy of the pixels that have a class, a mean weighted by ``class_weights``.

    masks: uint8 [N, S, S]; those of mirrored images are mirrored with them.
    """

    def __init__(self, masks: npt.NDArray[np.uint8], classes: int) -> None:
        self._masks = masks
        self._weights = torch.from_numpy(class_weights(masks, classes))

    def __call__(self, scores: Tensor, image_indices: npt.NDArray[np.int64], flipped: npt.NDArray[np.bool_]) -> Tensor:
        masks = self._masks[image_indices]
        masks[flipped] = masks[flipped, :, ::-1]
        truth = torch.from_numpy(masks.astype(np.int64))
        total = functional.cross_entropy(
            resize_scores(scores, masks.shape[-1]),
            truth,
            weight=self._weights,
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )
        return total / self._weights[truth[truth != IGNORE_INDEX]].sum().clamp(min=1e-6)


def class_weights(masks: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.float32]:
    """1 / ln(1.02 + fraction of the pixels) of each class (ENet, arXiv 1606.02147, section 5.2).

    Without them a few dozen steps learn the background alone.
    """
    counts = np.bincount(masks[masks != IGNORE_INDEX], minlength=classes)[:classes]
    weights: npt.NDArray[np.float32] = (1 / np.log(1.02 + counts / counts.sum())).astype(np.float32)
    return weights


def resize_scores(scores: Tensor, size: int) -> Tensor:
    """Scores [N, C, h, w] at the mask's size, [N, C, size, size], by bilinear interpolation."""
    return functional.interpolate(scores, size=(size, size), mode="bilinear", align_corners=False)


def confusion_matrix(
    truth: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]], classes: int
) -> npt.NDArray[np.int64]:
    """How many pixels of each true class (row) were predicted as each class (column), without ``IGNORE_INDEX``."""
    labelled = truth != IGNORE_INDEX
    pairs = truth[labelled].astype(np.int64) * classes + predicted[labelled]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_iou(counts: npt.NDArray[np.int64]) -> float:
    """The mean over the classes that occur of intersection over union, from a confusion matrix.

    A class occurs if the truth has it; a pixel predicted as a class that does not occur lowers its true class's IoU.
    """
    own = np.diag(counts)
    occurs = counts.sum(1) > 0
    union = counts.sum(0) + counts.sum(1) - own
    return float((own[occurs] / union[occurs]).mean())
