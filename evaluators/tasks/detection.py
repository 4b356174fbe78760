"""Detection: SSD and YOLO heads, each with its own loss, and the mAP on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.data.data_set import DataSet, Split
from evaluators.tasks import ssd_head, yolo_head
from evaluators.tasks.coco_map import coco_map
from evaluators.tasks.ssd import level_count
from evaluators.training.loop import device_of, predict_batches
from evaluators.training.settings import check_types, require_positive
from evaluators.training.task import BatchLoss
from search_spaces.pytorch.module import GraphModule

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class DetectionTask:
    """``map`` and ``map50`` of networks whose outputs are one of ``DETECTION_HEADS``.

    min_anchor_scale: of ``ssd.anchors``. match_iou: the overlap from which an anchor is matched to a box.
    """

    min_anchor_scale: float = 0.4
    match_iou: float = 0.4

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "min_anchor_scale", "match_iou")

    def check(self, shapes: Shapes, num_classes: int, image_size: int) -> None:
        """ValueError unless the outputs are a head, SSD or YOLO, that scores so many classes."""
        head_kind(shapes, image_size, num_classes)

    def head(self, shapes: Shapes, num_classes: int, image_size: int) -> DetectionHead:
        """What outputs of these shapes are trained and decoded by. ValueError where they are no head."""
        return head_kind(shapes, image_size, num_classes).make(shapes, image_size, num_classes, self)

    def initialise(self, module: GraphModule, data: DataSet) -> None:
        """Boxes and scores start as constants, those of the head."""
        self._head_of(module, data).initialise(module)

    def loss(self, module: GraphModule, data: DataSet) -> BatchLoss:
        """The loss of the network's own head."""
        return self._head_of(module, data).loss(data.train, device_of(module))

    def measure(self, module: nn.Module, data: DataSet) -> dict[str, float]:
        """``map`` and ``map50`` on the validation images. Raises ``Diverged``."""
        head: DetectionHead | None = None
        detections: list[tuple[Tensor, Tensor, Tensor]] = []
        for _, outputs in predict_batches(module, data.validation, data.normalisation):
            if head is None:
                shapes = {name: tuple(tensor.shape[1:]) for name, tensor in outputs.items()}
                head = self.head(shapes, len(data.class_names), data.image_size)
            detections += head.detections(outputs)
        truths = data.validation.targets(np.arange(len(data.validation)))
        return coco_map(
            [(boxes.cpu().numpy(), scores.cpu().numpy(), labels.cpu().numpy()) for boxes, scores, labels in detections],
            [(boxes.corners, boxes.labels) for boxes in truths],
            len(data.class_names),
        )

    def _head_of(self, module: GraphModule, data: DataSet) -> DetectionHead:
        return self.head(module.graph.output_shapes, len(data.class_names), data.image_size)


class DetectionHead(Protocol):
    """How a network's outputs are initialised, trained and decoded into boxes."""

    def initialise(self, module: GraphModule) -> None:
        """Set the head's initial weights."""

    def loss(self, split: Split, device: torch.device) -> BatchLoss:
        """The loss of batches of these images, for outputs on that device."""

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per image boxes [D, 4], falling scores [D] and labels [D]."""


class DetectionHeadKind(NamedTuple):
    """One kind of head, from the shapes of a network's outputs."""

    loss: str  # in words
    mismatch: Callable[
        [Shapes, int, int], str | None
    ]  # why they do not fit this image size and classes; None if they do
    make: Callable[[Shapes, int, int, DetectionTask], DetectionHead]


DETECTION_HEADS: dict[str, DetectionHeadKind] = {
    "SSD": DetectionHeadKind(
        ssd_head.LOSS_DESCRIPTION,
        ssd_head.ssd_mismatch,
        lambda shapes, image_size, num_classes, settings: ssd_head.ssd_head(
            shapes,
            image_size,
            num_classes,
            min_anchor_scale=settings.min_anchor_scale,
            match_iou=settings.match_iou,
        ),
    ),
    "YOLO": DetectionHeadKind(
        yolo_head.LOSS_DESCRIPTION,
        yolo_head.yolo_mismatch,
        lambda shapes, image_size, num_classes, _: yolo_head.yolo_head(shapes, image_size, num_classes),
    ),
}
"""No outputs fit two of them: an SSD head scores a background besides the classes."""


def head_kind(shapes: Shapes, image_size: int, classes: int) -> DetectionHeadKind:
    """The kind of head that fits these shapes. ValueError, with the mismatch of each kind, when none does."""
    level_count(shapes)
    mismatches = []
    for name, kind in DETECTION_HEADS.items():
        mismatch = kind.mismatch(shapes, image_size, classes)
        if mismatch is None:
            return kind
        mismatches.append(f"as {name}, {mismatch}")
    raise ValueError(f"no detection head for these data: {'; '.join(mismatches)}")
