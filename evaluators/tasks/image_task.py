"""Training for tasks with one output and no boxes: what classification and segmentation have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from evaluators.data.labelled_images import ImageData
from evaluators.training.initialisation import zero_residual_branches
from evaluators.training.loop import BatchLoss, reestimate_batch_norm, train
from evaluators.training.memory_limit import check_training_memory, translate_memory_errors
from evaluators.training.settings import TrainingSettings
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule, to_module


@dataclass(frozen=True)
class ImageTaskTraining(TrainingSettings):
    """Trains each candidate from scratch on small images and measures it on held-out ones.

    Candidates are built with the options in ``proxy``. The result repeats to the bit for the same seed, thread count
    and build of PyTorch.
    """

    task: ClassVar[str]
    quality: ClassVar[str]
    expected_output: ClassVar[tuple[str, int]]
    """The kind of network in words, and how many axes its one output has."""

    @abstractmethod
    def load(self) -> ImageData:
        """The data set, loaded once a process. Raises ``DataError``."""

    @abstractmethod
    def loss(self, targets: npt.NDArray[Any]) -> BatchLoss:
        """The loss of training on images with these targets."""

    @abstractmethod
    def measure_quality(self, module: nn.Module, data: ImageData) -> dict[str, float]:
        """The quality of a trained network on the validation images. Raises ``Diverged``."""

    def check(self, graph: Graph) -> None:
        """ValueError where the graph takes other images than this trains on, or gives other scores than it needs."""
        size, shapes = self.image_size, graph.output_shapes
        if graph.input_shapes != ((3, size, size),):
            actual = " and ".join(map(str, graph.input_shapes))
            raise ValueError(f"the network takes {actual}, the data are (3, {size}, {size}); use image_size={size}")
        kind, axes = self.expected_output
        if len(shapes) != 1 or len(next(iter(shapes.values()))) != axes:
            actual = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"no {kind}: the network gives {actual}, not one output of {axes} axes")
        ((name, shape),) = shapes.items()
        if shape[0] != self.num_classes:
            raise ValueError(
                f"{name} has {shape[0]} classes, not {self.num_classes}; use num_classes={self.num_classes}"
            )

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """The metrics of ``measure_quality`` after training, 0..1, and ``final_loss``.

        Raises ``Diverged``, ``OutOfTime``, ``OutOfMemory``; ValueError when the graph does not fit these data.
        """
        data = self.load()
        self.check(graph)
        check_training_memory(graph, self.batch_size, self.memory_limit_mib)
        with translate_memory_errors():
            module = to_module(graph, seed)
            initialise_network(module)
            final_loss = train(
                module,
                data.train.images,
                self.loss(data.train.targets),
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                horizontal_flip=self.horizontal_flip,
                time_limit_s=self.time_limit_s,
                seed=seed,
            )
            return {**self.measure_quality(module, data), "final_loss": final_loss}

    def evaluate_untrained(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """The metrics of the same network with random weights, in the last layer too, for comparison."""
        data = self.load()
        self.check(graph)
        module = to_module(graph, seed)
        zero_residual_branches(module)
        reestimate_batch_norm(module, data.train.images, np.random.default_rng(seed))
        return self.measure_quality(module, data)


def initialise_network(module: GraphModule) -> None:
    """Start every residual branch at zero, and every output: all classes equally likely."""
    zero_residual_branches(module)
    with torch.no_grad():
        for _, index in module.graph.outputs:
            last = dict(module.layers.items()).get(str(index))
            if isinstance(last, nn.Linear | nn.Conv2d):
                for parameter in last.parameters():
                    parameter.zero_()
