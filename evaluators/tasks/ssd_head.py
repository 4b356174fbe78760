"""The SSD head of a network: its initial weights, its loss and its detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evaluators.data.data_set import Indices, Split
from evaluators.tasks import ssd
from evaluators.tasks.padded_boxes import mirrored, padded_boxes
from evaluators.training.initialisation import initialise_output_layers
from evaluators.training.task import BatchLoss, Flips
from search_spaces.pytorch.module import GraphModule

CLASS_BIAS = -4.6
"""First bias of the class scores, a sigmoid of 0.01: keeps the first loss sane (arXiv 1708.02002, section 4.1)."""
FOCAL_GAMMA = 0.0
"""Focusing of the class loss; 0 leaves the alpha-balanced cross entropy (arXiv 1708.02002, eq. 3).

SSDLite was published with 2, which all but mutes a class score once it is half right. 400,000 steps compensate for
that; in the 100 of this proxy it halves mAP.
"""
MAX_MATCH_BYTES = 64 * 2**20
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

    def loss(self, split: Split, device: torch.device) -> BatchLoss:
        """The loss of a batch of these images, for outputs on that device."""
        targets = AnchorTargets(split, self.anchors.to(device), self.match_iou, self.image_size)

        def batch_loss(outputs: Any, image_indices: Indices, flipped: Flips) -> Tensor:
            predicted_codes, scores = ssd.flatten(outputs, self.num_classes)
            return ssd.loss(predicted_codes, scores, *targets(image_indices, flipped), gamma=FOCAL_GAMMA)

        return batch_loss

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, scores and labels of each image, as ``ssd.detections`` gives them."""
        codes, scores = ssd.flatten(outputs, self.num_classes)
        return ssd.detections(codes, scores, self.anchors.to(codes.device), self.image_size)


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


class AnchorTargets:
    """What the anchors of a batch should predict: codes [N, A, 4] and classes [N, A], 0 for background.

    Which box an anchor is matched to is found once for an image and its mirror image, and remembered while it fits
    into ``MAX_MATCH_BYTES``; the oldest are forgotten first.
    """

    def __init__(self, split: Split, anchors: Tensor, match_iou: float, image_size: int) -> None:
        self._split = split
        self._anchors = anchors
        self._match_iou = match_iou
        self._image_size = image_size
        self._matches: dict[tuple[int, bool], npt.NDArray[np.int32]] = {}
        self._most_matches = max(1, MAX_MATCH_BYTES // (4 * len(anchors)))

    def __call__(self, image_indices: Indices, flipped: Flips) -> tuple[Tensor, Tensor]:
        """The targets of these images, of the mirrored ones for their mirror image."""
        anchors = self._anchors
        corners, numbers = padded_boxes(self._split.targets(image_indices))
        corners = np.where(flipped[:, None, None], mirrored(corners, self._image_size), corners)
        boxes, labels = torch.from_numpy(corners).to(anchors.device), torch.from_numpy(numbers + 1).to(anchors.device)
        index = self._matched(list(zip(image_indices.tolist(), flipped.tolist(), strict=True)), boxes)
        matched, index = index >= 0, index.clamp(min=0)
        target = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        target = torch.where(matched[..., None], target, anchors)
        return ssd.encode(target, anchors), torch.where(matched, labels.gather(1, index), 0)

    def _matched(self, images: list[tuple[int, bool]], boxes: Tensor) -> Tensor:
        """The box [N, A] of each anchor, -1 for none, of images known by index and side."""
        unknown = [position for position, image in enumerate(images) if image not in self._matches]
        found = {image: self._matches[image] for image in images if image in self._matches}
        if unknown:
            matches = ssd.match(self._anchors, boxes[unknown], threshold=self._match_iou).to(torch.int32).cpu().numpy()
            for position, match in zip(unknown, matches, strict=True):
                found[images[position]] = self._matches[images[position]] = match
            while len(self._matches) > self._most_matches:
                del self._matches[next(iter(self._matches))]
        return torch.from_numpy(np.stack([found[image] for image in images])).to(boxes.device, torch.int64)
