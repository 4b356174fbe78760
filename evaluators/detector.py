"""Trains a detector from scratch at a stated small scale and measures its mAP on held-out images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from evaluators import ssd
from evaluators.detection_data import DetectionData, class_names, load_detection_data
from evaluators.quality import OutOfMemory
from evaluators.ssd_training import estimate_statistics, train_detector, validate_detector
from search_spaces.catalog import unknown
from search_spaces.graph import FLOAT_BYTES, Graph
from search_spaces.module import GraphModule, to_module

CLASS_BIAS = -4.6
"""First bias of the class scores, a sigmoid of 0.01: keeps the first loss sane (arXiv 1708.02002, section 4.1)."""
ACTIVATION_COPIES = 2.0
PARAMETER_COPIES = 8.0
WORK_MIB = 100.0
"""Memory that training takes: so often the graph's activations and parameters, and a rest; from measured peaks."""

_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool}

_cached_data = lru_cache(maxsize=2)(load_detection_data)


@dataclass(frozen=True)
class DetectionTraining:
    """Trains each candidate from scratch on small images and reports the mAP of held-out ones.

    The defaults are for ``digits``; ``detection_training`` has those for other data. Candidates are built with the
    options in ``proxy``. The result repeats to the bit for the same seed, thread count and build of PyTorch.

    width: the factor on the candidate's widths. learning_rate: that of ``Muon``'s orthogonal steps at its highest.
    min_anchor_scale: of ``ssd.anchors``. match_iou: from which overlap an anchor answers for a box. data_seed: draws
    the digits or the subset. memory_limit_mib: candidates estimated above are refused.
    """

    data: str = "digits"
    image_size: int = 96
    width: float = 0.5
    steps: int = 100
    batch_size: int = 16
    learning_rate: float = 0.8
    min_anchor_scale: float = 0.4
    match_iou: float = 0.4
    horizontal_flip: bool = False
    max_train_images: int = 1600
    max_val_images: int = 256
    data_seed: int = 0
    time_limit_s: float = 300.0
    memory_limit_mib: float = 4096.0

    def __post_init__(self) -> None:
        for field in fields(self):
            expected = (int, float) if field.type == "float" else _TYPES[str(field.type)]
            value = getattr(self, field.name)
            if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
                raise ValueError(f"{field.name} is {value!r}; it must be of type {field.type}")
        least = {"steps": 1, "batch_size": 2, "max_train_images": 1, "max_val_images": 1, "data_seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {low} at least")
        for name in ("width", "learning_rate", "min_anchor_scale", "match_iou", "time_limit_s", "memory_limit_mib"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be above 0")

    @property
    def name(self) -> str:
        return "detection"

    @property
    def task(self) -> str:
        """What the networks are to do: searches put such a head on spaces that have another."""
        return "detect"

    @property
    def proxy(self) -> dict[str, Any]:
        """Options of the space to build a candidate with for training. Raises ``DataError``."""
        return {"image_size": self.image_size, "width": self.width, "num_classes": len(class_names(self.data))}

    @property
    def deploy(self) -> dict[str, Any]:
        """Options that the data ask of the network itself: none of digits, which only stand in for the user's own.

        Raises ``DataError``.
        """
        return {} if self.data == "digits" else {"num_classes": len(class_names(self.data))}

    def describe(self) -> str:
        """The proxy scale in words."""
        return (
            f"{self.data}, {self.image_size} px, width x{self.width:g}, {self.steps} steps of {self.batch_size} images"
            f" from at most {self.max_train_images}, measured on at most {self.max_val_images}"
        )

    def cache_identity(self) -> dict[str, Any]:
        """What a stored result depends on: this training, every pixel and box, and the scale. Raises ``DataError``."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        apart = ("data", "time_limit_s", "memory_limit_mib")
        return {
            "evaluator": "detection/1",
            "data": self.load().digest,
            "fidelity": {name: value for name, value in settings.items() if name not in apart},
        }

    def load(self) -> DetectionData:
        """The data set, loaded once a process. Raises ``DataError``."""
        return _cached_data(
            self.data,
            image_size=self.image_size,
            seed=self.data_seed,
            max_train_images=self.max_train_images,
            max_val_images=self.max_val_images,
        )

    def check(self, graph: Graph) -> None:
        """ValueError where the graph takes other images than this trains on, or is no detector of its classes."""
        check_detector(graph, self.image_size, len(class_names(self.data)))

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """``map`` and ``map50`` (0..1) after training, and ``final_loss``.

        Raises ``Diverged``, ``OutOfTime``, ``OutOfMemory``; ValueError when the graph is no detector for these data.
        """
        data = self.load()
        self.check(graph)
        self._refuse_large(graph)
        with _memory_errors():
            module = to_module(graph, seed)
            initialise(module)
            loss = train_detector(
                module,
                data,
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                min_anchor_scale=self.min_anchor_scale,
                match_iou=self.match_iou,
                horizontal_flip=self.horizontal_flip,
                time_limit_s=self.time_limit_s,
                seed=seed,
            )
            quality = validate_detector(module, data, min_anchor_scale=self.min_anchor_scale)
        return {**quality, "final_loss": loss}

    def untrained(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """``map`` and ``map50`` of the same network before its first step, for comparison."""
        data = self.load()
        self.check(graph)
        module = to_module(graph, seed)
        initialise(module)
        estimate_statistics(module, data.train, np.random.default_rng(seed))
        return validate_detector(module, data, min_anchor_scale=self.min_anchor_scale)

    def _refuse_large(self, graph: Graph) -> None:
        activations = self.batch_size * sum(math.prod(node.shape) for node in graph.nodes)
        elements = ACTIVATION_COPIES * activations + PARAMETER_COPIES * graph.params
        mib = elements * FLOAT_BYTES / 2**20 + WORK_MIB
        if mib > self.memory_limit_mib:
            raise OutOfMemory(
                f"training is estimated at {mib:.0f} MiB, over the limit of {self.memory_limit_mib:g} MiB; "
                "a smaller batch_size, image_size or width needs less"
            )


RECIPES: dict[str, dict[str, Any]] = {
    "digits": {},
    "voc": {"image_size": 128, "min_anchor_scale": 0.2, "horizontal_flip": True, "max_train_images": 2048},
    "coco": {"image_size": 128, "min_anchor_scale": 0.2, "horizontal_flip": True, "max_train_images": 2048},
}
"""What each kind of data changes in the defaults: photographs are larger, and may be flipped."""


def detection_training(data: str = "digits", **settings: Any) -> DetectionTraining:
    """The training for ``digits``, ``voc:FOLDER`` or ``coco:FOLDER``; settings go over that kind's defaults."""
    known = [field.name for field in fields(DetectionTraining)]
    for name in settings:
        if name not in known:
            raise unknown("setting of detection training", name, known)
    return DetectionTraining(**{"data": data, **RECIPES.get(data.partition(":")[0], {}), **settings})


def check_detector(graph: Graph, size: int, classes: int) -> None:
    """ValueError unless the graph takes images of ``size`` and its SSD head scores so many ``classes``."""
    shapes = graph.output_shapes
    if graph.input_shape != (3, size, size):
        raise ValueError(
            f"the network takes {graph.input_shape}, the data are (3, {size}, {size}); use image_size={size}"
        )
    for level in range(ssd.level_count(shapes)):
        count = ssd.ANCHORS_OTHER_LEVELS if level else ssd.ANCHORS_FIRST_LEVEL
        for name, depth in ((f"box{level}", count * 4), (f"class{level}", count * (classes + 1))):
            if shapes[name][0] != depth:
                raise ValueError(f"{name} has {shapes[name][0]} channels, not {depth}; use num_classes={classes}")


def initialise(module: GraphModule) -> None:
    """Start every residual branch at zero and every anchor at its own place with the score of ``CLASS_BIAS``.

    A network whose branches add nothing at first learns as a shallow one does (arXiv 1706.02677, section 5.1), which
    is what makes a hundred steps enough.
    """
    with torch.no_grad():
        for index in residual_norms(module.graph):
            layer = module.layers[str(index)]
            if isinstance(layer, _BatchNorm):
                layer.weight.zero_()
        for name, index in module.graph.outputs:
            predictor = dict(module.layers.items()).get(str(index))
            if isinstance(predictor, nn.Conv2d) and predictor.bias is not None:
                predictor.weight.zero_()
                predictor.bias.fill_(CLASS_BIAS if name.startswith("class") else 0.0)


def residual_norms(graph: Graph) -> list[int]:
    """The normalisations that end a residual branch: operands of a sum that another operand of it leads to."""
    sums = [node.inputs for node in graph.nodes if node.op == "add"]
    summed = {i for operands in sums for i in operands}
    before: list[frozenset[int]] = []  # per node, the summed nodes that lead to it
    for node in graph.nodes:
        before.append(frozenset().union(*(before[i] | ({i} & summed) for i in node.inputs)))
    return sorted(
        {i for operands in sums for i in operands if graph.nodes[i].op == "norm" and not before[i].isdisjoint(operands)}
    )


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn what an allocator says when memory runs out into ``OutOfMemory``."""
    try:
        yield
    except MemoryError:
        raise OutOfMemory("memory ran out in training; a smaller batch_size, image_size or width needs less") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise OutOfMemory(f"memory ran out in training: {str(error).splitlines()[0]}") from None
