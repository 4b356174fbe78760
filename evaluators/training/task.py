"""What a task is to the trainer: which targets it reads, what its loss is, and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from evaluators.data.data_set import Annotation, DataSet, Indices
from evaluators.evaluator import QualityMetric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from search_spaces.pytorch.module import GraphModule

Flips = npt.NDArray[np.bool_]
BatchLoss = Callable[[Any, Indices, Flips], "Tensor"]
"""The loss of a batch from the network's outputs, the indices of its images, and which of them are mirrored."""


class TrainingTask(Protocol):
    """A head's targets, loss and metrics. Implementations are frozen dataclasses, whose fields are their settings.

    Settings are plain (``str``, ``int``, ``bool``, ``float``) with defaults, and go beside those of the trainer. Data
    are on the processor; outputs are wherever the module is.
    """

    def check(self, shapes: Mapping[str, Sequence[int]], num_classes: int, image_size: int) -> None:
        """Raise ``ValueError`` unless outputs of these shapes are a head of the task for so many classes."""
        ...

    def initialise(self, module: GraphModule, data: DataSet) -> None:
        """Set the weights that training starts from; residual branches are at zero already."""
        ...

    def loss(self, module: GraphModule, data: DataSet) -> BatchLoss:
        """The loss of training images. Targets are read for each batch, for a data set may not fit into memory."""
        ...

    def measure(self, module: nn.Module, data: DataSet) -> dict[str, float]:
        """The task's metrics on the validation images. Raises ``Diverged``."""
        ...


@dataclass(frozen=True)
class TaskRow:
    """A task in a table: what is known of it before anything is imported.

    ``make``: the class of its ``TrainingTask``, as ``package.module:name``. ``name`` stands in records. ``annotation``
    is what data must have. ``metrics``: what it measures, the first to be optimised. ``head``: the task of a search
    space whose head networks need; where it is empty, they are taken as they are. ``defaults``: settings that differ
    from those of the trainer; ``photographs``: those that differ once more for all data but the drawn digits.
    ``version`` is raised when the same settings give other figures than before.
    """

    make: str
    name: str
    annotation: Annotation
    metrics: tuple[QualityMetric, ...]
    head: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    photographs: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
