"""What a quality evaluator is, and the ways in which one may fail."""

from __future__ import annotations

from typing import Any, Protocol

from search_spaces.graph.graph import Graph


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


class QualityEvaluator(Protocol):
    """Trains a network at a stated proxy scale and measures it.

    ``proxy`` holds the options that the candidate's space is built with for training; ``deploy`` those that the data
    require of the network itself, such as its number of classes. ``check`` raises ``ValueError`` for a kind of network
    that it cannot train; it is called once, with one network of the space, before a search starts. Evaluators are plain
    data: they are sent to worker processes by value.

    Optional members: ``quality``, the metric that searches maximise by default (else ``map``); ``task``, that of the
    networks it trains (``search_spaces.task_heads``), for spaces that have another; ``cache_identity()``, all that its
    results depend on except network and seed: ``evaluator`` with its version, ``data`` with their digest, and
    ``fidelity``; ``evaluate_architecture(text, seed=)`` in place of ``evaluate``, where results are looked up by the
    architecture's notation.
    """

    name: str

    @property
    def time_limit_s(self) -> float: ...

    @property
    def proxy(self) -> dict[str, Any]: ...

    @property
    def deploy(self) -> dict[str, Any]: ...

    def describe(self) -> str: ...

    def check(self, graph: Graph) -> None: ...

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]: ...
