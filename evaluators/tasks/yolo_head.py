"""How a network with an anchor-free YOLO head learns to detect, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evaluators.data.detection import DetectionSplit
from evaluators.tasks import yolo as yolo
from evaluators.tasks.ssd import level_count
from evaluators.training.initialisation import initialise_output_layers, remove_redundant_biases
from evaluators.training.loop import BatchLoss
from search_spaces.pytorch.module import GraphModule

OBJECTS_PER_IMAGE = 5
"""Objects that the first class scores expect in an image, at every level (see ``YoloHead.initialise``)."""
MAX_IOU = 0.7
LOSS_DESCRIPTION = "task-aligned assignment (TOOD), binary cross entropy, CIoU and distribution focal loss"
"""TOOD: arXiv 2108.07755; CIoU: arXiv 1911.08287; distribution focal loss: arXiv 2006.04388 (see ``yolo_loss``)."""


def yolo_mismatch(shapes: Mapping[str, Sequence[int]], image_size: int, classes: int) -> str | None:
    """Why outputs of these shapes are no YOLO head that scores so many classes; ``None`` where they are."""
    for level in range(level_count(shapes)):
        (depth, *places), found = shapes[f"box{level}"], shapes[f"class{level}"][0]
        if depth % 4 or depth < 8 or depth != shapes["box0"][0]:
            return f"box{level} has {depth} channels; it must have 4 times as many as there are bins, at every level"
        if found != classes:
            return f"class{level} has {found} channels, not {classes}; use num_classes={classes}"
        stride = yolo.FIRST_STRIDE << level
        side = math.ceil(image_size / stride)
        if places != [side, side]:
            return f"box{level} has {places[0]} x {places[1]} places, not the {side} x {side} of stride {stride}"
    return None


@dataclass(frozen=True, eq=False)
class YoloHead:
    """A YOLO head with its points [A, 2] and their strides [A]; see ``yolo_loss`` for the outputs it stands for."""

    points: Tensor
    strides: Tensor
    image_size: int
    num_classes: int

    def initialise(self, module: GraphModule) -> None:
        """Set every distance's distribution flat and every class score to few objects an image.

        A class starts at log(5 / classes / places of the level), as YOLOv8's does (``Detect.bias_init`` in
        ultralytics/nn/modules/head.py, at its 640 px), whose boxes start flat too.
        """
        remove_redundant_biases(module)
        shapes = module.graph.output_shapes

        def bias(name: str) -> float:
            places = math.prod(shapes[name][1:])
            return math.log(OBJECTS_PER_IMAGE / self.num_classes / places) if name.startswith("class") else 0.0

        initialise_output_layers(module, bias)

    def loss(self, split: DetectionSplit, *, horizontal_flip: bool) -> BatchLoss:
        """The loss of a batch of these images; boxes are assigned anew each time."""
        boxes, labels = padded_boxes(split)
        by_flip = torch.stack([boxes, mirrored(boxes, self.image_size)][: 1 + horizontal_flip])

        def batch_loss(outputs: Any, image_indices: npt.NDArray[np.int64], flipped: npt.NDArray[np.bool_]) -> Tensor:
            true_boxes = by_flip[torch.from_numpy(flipped.astype(np.int64)), image_indices]
            found = yolo.flatten(outputs)
            return yolo.loss(*found, self.points, self.strides, true_boxes, labels[image_indices]).total

        return batch_loss

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, scores and labels of each image, as ``yolo_loss.detections`` gives them."""
        found = yolo.flatten(outputs)
        return yolo.detections(*found, self.points, self.strides, self.image_size, max_iou=MAX_IOU)


def yolo_head(shapes: Mapping[str, Sequence[int]], image_size: int, num_classes: int) -> YoloHead:
    """The head of outputs with these shapes."""
    sizes = [(shapes[f"box{level}"][1], shapes[f"box{level}"][2]) for level in range(level_count(shapes))]
    return YoloHead(*yolo.points(sizes), image_size, num_classes)


def padded_boxes(split: DetectionSplit) -> tuple[Tensor, Tensor]:
    """Boxes [N, M, 4] and labels int64 [N, M] of all images, padded with boxes without area."""
    max_boxes = max(1, *map(len, split.labels))
    boxes = np.stack([np.pad(b, ((0, max_boxes - len(b)), (0, 0))) for b in split.boxes])
    labels = np.stack([np.pad(label, (0, max_boxes - len(label))) for label in split.labels])
    return torch.from_numpy(boxes), torch.from_numpy(labels)


def mirrored(boxes: Tensor, image_size: int) -> Tensor:
    """The boxes [..., 4] of the image seen in a mirror."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([image_size - x2, y1, image_size - x1, y2], -1)
