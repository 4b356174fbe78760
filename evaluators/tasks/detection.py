"""Trains a detector from scratch at a stated small scale and measures its mAP on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from evaluators.data.detection import DetectionData, DetectionSplit, class_names, load_detection_data
from evaluators.tasks import ssd_head, yolo_head
from evaluators.tasks.coco_map import coco_map
from evaluators.tasks.ssd import level_count
from evaluators.training.initialisation import zero_residual_branches
from evaluators.training.loop import BatchLoss, predict_batches, reestimate_batch_norm, train
from evaluators.training.memory_limit import check_training_memory, translate_memory_errors
from evaluators.training.settings import TrainingSettings, training_for_data
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule, to_module

Shapes = Mapping[str, Sequence[int]]
_cached_data = lru_cache(maxsize=2)(load_detection_data)


@dataclass(frozen=True)
class DetectionTraining(TrainingSettings):
    """Trains each candidate from scratch on small images and reports the mAP of held-out ones.

    The defaults are for ``digits``; ``detection_training`` has those for other data. Candidates are built with the
    options in ``proxy``. The result repeats to the bit for the same seed, thread count and build of PyTorch.

    min_anchor_scale: of ``ssd.anchors``. match_iou: the overlap from which an anchor is matched to a box. The
    others: see ``TrainingSettings``.
    """

    min_anchor_scale: float = 0.4
    match_iou: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("min_anchor_scale", "match_iou")

    @property
    def name(self) -> str:
        return "detection"

    @property
    def task(self) -> str:
        """The networks' task: searches put such a head on spaces that have another."""
        return "detect"

    @property
    def num_classes(self) -> int:
        """Of the data, without the background. Raises ``DataError``."""
        return len(class_names(self.data))

    def load(self) -> DetectionData:
        """The data set, loaded once a process. Raises ``DataError``."""
        return _cached_data(self.data, **self.data_arguments)

    def check(self, graph: Graph) -> None:
        """ValueError where the graph takes other images than this trains on, or is no detector of its classes."""
        check_detector(graph, self.image_size, self.num_classes)

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """``map`` and ``map50`` (0..1) after training, and ``final_loss``.

        Raises ``Diverged``, ``OutOfTime``, ``OutOfMemory``; ValueError when the graph is no detector for these data.
        """
        data = self.load()
        self.check(graph)
        check_training_memory(graph, self.batch_size, self.memory_limit_mib)
        with translate_memory_errors():
            module, head = self._build_network(graph, seed)
            loss = train(
                module,
                data.train.images,
                head.loss(data.train, horizontal_flip=self.horizontal_flip),
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                horizontal_flip=self.horizontal_flip,
                time_limit_s=self.time_limit_s,
                seed=seed,
            )
            quality = measure(module, head, data)
        return {**quality, "final_loss": loss}

    def evaluate_untrained(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """``map`` and ``map50`` of the same network before its first step, for comparison."""
        data = self.load()
        self.check(graph)
        module, head = self._build_network(graph, seed)
        reestimate_batch_norm(module, data.train.images, np.random.default_rng(seed))
        return measure(module, head, data)

    def _build_network(self, graph: Graph, seed: int) -> tuple[GraphModule, DetectionHead]:
        """The network as it is before its first step, and its head."""
        kind = head_kind(graph.output_shapes, self.image_size, self.num_classes)
        head = kind.make(graph.output_shapes, self)
        module = to_module(graph, seed)
        zero_residual_branches(module)
        head.initialise(module)
        return module, head


DEFAULTS_BY_DATA: dict[str, dict[str, Any]] = {
    "digits": {},
    "voc": {"image_size": 128, "min_anchor_scale": 0.2, "horizontal_flip": True, "max_train_images": 2048},
    "coco": {"image_size": 128, "min_anchor_scale": 0.2, "horizontal_flip": True, "max_train_images": 2048},
}
"""What each kind of data changes in the defaults: photographs are larger, and may be flipped."""


def detection_training(data: str = "digits", **settings: Any) -> DetectionTraining:
    """The training for ``digits``, ``voc:FOLDER`` or ``coco:FOLDER``; settings go over that kind's defaults."""
    return training_for_data(DetectionTraining, "detection training", DEFAULTS_BY_DATA, data, settings)


class DetectionHead(Protocol):
    """How a network's outputs are initialised, trained and decoded into boxes."""

    def initialise(self, module: GraphModule) -> None:
        """Set the head's initial weights."""

    def loss(self, split: DetectionSplit, *, horizontal_flip: bool) -> BatchLoss:
        """The loss of batches of these images."""

    def detections(self, outputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per image boxes [D, 4], falling scores [D] and labels [D]."""


class DetectionHeadKind(NamedTuple):
    """One kind of head, from the shapes of a network's outputs."""

    loss: str  # in words
    mismatch: Callable[
        [Shapes, int, int], str | None
    ]  # why they do not fit this image size and classes; None if they do
    make: Callable[[Shapes, DetectionTraining], DetectionHead]


DETECTION_HEADS: dict[str, DetectionHeadKind] = {
    "SSD": DetectionHeadKind(
        ssd_head.LOSS_DESCRIPTION,
        ssd_head.ssd_mismatch,
        lambda shapes, training: ssd_head.ssd_head(
            shapes,
            training.image_size,
            training.num_classes,
            min_anchor_scale=training.min_anchor_scale,
            match_iou=training.match_iou,
        ),
    ),
    "YOLO": DetectionHeadKind(
        yolo_head.LOSS_DESCRIPTION,
        yolo_head.yolo_mismatch,
        lambda shapes, training: yolo_head.yolo_head(shapes, training.image_size, training.num_classes),
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


def check_detector(graph: Graph, size: int, classes: int) -> None:
    """ValueError unless the graph takes images of ``size`` and its head, SSD or YOLO, scores so many ``classes``."""
    if graph.input_shape != (3, size, size):
        raise ValueError(
            f"the network takes {graph.input_shape}, the data are (3, {size}, {size}); use image_size={size}"
        )
    head_kind(graph.output_shapes, size, classes)


def measure(module: nn.Module, head: DetectionHead, data: DetectionData) -> dict[str, float]:
    """``map`` and ``map50`` on the validation images. Raises ``Diverged`` when the network's outputs are not finite."""
    detections_of_images = []
    for _, outputs in predict_batches(module, data.validation.images):
        detections_of_images += head.detections(outputs)
    return coco_map(
        [(boxes.numpy(), scores.numpy(), labels.numpy()) for boxes, scores, labels in detections_of_images],
        list(zip(data.validation.boxes, data.validation.labels, strict=True)),
        len(data.class_names),
    )
