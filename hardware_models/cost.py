"""What a graph costs on a device according to a model of the device: ``Cost``, and the protocol that models follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.registry import unknown_name

COST_METRICS = ("latency_ms", "latency_low_ms", "latency_high_ms", "energy_mj", "weights_kib", "peak_memory_kib")


class NodeCost(NamedTuple):
    """One row of a breakdown. ``index`` is the node's; ``None`` for what belongs to the inference as a whole.

    ``bound`` says what the time is spent on: ``compute``, ``memory`` (moving bytes on the chip), ``transfer`` (between
    host or outer memory and chip), ``overhead``, ``fallback`` (run by the host's processor) or ``fused`` (no time:
    part of the operation before it).
    """

    index: int | None  # type: ignore[assignment]  # not tuple.index
    op: str
    shape: Shape
    macs: int
    latency_ms: float
    bound: str


class CostDetails(Protocol):
    """What a cost works out only when asked: the model and the graph behind it."""

    def breakdown(self) -> list[NodeCost]: ...

    def peak_memory_kib(self) -> float | None: ...


@dataclass(frozen=True)
class Cost:
    """A predicted cost. ``None`` means that the model does not say.

    ``latency_low_ms`` to ``latency_high_ms`` holds the measured latency with probability ``coverage``, by the model's
    error on networks that it was not fitted to. ``guessed_ops`` are operation kinds that the model has no rule for
    and prices by a guess, ``fallback_ops`` those that the device leaves to its host, ``unsupported_ops`` those that it
    cannot run at all: a search treats such a network as over a limit.
    """

    latency_ms: float
    source: str
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    coverage: float | None = None
    energy_mj: float | None = None
    weights_kib: float | None = None
    guessed_ops: tuple[str, ...] = ()
    fallback_ops: tuple[str, ...] = ()
    details: CostDetails | None = field(default=None, repr=False, compare=False)
    unsupported_ops: tuple[str, ...] = ()

    @cached_property
    def peak_memory_kib(self) -> float | None:
        """Most activations alive at once, in the device's number format, without weights."""
        return None if self.details is None else self.details.peak_memory_kib()

    def breakdown(self) -> list[NodeCost]:
        """Where the time goes: a row a node, then what belongs to the whole; empty where the model does not say."""
        return [] if self.details is None else self.details.breakdown()

    def metric(self, name: str) -> float | None:
        """One metric by name, without working out the others. Raises ``UnknownName``."""
        if name not in COST_METRICS:
            raise unknown_name("metric", name, list(COST_METRICS))
        value: float | None = getattr(self, name)
        return value

    def metrics(self) -> dict[str, float]:
        """All metrics that the model gives, by name."""
        values = {name: self.metric(name) for name in COST_METRICS}
        return {name: value for name, value in values.items() if value is not None}


class SupportsBreakdown(Protocol):
    """A model that tells where the time of a graph goes."""

    def breakdown(self, graph: Graph) -> list[NodeCost]: ...


class GraphCostDetails:
    """Details from the model, the graph, and how many bytes a live activation takes."""

    def __init__(self, model: SupportsBreakdown, graph: Graph, bytes_per_activation: float) -> None:
        self._model = model
        self._graph = graph
        self._bytes_per_activation = bytes_per_activation

    def breakdown(self) -> list[NodeCost]:
        return self._model.breakdown(self._graph)

    def peak_memory_kib(self) -> float:
        return self._graph.peak_activation_elements * self._bytes_per_activation / 1024


@runtime_checkable
class HardwareModel(Protocol):
    """Anything that prices a graph without the device.

    A model may also have ``number_format``, one of ``number_format.BYTES_PER_ELEMENT``; whoever asks uses
    ``number_format_of``, for which a model without it does not say. All models of this package and those made of others
    have it.
    """

    @property
    def name(self) -> str: ...

    def estimate(self, graph: Graph) -> Cost: ...
