"""Classification: one score a class, cross entropy, and the accuracy on held-out images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.data_set import DataSet, Indices
from evaluators.tasks.output_check import check_single_output
from evaluators.training.initialisation import zero_output_layers
from evaluators.training.loop import predict_batches
from evaluators.training.settings import check_types
from evaluators.training.task import BatchLoss, Flips
from search_spaces.pytorch.module import GraphModule


@dataclass(frozen=True)
class ClassificationTask:
    """``accuracy`` and ``top5`` of networks with one score a class.

    label_smoothing: the weight of the uniform distribution in the targets (arXiv 1512.00567, section 7).
    """

    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing!r}; it must be 0 at least and below 1")

    def check(self, shapes: Mapping[str, Sequence[int]], num_classes: int, image_size: int) -> None:
        """ValueError unless there is one output, with a score for every class."""
        check_single_output(shapes, "classifier", 1, num_classes)

    def initialise(self, module: GraphModule, data: DataSet) -> None:
        """All classes are equally likely."""
        zero_output_layers(module)

    def loss(self, module: GraphModule, data: DataSet) -> BatchLoss:
        """Cross entropy of whole images, with label smoothing."""
        split = data.train

        def loss(scores: Tensor, image_indices: Indices, _: Flips) -> Tensor:
            labels = torch.from_numpy(split.targets(image_indices)).to(scores.device)
            return functional.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)

        return loss

    def measure(self, module: nn.Module, data: DataSet) -> dict[str, float]:
        """``accuracy``: the fraction of validation images whose class scores highest; ``top5``: among the first five.

        Raises ``Diverged``.
        """
        ranks = np.concatenate(list(_ranks(module, data)))
        return {"accuracy": float((ranks < 1).mean()), "top5": float((ranks < 5).mean())}


def _ranks(module: nn.Module, data: DataSet) -> Iterator[npt.NDArray[np.int64]]:
    """How many classes come before each image's own; of equal scores the lower class comes first."""
    for chunk, scores in predict_batches(module, data.validation, data.normalisation):
        order = torch.argsort(scores, dim=1, descending=True, stable=True).cpu().numpy()
        yield np.nonzero(order == data.validation.targets(chunk)[:, None])[1]
