"""The evaluator that trains networks from scratch at a stated small scale, for any task on any data that allow it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evaluators.data.catalog import DataSpec
from evaluators.data.data_set import DataSet
from evaluators.data.open import open_data_set
from evaluators.evaluator import (
    Artifact,
    DataError,
    Evaluation,
    EvaluationCost,
    EvaluationJob,
    Evaluator,
    QualityMetric,
)
from evaluators.training.compute_device import ComputeDevice
from evaluators.training.fidelity import check_step_fidelities, steps_at
from evaluators.training.initialisation import complete_state, zero_residual_branches
from evaluators.training.loop import reestimate_batch_norm, train
from evaluators.training.memory_limit import check_training_memory, translate_memory_errors
from evaluators.training.settings import TrainingSettings, identity_of, is_drawn
from evaluators.training.task import TaskRow, TrainingTask
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule, to_module

FINAL_LOSS = QualityMetric("final_loss", "minimize", label="final loss", detail=True)
"""The mean training loss over the last tenth of the steps."""
_NO_PART_OF_RESULTS = ("data", "time_limit_s", "memory_limit_mib")


@dataclass(frozen=True)
class NetworkTraining(TrainingSettings, Evaluator):
    """Trains each candidate from scratch on small images, and measures it on held-out ones.

    ``evaluators.tasks.catalog.network_training`` makes one with the defaults of its task and data. ``task_row`` names
    the task, ``training_task`` does what is its own. Candidates are built with the options in ``proxy``. On a
    processor the result repeats to the bit for the same seed, thread count and build of PyTorch.
    """

    task_row: TaskRow = field(kw_only=True, hash=False)
    training_task: TrainingTask = field(kw_only=True)

    version = 1

    @property
    def name(self) -> str:
        return self.task_row.name

    @property
    def task(self) -> str:  # type: ignore[override]
        """Whose head networks need: searches put it on spaces that have another."""
        return self.task_row.head

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (*self.task_row.metrics, FINAL_LOSS)

    def data_set(self) -> DataSet:
        """The data set, opened once a process; ``data`` itself where that is a ``DataSet``. Raises ``DataError``."""
        if all(hasattr(self.data, attribute) for attribute in ("train", "validation", "normalisation")):
            return self._fitting(self.data)
        return open_data_set(
            self.data,
            self.task_row.annotation,
            image_size=self.image_size,
            seed=self.data_seed,
            max_train_images=self.max_train_images,
            max_val_images=self.max_val_images,
            channels=self.channels,
        )

    def _fitting(self, data: DataSet) -> DataSet:
        """An open data set, if it is one for this task and scale. Raises ``DataError``."""
        wanted = self.task_row.annotation
        if data.annotation != wanted:
            raise DataError(f"{self.name} training needs {wanted}, but the data {data.name!r} have {data.annotation}")
        if data.image_size != self.image_size:
            raise DataError(
                f"the images of the data {data.name!r} are {data.image_size} px, not {self.image_size}; set"
                f" image_size={data.image_size}"
            )
        return data

    @property
    def proxy(self) -> dict[str, Any]:
        """Options of the space to build a candidate with for training. Raises ``DataError``."""
        return {"image_size": self.image_size, "width": self.width, **self._options_of_data()}

    @property
    def deploy(self) -> dict[str, Any]:
        """Options that the data require of the network itself; none for digits, which only stand in for the user's own.

        Raises ``DataError``.
        """
        return {} if is_drawn(self.data) else self._options_of_data()

    def _options_of_data(self) -> dict[str, Any]:
        data = self.data_set()
        channels = {} if data.channels == 3 else {"image_channels": data.channels}
        return {"num_classes": len(data.class_names), **channels}

    def describe(self) -> str:
        """The proxy scale in words."""
        data = str(self.data) if isinstance(self.data, str | DataSpec) else type(self.data).__name__
        return (
            f"{data}, {self.image_size} px, width x{self.width:g}, {self.steps} steps of {self.batch_size} images"
            f" from at most {self.max_train_images}, measured on at most {self.max_val_images}"
        )

    def check(self, graph: Graph) -> None:
        """ValueError where the graph takes other images than this trains on, or is no network for the task and data."""
        self._check(graph, self.data_set())

    def _check(self, graph: Graph, data: DataSet) -> None:
        wanted = (data.channels, data.image_size, data.image_size)
        if graph.input_shapes != (wanted,):
            actual = " and ".join(map(str, graph.input_shapes))
            option = f"image_size={data.image_size}"
            if len(graph.input_shapes) == 1 and graph.input_shape[0] != data.channels:
                option += f", image_channels={data.channels}"
            raise ValueError(f"the network takes {actual}, the data are {wanted}; use {option}")
        self.training_task.check(graph.output_shapes, len(data.class_names), data.image_size)

    def check_fidelities(self, fidelities: Sequence[float]) -> None:
        """ValueError where a fidelity is none, and where two come to the same number of steps."""
        check_step_fidelities(self.steps, fidelities)

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        """All that a stored result depends on: this training, the data, and the proxy scale. Raises ``DataError``."""
        row, version = self.task_row, f"{self.version}"
        training = self._at(fidelity)
        return {
            "evaluator": f"{row.name}/{version if row.version == 1 else f'{version}.{row.version}'}",
            "data": self.data_set().digest,
            "fidelity": {
                **identity_of(training, TrainingSettings, without=_NO_PART_OF_RESULTS),
                **identity_of(self.training_task, type(self.training_task)),
            },
        }

    def _at(self, fidelity: float) -> NetworkTraining:
        """Itself with that fraction of its steps."""
        return replace(self, steps=steps_at(self.steps, fidelity))

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        """The task's metrics after training, and ``final_loss``.

        Raises ``Diverged``, ``OutOfTime``, ``OutOfMemory``, ``NothingToTrain``; ``ValueError`` when the graph does not
        fit the task and data, ``DataError`` when these cannot be read.
        """
        started = time.monotonic()
        data = self.data_set()
        self._check(job.graph, data)
        check_training_memory(job.graph, self.batch_size, self.memory_limit_mib)
        device = ComputeDevice(job.compute_device)
        with translate_memory_errors():
            module = self._initial_module(job.graph, job.seed)
            self.training_task.initialise(module, data)
            device.take(module)
            run = train(
                module,
                data,
                self.training_task.loss(module, data),
                steps=steps_at(self.steps, job.fidelity),
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                horizontal_flip=self.horizontal_flip,
                time_limit_s=self.time_limit_s,
                seed=job.seed,
            )
            quality = self.training_task.measure(module, data)
        return Evaluation(
            {**quality, FINAL_LOSS.name: run.final_loss},
            run.curve,
            EvaluationCost(time.monotonic() - started, run.images, device.peak_memory_mib()),
            self._artifact(module, data) if job.keep_artifact else None,
        )

    def evaluate_untrained(self, graph: Graph, *, seed: int) -> dict[str, float]:
        """The task's metrics of the same network with random weights, in the last layers too, for comparison."""
        data = self.data_set()
        self._check(graph, data)
        module = self._initial_module(graph, seed)
        reestimate_batch_norm(module, data, np.random.default_rng(seed))
        return self.training_task.measure(module, data)

    def _initial_module(self, graph: Graph, seed: int) -> GraphModule:
        module = to_module(graph, seed)
        zero_residual_branches(module)
        return module

    def _artifact(self, module: GraphModule, data: DataSet) -> Artifact:
        """The weights as ``to_module`` names them, and what they were trained on."""
        return Artifact(
            complete_state(module),
            {
                "task": self.task_row.name,
                "data": data.name,
                "data_digest": data.digest,
                "class_names": json.dumps(list(data.class_names)),
                "image_size": str(data.image_size),
                "image_channels": str(data.channels),
                "mean": json.dumps(list(data.normalisation.mean)),
                "std": json.dumps(list(data.normalisation.std)),
                "evaluator": f"{self.name}/{self.version}",
            },
        )
