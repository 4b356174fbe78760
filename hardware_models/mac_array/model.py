"""Latency on a neural processor with one array of multipliers: a sum over operations of rates times counts.

As ``learned``, with cycles in place of multiply-adds: those that the array takes, full or not, or those that its
weights take to arrive (``mac_array.COUNTS``). No compiler runs; a device file says which one rates were learned from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hardware_models.cost import Cost, GraphDetails, NodeCost
from hardware_models.device_file.number_format import read_number_format
from hardware_models.device_file.toml_table import Table
from hardware_models.linear.features import Operation
from hardware_models.linear.model import PARTS, Rates, priced, read_rates
from hardware_models.mac_array.array import MacArray, demand, left_to_cpu
from search_spaces.graph.fragment import Fragment, Node, NodeFigures
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember
from search_spaces.graph.operations import Shape


class Kept(NamedTuple):
    """What a network takes: bytes outside by parameter, compressed, and bytes of the arena by live activation."""

    bytes_per_weight: float = 1.0
    arena_per_activation: float = 1.0


_BOUNDS = ("overhead", "compute", "memory", "transfer")


def read_array(table: Table) -> MacArray:
    """The table ``[array]`` of a device file. Raises ``HardwareError``."""
    array = MacArray(
        table.whole("width"),
        table.whole("height"),
        table.whole("depth"),
        table.whole("cores"),
        table.number("weight_bytes_per_cycle"),
    )
    table.finish()
    return array


def mac_array_model(table: Table, name: str) -> MacArrayModel:
    """The model of a device file of kind ``mac_array``. Raises ``HardwareError``."""
    table.text("kind")
    version = table.whole("version")
    read_number_format(table, (MacArrayModel.number_format,))
    rates, array, kept = read_rates(table.table("latency")), read_array(table.table("array")), _kept(table)
    table.about()
    table.finish()
    return MacArrayModel(name, version, array, rates, kept)


def _kept(table: Table) -> Kept:
    memory = table.table("memory")
    kept = Kept(memory.number("bytes_per_weight"), memory.number("arena_per_activation"))
    error = memory.optional_table("error")
    if error is not None:
        for key in error.names():  # for the reader of the file
            error.number(key, minimum=-1)
    memory.finish()
    return kept


class _Row(NamedTuple):
    """One node: its operation, or ``None`` where it costs nothing, and whether it is left to the processor."""

    node: Node
    figures: NodeFigures
    operation: Operation | None
    left: bool


class _Price(NamedTuple):
    """What one fragment costs where its operands come from these producers."""

    parts: int  # billionths of a millisecond
    guessed: tuple[str, ...]
    left: tuple[str, ...]
    constant: tuple[str, ...]


class MacArrayModel:
    """Prices graphs in int8 at batch 1. Remembers what each fragment costs."""

    number_format = "int8"  # counts of cycles and of compressed weights are those of int8 files

    def __init__(self, name: str, version: int, array: MacArray, latency: Rates, kept: Kept = Kept()) -> None:
        self.name = name
        self.version = version
        self.array = array
        self.latency = latency
        self.kept = kept
        self._prices: dict[Any, _Price] = {}

    def __repr__(self) -> str:
        return f"<MacArrayModel {self.name}@{self.version}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prices": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference. A network with operations that are left to the CPU is unsupported."""
        rates, prices = self.latency, self._prices
        parts, params, macs = round(rates.base * PARTS), 0, 0
        guessed: tuple[str, ...] = ()
        left: tuple[str, ...] = ()
        constant: tuple[str, ...] = ()
        for fragment, _, producers, _ in graph.pieces:
            # A loose activation may fold into what comes before it; a closed fragment is the same everywhere
            price = prices.get(fragment if fragment.closed else (fragment, producers))
            if price is None:
                price = self._price(fragment, producers)
            parts += price.parts
            params += fragment.params
            macs += fragment.macs
            if price.guessed:
                guessed += price.guessed
            if price.left:
                left += price.left
            if price.constant:
                constant += price.constant
        return priced(
            rates,
            f"predicted:{self.name}@{self.version}",
            parts,
            macs / 1e9,
            guessed,
            constant,
            left,
            energy_mj=None,
            weights_kib=params * self.kept.bytes_per_weight / 1024,
            details=GraphDetails(self, graph, self.kept.arena_per_activation),
        )

    def _price(self, fragment: Fragment, producers: tuple[str, ...]) -> _Price:
        parts, kinds, left = 0, list[str](), list[str]()
        for node, figures in zip(fragment.nodes, fragment.node_figures(), strict=True):
            first = node.inputs[0] if node.inputs else None
            producer = "" if first is None else fragment.nodes[first].op if first >= 0 else producers[-first - 1]
            row = self._row(node, figures, fragment.operand_shapes(node), producer)
            if row.operation is None:
                continue
            parts += round(self.latency.price(row.operation) * PARTS)
            kinds.append(row.operation.kind)
            if row.left:
                left.append(row.operation.kind)
        guessed = tuple(sorted({k for k in kinds if k not in self.latency.kinds}))
        constant = tuple([k for k in kinds if k in self.latency.constant])
        price = _Price(parts, guessed, tuple(sorted(set(left))), constant)
        remember(self._prices, fragment if fragment.closed else (fragment, producers), price)
        return price

    def _row(self, node: Node, figures: NodeFigures, shapes: tuple[Shape, ...], producer: str) -> _Row:
        left = left_to_cpu(node, shapes)
        return _Row(node, figures, demand(node, figures, shapes, producer, self.array), left)

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        nodes, rows = graph.nodes, []
        for index, (node, figures) in enumerate(zip(nodes, graph.figures(), strict=True)):
            producer = nodes[node.inputs[0]].op if node.inputs else ""
            row = self._row(node, figures, tuple([nodes[i].shape for i in node.inputs]), producer)
            if row.operation is None:
                rows.append(NodeCost(index, node.op, node.shape, figures.macs, 0.0, "fused"))
                continue
            ms = round(self.latency.price(row.operation) * PARTS) / PARTS
            bound = "fallback" if row.left else self._bound(row.operation, figures)
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, ms, bound))
        if self.latency.base:
            ms = round(self.latency.base * PARTS) / PARTS
            rows.append(NodeCost(None, "invoke", (), 0, ms, "overhead"))
        return rows

    def _bound(self, operation: Operation, figures: NodeFigures) -> str:
        """Which of the counts the larger part of an operation's price is for; ``transfer`` is that of weights."""
        shares = [r * c for r, c in zip(self.latency.of(operation.kind), operation.counts, strict=True)]
        if not any(shares):
            return "fused"
        bound = _BOUNDS[shares.index(max(shares))]
        weights = figures.params / self.array.weight_bytes_per_cycle / 1e6
        return "transfer" if bound == "compute" and weights >= operation.counts[1] else bound
