"""What an evaluator is: what it is asked, what it answers, and the ways in which it may fail."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hardware_models.cost import HardwareModel
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from torch import Tensor


class EvaluationFailure(Exception):
    """A candidate that cannot be evaluated; the search records the reason and goes on."""

    code = "failed"


class Diverged(EvaluationFailure):
    """The loss is no longer a finite number."""

    code = "diverged"


class OutOfTime(EvaluationFailure):
    """Training took longer than its time limit."""

    code = "out_of_time"


class OutOfMemory(EvaluationFailure):
    """Training needs, or asked for, more memory than there is."""

    code = "out_of_memory"


class NothingToTrain(EvaluationFailure):
    """The network has no parameters: its outputs do not depend on its input, or nothing in it is learned."""

    code = "nothing_to_train"


class DataError(ValueError):
    """A data set that cannot be used; the message says what was wrong, where, and what to do."""


@dataclass(frozen=True)
class QualityMetric:
    """A figure that an evaluator gives: its name, which way is better, its unit, and how tables and plots call it.

    ``unit`` is one of those that limits are written in (``ms``, ``mJ``, ``KiB``, ``B``), or empty. ``label``: the name,
    where none is given. ``detail``: kept beside the others and not shown in tables.
    """

    name: str
    direction: Literal["minimize", "maximize"] = "maximize"
    unit: str = ""
    label: str = ""
    detail: bool = False


@dataclass(frozen=True)
class EvaluationJob:
    """One candidate to evaluate.

    ``graph``: its network in normal form, at the evaluator's proxy scale (``Evaluator.proxy``). ``genotype`` and
    ``space`` made it; a published network that is trained beside a search brings those of its own space.
    ``architecture``: the genotype as its space writes it. ``key``: the network's functional key at deployment scale.
    ``seed``: of everything random. ``fidelity``: the fraction of the full training, above 0 and up to 1. ``ordinal``
    counts the evaluations of one network, each with a seed of its own. ``compute_device``: where to train, in PyTorch's
    words. ``keep_artifact``: whether trained weights are wanted.
    """

    graph: Graph
    genotype: Genotype = field(default_factory=lambda: Genotype({}))
    space: Space | None = None
    seed: int = 0
    fidelity: float = 1.0
    architecture: str = ""
    key: str = ""
    ordinal: int = 0
    compute_device: str = "cpu"
    keep_artifact: bool = False


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve: how many images were trained on by then, and figures such as ``loss``."""

    images: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class EvaluationCost:
    """What an evaluation took; ``None`` where nobody measured it. ``images``: trained on, repeats counted."""

    seconds: float | None = None
    images: int | None = None
    peak_memory_mib: float | None = None


@dataclass(frozen=True)
class Artifact:
    """Trained weights, tensors by name, and what a user of them has to know, such as normalisation and class names."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What came of one candidate: a figure for every metric that the evaluator declares, and no other."""

    metrics: Mapping[str, float]
    curve: Sequence[CurvePoint] = ()
    cost: EvaluationCost = EvaluationCost()
    artifact: Artifact | None = None


class Evaluator(ABC):
    """Finds out how good a network is. Subclasses define ``metrics`` and ``evaluate``; all else has a default.

    Evaluators are sent to worker processes by value: what ``prepare`` leaves in attributes goes with them, and what
    ``evaluate`` leaves there is lost.
    """

    time_limit_s: float = 3600.0
    """A worker process that evaluates one candidate for twice as long is ended, and the candidate failed."""
    task: str = ""
    """Of the networks it takes: ``classify``, ``detect`` or ``segment``; spaces of another get such a head."""
    isolated: bool = True
    """Whether candidates are evaluated in worker processes, which may be killed; ``False`` where it only looks up."""
    version: ClassVar[int] = 1
    """Raised when the same question gets another answer than before; stored results of another version are not used."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[QualityMetric, ...]:
        """What ``evaluate`` gives. Searches optimise the first, unless they are told otherwise."""

    @abstractmethod
    def evaluate(self, job: EvaluationJob) -> Evaluation:
        """Evaluate one candidate.

        Raises ``EvaluationFailure`` for a candidate that cannot be evaluated; so does every other exception fail it,
        but for the first of a search, where it ends the search.
        """

    @property
    def name(self) -> str:
        """In one word, for progress and records."""
        return type(self).__name__

    @property
    def proxy(self) -> dict[str, Any]:
        """Options of the space that candidates are built with for evaluation, such as ``image_size``."""
        return {}

    @property
    def deploy(self) -> dict[str, Any]:
        """Options that the data require of the deployed network itself, such as ``num_classes``."""
        return {}

    def describe(self) -> str:
        """What is evaluated and how, in one line."""
        return self.name

    def check(self, graph: Graph) -> None:  # noqa: B027 - most take any network
        """Raise ``ValueError`` for a kind of network that it cannot evaluate.

        Called with one network of the space at proxy scale, before a search starts.
        """

    def check_fidelities(self, fidelities: Sequence[float]) -> None:
        """Raise ``ValueError`` unless it can evaluate at each of these fidelities, no two of which are alike to it."""
        if any(fidelity != 1 for fidelity in fidelities):
            raise ValueError(
                f"{self.name} evaluates in full only, not at fidelity {min(fidelities):.3g}; choose a searcher that"
                " trains in full, such as gp, or override check_fidelities and read job.fidelity"
            )

    def prepare(self, space: Space, hardware: HardwareModel, workspace: Path) -> None:  # noqa: B027 - as check
        """Called once before the first evaluation, in the search's own process; it may train a supernet.

        ``space`` is at proxy scale. ``workspace``: a folder of the study's, which exists and outlives the search. A
        search that is resumed calls it again: what lies there already need not be done again.
        """

    def cache_identity(self, fidelity: float) -> Mapping[str, Any]:
        """All that a result depends on, except network and seed: ``evaluator``, ``data``, ``fidelity``.

        ``evaluator``: a name and ``version``; ``data``: a digest; ``fidelity``: settings as JSON-able data. By default
        the class, its source, its attributes and ``describe()`` stand for all that.
        """
        try:
            source = inspect.getsource(type(self))
        except (OSError, TypeError):
            source = ""
        state = json.dumps([source, self.describe(), self.proxy, vars(self)], default=repr, sort_keys=True)
        return {
            "evaluator": f"{type(self).__module__}.{type(self).__qualname__}/{self.version}",
            "data": blake2b(state.encode(), digest_size=16).hexdigest(),
            "fidelity": {} if fidelity == 1 else {"fidelity": fidelity},
        }
