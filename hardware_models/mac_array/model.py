"""Latency on a neural processor with one array of multipliers: a sum over operations of rates times counts.

As ``learned``, with cycles in place of multiply-adds: those that the array takes, full or not, or those that its
weights take to arrive (``mac_array.COUNTS``). No compiler runs; a device file says which one rates were learned from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.number_format import read_number_format
from hardware_models.device_file.toml_table import TomlTable
from hardware_models.linear.features import OperationFeatures
from hardware_models.linear.model import FIXED_POINT_SCALE, Rates, cost_from_sum, read_rates
from hardware_models.mac_array.array import MacArray, node_demand, runs_on_cpu
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import Shape


class MemoryRates(NamedTuple):
    """What a network takes: bytes outside by parameter, compressed, and bytes of the arena by live activation."""

    bytes_per_weight: float = 1.0
    arena_per_activation: float = 1.0


_BOUNDS = ("overhead", "compute", "memory", "transfer")


def read_array(table: TomlTable) -> MacArray:
    """The table ``[array]`` of a device file. Raises ``HardwareError``."""
    array = MacArray(
        table.integer("width"),
        table.integer("height"),
        table.integer("depth"),
        table.integer("cores"),
        table.number("weight_bytes_per_cycle"),
    )
    table.finish()
    return array


def mac_array_model(table: TomlTable, name: str) -> MacArrayModel:
    """The model of a device file of kind ``mac_array``. Raises ``HardwareError``."""
    table.text("kind")
    version = table.integer("version")
    read_number_format(table, (MacArrayModel.number_format,))
    rates, array, memory_rates = (
        read_rates(table.table("latency")),
        read_array(table.table("array")),
        _read_memory_rates(table),
    )
    table.skip_descriptive_keys()
    table.finish()
    return MacArrayModel(name, version, array, rates, memory_rates)


def _read_memory_rates(table: TomlTable) -> MemoryRates:
    memory = table.table("memory")
    memory_rates = MemoryRates(memory.number("bytes_per_weight"), memory.number("arena_per_activation"))
    error = memory.optional_table("error")
    if error is not None:
        for key in error.names():  # for the reader of the file
            error.number(key, minimum=-1)
    memory.finish()
    return memory_rates


class _NodeDemand(NamedTuple):
    """One node: its operation, or ``None`` where it costs nothing, and whether it is left to the processor."""

    node: Node
    figures: NodeCounts
    operation: OperationFeatures | None
    cpu_kinds: bool


class _FragmentCost(NamedTuple):
    """What one fragment costs where its operands come from these producers."""

    parts: int  # billionths of a millisecond
    guessed: tuple[str, ...]
    cpu_kinds: tuple[str, ...]
    constant: tuple[str, ...]


class MacArrayModel:
    """Prices graphs in int8 at batch 1. Remembers what each fragment costs."""

    number_format = "int8"  # counts of cycles and of compressed weights are those of int8 files

    def __init__(
        self, name: str, version: int, array: MacArray, latency: Rates, memory_rates: MemoryRates = MemoryRates()
    ) -> None:
        self.name = name
        self.version = version
        self.array = array
        self.latency = latency
        self.memory_rates = memory_rates
        self._fragment_costs: dict[Any, _FragmentCost] = {}

    def __repr__(self) -> str:
        return f"<MacArrayModel {self.name}@{self.version}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prices": {}}

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference. A network with operations that are left to the CPU is unsupported."""
        rates, prices = self.latency, self._fragment_costs
        parts, params, macs = round(rates.base * FIXED_POINT_SCALE), 0, 0
        guessed: tuple[str, ...] = ()
        cpu_kinds: tuple[str, ...] = ()
        constant: tuple[str, ...] = ()
        for fragment, _, producers, _ in graph.pieces:
            # A loose activation may fold into what comes before it; a closed fragment is the same everywhere
            price = prices.get(fragment if fragment.closed else (fragment, producers))
            if price is None:
                price = self._fragment_cost(fragment, producers)
            parts += price.parts
            params += fragment.params
            macs += fragment.macs
            if price.guessed:
                guessed += price.guessed
            if price.cpu_kinds:
                cpu_kinds += price.cpu_kinds
            if price.constant:
                constant += price.constant
        return cost_from_sum(
            rates,
            f"predicted:{self.name}@{self.version}",
            parts,
            macs / 1e9,
            guessed,
            constant,
            cpu_kinds,
            energy_mj=None,
            weights_kib=params * self.memory_rates.bytes_per_weight / 1024,
            details=GraphCostDetails(self, graph, self.memory_rates.arena_per_activation),
        )

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> _FragmentCost:
        parts, kinds, cpu_kinds = 0, list[str](), list[str]()
        for node, figures in zip(fragment.nodes, fragment.node_counts(), strict=True):
            first = node.inputs[0] if node.inputs else None
            producer = "" if first is None else fragment.nodes[first].op if first >= 0 else producers[-first - 1]
            row = self._node_demand(node, figures, fragment.operand_shapes(node), producer)
            if row.operation is None:
                continue
            parts += round(self.latency.price(row.operation) * FIXED_POINT_SCALE)
            kinds.append(row.operation.kind)
            if row.cpu_kinds:
                cpu_kinds.append(row.operation.kind)
        guessed = tuple(sorted({k for k in kinds if k not in self.latency.kinds}))
        constant = tuple([k for k in kinds if k in self.latency.constant])
        price = _FragmentCost(parts, guessed, tuple(sorted(set(cpu_kinds))), constant)
        memo_put(self._fragment_costs, fragment if fragment.closed else (fragment, producers), price)
        return price

    def _node_demand(self, node: Node, figures: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> _NodeDemand:
        cpu_kinds = runs_on_cpu(node, shapes)
        return _NodeDemand(node, figures, node_demand(node, figures, shapes, producer, self.array), cpu_kinds)

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        nodes, rows = graph.nodes, []
        for index, (node, figures) in enumerate(zip(nodes, graph.figures(), strict=True)):
            producer = nodes[node.inputs[0]].op if node.inputs else ""
            row = self._node_demand(node, figures, tuple([nodes[i].shape for i in node.inputs]), producer)
            if row.operation is None:
                rows.append(NodeCost(index, node.op, node.shape, figures.macs, 0.0, "fused"))
                continue
            ms = round(self.latency.price(row.operation) * FIXED_POINT_SCALE) / FIXED_POINT_SCALE
            bound = "fallback" if row.cpu_kinds else self._bound(row.operation, figures)
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, ms, bound))
        if self.latency.base:
            ms = round(self.latency.base * FIXED_POINT_SCALE) / FIXED_POINT_SCALE
            rows.append(NodeCost(None, "invoke", (), 0, ms, "overhead"))
        return rows

    def _bound(self, operation: OperationFeatures, figures: NodeCounts) -> str:
        """Which of the counts the larger part of an operation's price is for; ``fit_transfer`` is that of weights."""
        shares = [r * c for r, c in zip(self.latency.of(operation.kind), operation.counts, strict=True)]
        if not any(shares):
            return "fused"
        bound = _BOUNDS[shares.index(max(shares))]
        weights = figures.params / self.array.weight_bytes_per_cycle / 1e6
        return "transfer" if bound == "compute" and weights >= operation.counts[1] else bound
