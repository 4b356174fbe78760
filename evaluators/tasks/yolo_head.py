"""The anchor-free YOLO head of a network: its initial weights, its loss and its detections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluators.data.data_set import Indices, Split
from evaluators.tasks import yolo
from evaluators.tasks.padded_boxes import mirrored, most_boxes, padded_boxes
from evaluators.tasks.ssd import level_count
from evaluators.training.initialisation import initialise_output_layers, remove_redundant_biases
from evaluators.training.task import BatchLoss, Flips
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

    def loss(self, split: Split, device: torch.device) -> BatchLoss:
        """The loss of a batch of these images, for outputs on that device; boxes are assigned again for each batch."""
        points, strides = self.points.to(device), self.strides.to(device)
        least = most_boxes(split)

        def batch_loss(outputs: Any, image_indices: Indices, flipped: Flips) -> Tensor:
            corners, labels = padded_boxes(split.targets(image_indices), least)
            corners = np.where(flipped[:, None, None], mirrored(corners, self.image_size), corners)
            true_boxes, true_classes = torch.from_numpy(corners).to(device), torch.from_numpy(labels).to(device)
            return yolo.loss(*yolo.flatten(outputs), points, strides, true_boxes, true_classes).total

        return batch_loss

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, scores and labels of each image, as ``yolo.detections`` gives them."""
        distances, scores = yolo.flatten(outputs)
        points, strides = self.points.to(scores.device), self.strides.to(scores.device)
        return yolo.detections(distances, scores, points, strides, self.image_size, max_iou=MAX_IOU)


def yolo_head(shapes: Mapping[str, Sequence[int]], image_size: int, num_classes: int) -> YoloHead:
    """The head of outputs with these shapes."""
    sizes = [(shapes[f"box{level}"][1], shapes[f"box{level}"][2]) for level in range(level_count(shapes))]
    return YoloHead(*yolo.points(sizes), image_size, num_classes)
