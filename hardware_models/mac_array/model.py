"""Latency on a neural processor with one array of multipliers: a sum over operations of rates times counts.

As ``learned``, with cycles in place of multiply-adds: those that the array takes, full or not, or those that its
weights take to arrive (``mac_array.COUNTS``). No compiler runs; a device file says which one rates were learned from.
"""

from __future__ import annotations

from typing import NamedTuple

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.number_format import read_number_format
from hardware_models.device_file.toml_table import TomlTable
from hardware_models.fragment_sum import FIXED_POINT_SCALE, FragmentCost, FragmentCosts, sum_fragment_costs
from hardware_models.linear.features import OperationFeatures
from hardware_models.linear.model import Rates, cost_from_sum, read_rates
from hardware_models.mac_array.array import MacArray, node_demand, runs_on_cpu
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
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
    on_cpu: bool


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
        # A loose activation may fold into what comes before it; a closed fragment is the same everywhere
        self._fragment_costs = FragmentCosts(self._fragment_cost, by_producers=True)

    def __repr__(self) -> str:
        return f"<MacArrayModel {self.name}@{self.version}>"

    def estimate(self, graph: Graph) -> Cost:
        """The cost of one inference. A network with operations that are left to the CPU is unsupported."""
        rates, total = self.latency, sum_fragment_costs(self._fragment_costs.of(graph))
        return cost_from_sum(
            rates,
            f"predicted:{self.name}@{self.version}",
            total._replace(latency=round(rates.base * FIXED_POINT_SCALE) + total.latency),
            graph.macs / 1e9,
            energy_mj=None,
            weights_kib=graph.params * self.memory_rates.bytes_per_weight / 1024,
            details=GraphCostDetails(self, graph, self.memory_rates.arena_per_activation),
        )

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> FragmentCost:
        latency, kinds, cpu_kinds = 0, list[str](), list[str]()
        for node, figures in zip(fragment.nodes, fragment.node_counts(), strict=True):
            first = node.inputs[0] if node.inputs else None
            producer = "" if first is None else fragment.nodes[first].op if first >= 0 else producers[-first - 1]
            row = self._node_demand(node, figures, fragment.operand_shapes(node), producer)
            if row.operation is None:
                continue
            latency += round(self.latency.price(row.operation) * FIXED_POINT_SCALE)
            kinds.append(row.operation.kind)
            if row.on_cpu:
                cpu_kinds.append(row.operation.kind)
        return FragmentCost(
            latency,
            guessed=tuple(sorted({k for k in kinds if k not in self.latency.kinds})),
            unsupported=tuple(sorted(set(cpu_kinds))),
            constant=tuple([k for k in kinds if k in self.latency.constant]),
        )

    def _node_demand(self, node: Node, figures: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> _NodeDemand:
        operation = node_demand(node, figures, shapes, producer, self.array)
        return _NodeDemand(node, figures, operation, runs_on_cpu(node, shapes))

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        nodes, rows = graph.nodes, []
        for index, (node, figures) in enumerate(zip(nodes, graph.node_counts(), strict=True)):
            producer = nodes[node.inputs[0]].op if node.inputs else ""
            row = self._node_demand(node, figures, tuple([nodes[i].shape for i in node.inputs]), producer)
            if row.operation is None:
                rows.append(NodeCost(index, node.op, node.shape, figures.macs, 0.0, "fused"))
                continue
            ms = round(self.latency.price(row.operation) * FIXED_POINT_SCALE) / FIXED_POINT_SCALE
            bound = "fallback" if row.on_cpu else self._bound(row.operation, figures)
            rows.append(NodeCost(index, node.op, node.shape, figures.macs, ms, bound))
        if self.latency.base:
            ms = round(self.latency.base * FIXED_POINT_SCALE) / FIXED_POINT_SCALE
            rows.append(NodeCost(None, "invoke", (), 0, ms, "overhead"))
        return rows

    def _bound(self, operation: OperationFeatures, figures: NodeCounts) -> str:
        """Which of the counts the larger part of an operation's price is for; ``transfer`` is that of weights."""
        shares = [r * c for r, c in zip(self.latency.of(operation.kind), operation.counts, strict=True)]
        if not any(shares):
            return "fused"
        bound = _BOUNDS[shares.index(max(shares))]
        weights = figures.params / self.array.weight_bytes_per_cycle / 1e6
        return "transfer" if bound == "compute" and weights >= operation.counts[1] else bound
