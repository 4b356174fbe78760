"""The SSD head of a network: its initial weights, its loss and its detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evaluators.data.detection import DetectionSplit
from evaluators.tasks import ssd
from evaluators.training.initialisation import initialise_output_layers
from evaluators.training.loop import EVALUATION_BATCH_SIZE, BatchLoss
from search_spaces.pytorch.module import GraphModule

CLASS_BIAS = -4.6
"""First bias of the class scores, a sigmoid of 0.01: keeps the first loss sane (arXiv 1708.02002, section 4.1)."""
FOCAL_GAMMA = 0.0
"""Focusing of the class loss; 0 leaves the alpha-balanced cross entropy (arXiv 1708.02002, eq. 3).

SSDLite was published with 2, which all but mutes a class score once it is half right. 400,000 steps compensate for
that; in the 100 of this proxy it halves mAP.
"""
LOSS_DESCRIPTION = "alpha-balanced cross entropy and smooth L1 on matched anchors"


def ssd_mismatch(shapes: Mapping[str, Sequence[int]], image_size: int, classes: int) -> str | None:
    """Why outputs of these shapes are not an SSD head for so many classes; ``None`` if they are."""
    try:
        counts = ssd.anchor_counts(shapes)
    except ValueError as error:
        return str(error)
    for level, count in enumerate(counts):
        channels, depth = shapes[f"class{level}"][0], count * (classes + 1)
        if channels != depth:
            return f"class{level} has {channels} channels, not {depth}; use num_classes={classes}"
    return None


@dataclass(frozen=True, eq=False)
class SsdHead:
    """An SSD head with its anchors [A, 4]; see ``ssd`` for the outputs it decodes."""

    anchors: Tensor
    image_size: int
    num_classes: int
    match_iou: float

    def initialise(self, module: GraphModule) -> None:
        """Predict every anchor itself, with the score of ``CLASS_BIAS``."""
        initialise_output_layers(module, lambda name: CLASS_BIAS if name.startswith("class") else 0.0)

    def loss(self, split: DetectionSplit, *, horizontal_flip: bool) -> BatchLoss:
        """The loss of a batch of these images; the targets are computed once, here."""
        by_flip = [
            _targets(split, self.anchors, self.match_iou, self.image_size, side)
            for side in (False, True)[: 1 + horizontal_flip]
        ]
        codes, labels = (torch.stack(parts) for parts in zip(*by_flip, strict=True))

        def batch_loss(outputs: Any, image_indices: npt.NDArray[np.int64], flipped: npt.NDArray[np.bool_]) -> Tensor:
            side = torch.from_numpy(flipped.astype(np.int64))
            predicted_codes, scores = ssd.flatten(outputs, self.num_classes)
            return ssd.loss(
                predicted_codes, scores, codes[side, image_indices], labels[side, image_indices], gamma=FOCAL_GAMMA
            )

        return batch_loss

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, scores and labels of each image, as ``ssd.detections`` gives them."""
        return ssd.detections(*ssd.flatten(outputs, self.num_classes), self.anchors, self.image_size)


def ssd_head(
    shapes: Mapping[str, Sequence[int]],
    image_size: int,
    num_classes: int,
    *,
    min_anchor_scale: float = 0.2,
    match_iou: float = 0.5,
) -> SsdHead:
    """The head of outputs with these shapes, whose anchors are as many as they have channels for."""
    counts = ssd.anchor_counts(shapes)
    sizes = [(shapes[f"box{level}"][1], shapes[f"box{level}"][2]) for level in range(len(counts))]
    anchors = ssd.anchors(sizes, image_size, counts=counts, min_scale=min_anchor_scale)
    return SsdHead(anchors, image_size, num_classes, match_iou)


def _targets(
    split: DetectionSplit, anchors: Tensor, match_iou: float, size: int, flipped: bool
) -> tuple[Tensor, Tensor]:
    """The targets: codes [N, A, 4] and classes [N, A], 0 for background."""
    all_codes, all_classes = [], []
    for first in range(0, len(split), EVALUATION_BATCH_SIZE):
        chunk = slice(first, first + EVALUATION_BATCH_SIZE)
        max_boxes = max(1, *map(len, split.labels[chunk]))
        boxes = np.stack([np.pad(b, ((0, max_boxes - len(b)), (0, 0))) for b in split.boxes[chunk]])
        labels = np.stack([np.pad(label + 1, (0, max_boxes - len(label))) for label in split.labels[chunk]])
        if flipped:
            boxes[..., [0, 2]] = size - boxes[..., [2, 0]]
        boxes_, labels_ = torch.from_numpy(boxes), torch.from_numpy(labels)
        index = ssd.match(anchors, boxes_, threshold=match_iou)
        matched, index = index >= 0, index.clamp(min=0)
        target = boxes_.gather(1, index[..., None].expand(-1, -1, 4))
        target = torch.where(matched[..., None], target, anchors)
        all_codes.append(ssd.encode(target, anchors))
        all_classes.append(torch.where(matched, labels_.gather(1, index), 0))
    return torch.cat(all_codes), torch.cat(all_classes)
