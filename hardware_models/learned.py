"""Latency and energy learned from measurements: a sum over operations, each priced by its kind and its counts.

    cost = base + sum over operations of (1 + c) * (a . counts)

``counts`` are those of ``operation.FEATURES``, ``a >= 0`` a rate for each of them and each kind of operation, and ``c``
a correction of one exact operation that the measurements held (0 for others). Both are found by ``learning.fit``. What
runs one after the other adds up: so it is on processors at batch 1, on accelerators without overlap between layers, and
on GPUs that launch kernels from one stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log2
from statistics import median
from typing import Any

from hardware_models.analytic import operation_kinds
from hardware_models.cost import Cost, NodeCost
from hardware_models.device_file import HardwareError, Table
from hardware_models.operation import FEATURES, Operation, operation_of
from search_spaces.graph import Fragment, Graph, remember

PARTS = 10**9  # a figure is summed in whole billionths, so that its sum does not depend on the order
METRICS = {"latency": "latency_ms", "energy": "energy_mj"}
CONVOLUTIONS = ("conv:regular", "conv:pointwise", "conv:depthwise", "conv:grouped")


@dataclass(frozen=True)
class Rates:
    """How one figure, latency in ms or energy in mJ, adds up.

    ``kinds``: a rate for each of ``FEATURES`` by kind of operation. ``corrections``: by an operation's text, the share
    by which it costs more than its kind says. ``factor``: the ratio between a prediction and either end of its
    interval, which holds a share ``coverage`` of measured networks. ``largest_gmacs``: of any measured network.
    """

    base: float
    kinds: Mapping[str, tuple[float, ...]]
    corrections: Mapping[str, float] = field(default_factory=dict)
    factor: float | None = None
    coverage: float | None = None
    largest_gmacs: float = inf

    def of(self, kind: str) -> tuple[float, ...]:
        """The rates of a kind; those of its like where it was not measured."""
        return self.kinds.get(kind) or guess_for(kind, self.kinds)

    def interval_factor(self, gmacs: float, guessed: int) -> float | None:
        """The interval of a network: wider by a half for each kind that is guessed, and beyond what was measured."""
        if self.factor is None:
            return None
        wider = 1 + 0.5 * guessed + (log2(gmacs / self.largest_gmacs) if gmacs > self.largest_gmacs else 0.0)
        return min(float(self.factor**wider), 100.0)

    def price(self, operation: Operation) -> float:
        """The cost of one operation."""
        rates = self.of(operation.kind)
        price = sum([rate * count for rate, count in zip(rates, operation.counts, strict=True)])
        return price * (1 + self.corrections.get(operation.text, 0.0))


def guess_for(kind: str, kinds: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """Rates of a kind that was not measured, from those of its like.

    The dearest of each rate among convolutions for a convolution, and among kinds of the same operation for others;
    where there is none, the median of all that are no convolutions.
    """
    family = kind.partition(":")[0]
    heavy = ("conv", "linear", "matmul")
    alike = [r for k, r in kinds.items() if k.partition(":")[0] == family]
    if not alike and family in heavy:
        alike = [r for k, r in kinds.items() if k.startswith("conv:pointwise")] or list(kinds.values())
    if alike:
        return tuple(max(column) for column in zip(*alike, strict=True))
    light = [r for k, r in kinds.items() if k.partition(":")[0] not in heavy] or list(kinds.values())
    return tuple(median(column) for column in zip(*light, strict=True)) or (0.0,) * len(FEATURES)


def read_rates(table: Table) -> Rates:
    """The table ``[latency]`` or ``[energy]`` of a device file. Raises ``HardwareError``."""
    kinds, corrections = table.table("kinds"), table.optional_table("corrections")
    error = table.optional_table("error")
    rates = Rates(
        base=table.number("base", minimum=0),
        kinds={kind: _rates(kinds, kind) for kind in kinds.names()},
        corrections={} if corrections is None else {t: corrections.number(t, minimum=-1) for t in corrections.names()},
        factor=None if error is None else error.number("factor", minimum=1),
        coverage=None if error is None else error.number("coverage", maximum=0.999),
        largest_gmacs=table.number("largest_gmacs", default=inf),
    )
    known = operation_kinds() | set(CONVOLUTIONS)
    for kind in rates.kinds:
        if kind not in known and not kind.startswith(CONVOLUTIONS):
            raise HardwareError(f"{table.where}: no kind of operation {kind!r}; known: {', '.join(sorted(known))}")
    if error is not None:
        for name in error.names():  # for the reader of the file
            error.number(name, minimum=-1)
        error.finish()
    table.finish()
    return rates


def _rates(table: Table, key: str) -> tuple[float, ...]:
    values = table.numbers(key, len(FEATURES))
    if min(values) < 0:
        raise table.wrong(key, f"{len(FEATURES)} numbers of at least 0")
    return values


def learned_model(table: Table, name: str) -> LearnedModel:
    """The model of a device file of kind ``learned``. Raises ``HardwareError``."""
    table.text("kind")
    version, reading = table.whole("version"), read_reading(table)
    rates = {"latency": read_rates(table.table("latency"))}
    energy = table.optional_table("energy")
    if energy is not None:
        rates["energy"] = read_rates(energy)
    bytes_each = table.number("bytes_per_element", default=1.0)
    model = LearnedModel(name, version, rates, reading=reading, bytes_per_element=bytes_each)
    unsupported = table.optional_table("unsupported")
    if unsupported is not None:
        model.unsupported = {kind: unsupported.text(kind) for kind in unsupported.names()}
    table.about()
    table.finish()
    return model


def read_reading(table: Table) -> str:
    """What was measured: networks in ``normal form``, or ``as written``, dead branches and all."""
    reading = table.text("measured") if "measured" in table.names() else "normal form"
    if reading not in ("normal form", "as written"):
        raise table.wrong("measured", "'normal form' or 'as written'")
    return reading


class _Price:
    """What one fragment costs: whole billionths of each figure, and kinds that were guessed or cannot run."""

    __slots__ = ("guessed", "parts", "unsupported")

    def __init__(self, parts: tuple[int, ...], guessed: tuple[str, ...], unsupported: tuple[str, ...]) -> None:
        self.parts = parts
        self.guessed = guessed
        self.unsupported = unsupported


class LearnedModel:
    """Prices graphs by rates that were learned from one device. Remembers what each fragment costs."""

    def __init__(
        self,
        name: str,
        version: int,
        rates: Mapping[str, Rates],
        *,
        reading: str = "normal form",
        bytes_per_element: float = 1.0,
    ) -> None:
        self.name = name
        self.version = version
        self.rates = dict(rates)
        self.reading = reading
        self.bytes_per_element = bytes_per_element
        self.unsupported: dict[str, str] = {}
        self._prices: dict[Fragment, _Price] = {}

    def __repr__(self) -> str:
        return f"<LearnedModel {self.name}@{self.version}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prices": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference at the batch that was measured, of one image."""
        latency = self.rates["latency"]
        energy = self.rates.get("energy")
        latency_parts = round(latency.base * PARTS)
        energy_parts = round(energy.base * PARTS) if energy else 0
        guessed: tuple[str, ...] = ()
        unsupported: tuple[str, ...] = ()
        params = macs = 0
        prices = self._prices
        for fragment, _, _, _ in graph.pieces:
            price = prices.get(fragment)
            if price is None:
                price = self._price(fragment)
            latency_parts += price.parts[0]
            if energy:
                energy_parts += price.parts[1]
            params += fragment.params
            macs += fragment.macs
            guessed += price.guessed
            unsupported += price.unsupported
        latency_ms = latency_parts / PARTS
        guessed = tuple(sorted(set(guessed))) if guessed else guessed
        factor = latency.interval_factor(macs / 1e9, len(guessed))
        return Cost(
            latency_ms,
            f"predicted:{self.name}@{self.version}",
            None if factor is None else latency_ms / factor,
            None if factor is None else latency_ms * factor,
            latency.coverage,
            energy_parts / PARTS if energy else None,
            params * self.bytes_per_element / 1024,
            guessed,
            (),
            LearnedDetails(self, graph),
            tuple(sorted(set(unsupported))) if unsupported else unsupported,
        )

    def latency_parts(self, fragment: Fragment) -> int:
        """What a fragment adds to the latency, in whole billionths of a millisecond."""
        price = self._prices.get(fragment) or self._price(fragment)
        return price.parts[0]

    def _price(self, fragment: Fragment) -> _Price:
        rates = tuple(self.rates.values())
        parts = [0] * len(rates)
        guessed, unsupported = set(), set()
        for node, figures in zip(fragment.nodes, fragment.node_figures(), strict=True):
            operation = operation_of(node, figures, fragment.operand_shapes(node))
            if operation is None:
                continue
            for place, rate in enumerate(rates):
                parts[place] += round(rate.price(operation) * PARTS)
            if operation.kind not in rates[0].kinds:
                guessed.add(operation.kind)
            if operation.kind in self.unsupported:
                unsupported.add(operation.kind)
        price = _Price(tuple(parts), tuple(sorted(guessed)), tuple(sorted(unsupported)))
        remember(self._prices, fragment, price)
        return price

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        nodes, latency = graph.nodes, self.rates["latency"]
        rows = []
        for index, (node, figures) in enumerate(zip(nodes, graph.figures(), strict=True)):
            operation = operation_of(node, figures, tuple(nodes[i].shape for i in node.inputs))
            if operation is None:
                rows.append(NodeCost(index, node.op, node.shape, figures.macs, 0.0, "fused"))
                continue
            ms = round(latency.price(operation) * PARTS) / PARTS
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, ms, _bound(latency, operation)))
        if latency.base:
            rows.append(NodeCost(None, "invoke", (), 0, round(latency.base * PARTS) / PARTS, "overhead"))
        return rows


def _bound(rates: Rates, operation: Operation) -> str:
    """Which of the counts the larger part of an operation's price is for."""
    shares = [r * c for r, c in zip(rates.of(operation.kind), operation.counts, strict=True)]
    names = ("overhead", "compute", "memory", "memory")
    return names[shares.index(max(shares))] if any(shares) else "fused"


class LearnedDetails:
    """A cost's second thoughts: the model and the graph."""

    def __init__(self, model: LearnedModel, graph: Graph) -> None:
        self._model = model
        self._graph = graph

    def breakdown(self) -> list[NodeCost]:
        return self._model.breakdown(self._graph)

    def peak_memory_kib(self) -> float:
        return self._graph.peak_activation_elements * self._model.bytes_per_element / 1024
