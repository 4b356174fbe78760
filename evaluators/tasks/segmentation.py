"""Segmentation: a map of scores for every class, cross entropy of pixels, and the mean IoU on held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.data_set import DataSet, Indices, Split
from evaluators.data.images import IGNORE_INDEX
from evaluators.tasks.output_check import check_single_output
from evaluators.training.initialisation import zero_output_layers
from evaluators.training.loop import device_of, predict_batches
from evaluators.training.task import Flips
from search_spaces.pytorch.module import GraphModule

MASKS_COUNTED = 2048
"""From how many masks the weights of the classes are taken; where there are more, from as many drawn at random."""
_CHUNK = 64


@dataclass(frozen=True)
class SegmentationTask:
    """``miou`` and ``pixel_accuracy`` of networks with a map of scores for every class.

    Scores are resized to the mask's size before the loss and before they are measured.
    """

    def check(self, shapes: Mapping[str, Sequence[int]], num_classes: int, image_size: int) -> None:
        """ValueError unless there is one output, with a map for every class."""
        check_single_output(shapes, "segmenter", 3, num_classes)

    def initialise(self, module: GraphModule, data: DataSet) -> None:
        """All classes are equally likely."""
        zero_output_layers(module)

    def loss(self, module: GraphModule, data: DataSet) -> PixelLoss:
        """Cross entropy of the pixels that have a class, rare classes weighted up."""
        return PixelLoss(data.train, len(data.class_names), device_of(module))

    def measure(self, module: nn.Module, data: DataSet) -> dict[str, float]:
        """``miou`` and ``pixel_accuracy`` on the validation images. Raises ``Diverged``."""
        classes = len(data.class_names)
        counts = np.zeros((classes, classes), np.int64)
        for chunk, scores in predict_batches(module, data.validation, data.normalisation):
            predicted = resize_scores(scores, data.image_size).argmax(1).cpu().numpy()
            counts += confusion_matrix(data.validation.targets(chunk), predicted, classes)
        return {"miou": mean_iou(counts), "pixel_accuracy": float(np.trace(counts) / counts.sum())}


class PixelLoss:
    """Cross entropy of the pixels that have a class, a mean weighted by ``class_weights``.

    The masks of mirrored images are mirrored with them.
    """

    def __init__(self, split: Split, classes: int, device: torch.device | str = "cpu") -> None:
        self._split = split
        self._weights = torch.from_numpy(class_weights(pixels_of_classes(split, classes))).to(device)

    def __call__(self, scores: Tensor, image_indices: Indices, flipped: Flips) -> Tensor:
        masks = self._split.targets(image_indices).astype(np.int64)
        masks[flipped] = masks[flipped, :, ::-1]
        truth = torch.from_numpy(masks).to(scores.device)
        total = functional.cross_entropy(
            resize_scores(scores, masks.shape[-1]),
            truth,
            weight=self._weights,
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )
        return total / self._weights[truth[truth != IGNORE_INDEX]].sum().clamp(min=1e-6)


def pixels_of_classes(split: Split, classes: int) -> npt.NDArray[np.int64]:
    """How many pixels of the split each class has; of a large split, of ``MASKS_COUNTED`` masks, always the same."""
    chosen = np.arange(len(split))
    if len(split) > MASKS_COUNTED:
        chosen = np.sort(np.random.default_rng(0).choice(len(split), MASKS_COUNTED, replace=False))
    counts = np.zeros(classes, np.int64)
    for first in range(0, len(chosen), _CHUNK):
        masks = split.targets(chosen[first : first + _CHUNK])
        counts += np.bincount(masks[masks != IGNORE_INDEX], minlength=classes)[:classes]
    return counts


def class_weights(pixel_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """1 / ln(1.02 + fraction of the pixels) of each class (ENet, arXiv 1606.02147, section 5.2).

    Without them a few dozen steps learn the background alone.
    """
    fractions = pixel_counts / max(1, pixel_counts.sum())
    weights: npt.NDArray[np.float32] = (1 / np.log(1.02 + fractions)).astype(np.float32)
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
