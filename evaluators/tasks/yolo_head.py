"""The anchor-free YOLO head of a network: its initial weights, its loss and its detections."""

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
from evaluators.tasks import yolo
from evaluators.tasks.ssd import level_count
from evaluators.training.initialisation import initialise_output_layers, remove_redundant_biases
from evaluators.training.loop import BatchLoss
from search_spaces.pytorch.module import GraphModule

OBJECTS_PER_IMAGE = 5
"""Objects that the first class scores expect in an image, at every level (see ``YoloHead.initialise``)."""
MAX_IOU = 0.7
LOSS_DESCRIPTION = "task-aligned assignment (TOOD), binary cross entropy, CIoU and distribution focal loss"
"""TOOD: arXiv 2108.07755; CIoU: arXiv 1911.08287; distribution focal loss: arXiv 2006.04388 (see ``yolo``)."""


def yolo_mismatch(shapes: Mapping[str, Sequence[int]], image_size: int, classes: int) -> str | None:
    """Why outputs of these shapes are not a YOLO head for so many classes; ``None`` if they are."""
    for level in range(level_count(shapes)):
        (depth, *map_size), class_channels = shapes[f"box{level}"], shapes[f"class{level}"][0]
        if depth % 4 or depth < 8 or depth != shapes["box0"][0]:
            return f"box{level} has {depth} channels; it must have 4 times as many as there are bins, at every level"
        if class_channels != classes:
            return f"class{level} has {class_channels} channels, not {classes}; use num_classes={classes}"
        stride = yolo.FIRST_STRIDE << level
        side = math.ceil(image_size / stride)
        if map_size != [side, side]:
            return f"box{level} has {map_size[0]} x {map_size[1]} positions, not the {side} x {side} of stride {stride}"
    return None


@dataclass(frozen=True, eq=False)
class YoloHead:
    """A YOLO head with its points [A, 2] and their strides [A]; see ``yolo`` for the outputs it decodes."""

    points: Tensor
    strides: Tensor
    image_size: int
    num_classes: int

    def initialise(self, module: GraphModule) -> None:
        """Set every distance's distribution flat and every class score to few objects an image.

        A class starts at log(5 / classes / positions of the level), as YOLOv8's does (``Detect.bias_init`` in
        ultralytics/nn/modules/head.py, at its 640 px), whose boxes start flat too.
        """
        remove_redundant_biases(module)
        shapes = module.graph.output_shapes

        def bias(name: str) -> float:
            positions = math.prod(shapes[name][1:])
            return math.log(OBJECTS_PER_IMAGE / self.num_classes / positions) if name.startswith("class") else 0.0

        initialise_output_layers(module, bias)

    def loss(self, split: DetectionSplit, *, horizontal_flip: bool) -> BatchLoss:
        """The loss of a batch of these images; boxes are assigned again for each batch."""
        boxes, labels = padded_boxes(split)
        by_flip = torch.stack([boxes, mirrored(boxes, self.image_size)][: 1 + horizontal_flip])

        def batch_loss(outputs: Any, image_indices: npt.NDArray[np.int64], flipped: npt.NDArray[np.bool_]) -> Tensor:
            true_boxes = by_flip[torch.from_numpy(flipped.astype(np.int64)), image_indices]
            flat_outputs = yolo.flatten(outputs)
            return yolo.loss(*flat_outputs, self.points, self.strides, true_boxes, labels[image_indices]).total

        return batch_loss

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, scores and labels of each image, as ``yolo.detections`` gives them."""
        flat_outputs = yolo.flatten(outputs)
        return yolo.detections(*flat_outputs, self.points, self.strides, self.image_size, max_iou=MAX_IOU)


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
    """The boxes [..., 4] of the horizontally mirrored image."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([image_size - x2, y1, image_size - x1, y2], -1)
