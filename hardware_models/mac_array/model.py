"""Latency on a neural processor with one array of multipliers: a sum over operations of rates times counts.

As ``learned``, with cycles in place of multiply-adds: those that the array takes, full or not, or those that its
weights take to arrive (``array.DEMAND_NAMES``). No compiler runs; a device file says which one rates were learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

from hardware_models.cost import Cost, GraphCostDetails, NodeCost
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import Commented, Document
from hardware_models.device_file.header import read_header
from hardware_models.device_file.number_format import NUMBER_FORMAT_KEY, read_number_format
from hardware_models.device_file.toml_table import TomlTable
from hardware_models.fragment_sum import (
    FIXED_POINT_SCALE,
    FragmentCost,
    FragmentCosts,
    NodePrice,
    fixed_point,
    node_costs,
    overhead_costs,
    price_fragment,
    sum_fragment_costs,
)
from hardware_models.linear.model import Rates, cost_from_sum, largest_share, rates_table, read_rates
from hardware_models.mac_array.array import DEMAND_NAMES, MacArray, node_demand, runs_on_cpu
from search_spaces.graph.fragment import Fragment, Node, NodeCounts
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape


class MemoryRates(NamedTuple):
    """What a network takes: bytes outside by parameter, compressed, and bytes of the arena by live activation.

    ``errors``: on networks left out of the fit, by metric, for the reader of the file.
    """

    bytes_per_weight: float = 1.0
    arena_per_activation: float = 1.0
    errors: Mapping[str, float] = {}


_DEMANDS_IN_WORDS = ("operation", *DEMAND_NAMES[1:])
_BOUNDS = ("overhead", "compute", "memory", "transfer")


# -- the device file -------------------------------------------------------------------------------------------------


def from_table(table: TomlTable, name: str, known_device: KnownDevice) -> MacArrayModel:
    """The model of a device file of kind ``mac_array``. Raises ``HardwareError``."""
    table.text("kind")
    version = table.integer("version")
    read_number_format(table, (MacArrayModel.number_format,))
    rates, array, memory_rates = (
        read_rates(table.table("latency")),
        read_array(table.table("array")),
        _read_memory_rates(table),
    )
    read_header(table)
    table.finish()
    return MacArrayModel(name, version, array, rates, memory_rates)


def to_table(model: MacArrayModel) -> Document:
    """What ``from_table`` reads."""
    array, memory = model.array, model.memory_rates
    return {
        "kind": model.kind,
        "version": model.version,
        NUMBER_FORMAT_KEY: model.number_format,
        "array": Commented(asdict(array), f"{array.macs_per_cycle} multiply-adds a cycle", on_header=True),
        "memory": {
            "bytes_per_weight": Commented(memory.bytes_per_weight, "median of what the compiler keeps outside"),
            "arena_per_activation": Commented(
                memory.arena_per_activation, "median of the memory by the peak of activations"
            ),
            **({"error": memory.errors} if memory.errors else {}),
        },
        "latency": rates_table("latency", model.latency, _DEMANDS_IN_WORDS, "was compiled"),
    }


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


def _read_memory_rates(table: TomlTable) -> MemoryRates:
    memory = table.table("memory")
    error = memory.optional_table("error")
    errors = {} if error is None else {key: error.number(key, minimum=-1) for key in error.names()}
    memory_rates = MemoryRates(memory.number("bytes_per_weight"), memory.number("arena_per_activation"), errors)
    memory.finish()
    return memory_rates


# -- the model -------------------------------------------------------------------------------------------------------


class MacArrayModel:
    """Prices graphs in int8 at batch 1. Remembers what each fragment costs."""

    kind = "mac_array"
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
            (fixed_point(rates.base) + total.latency) / FIXED_POINT_SCALE,
            total.kinds,
            graph.macs / 1e9,
            energy_mj=None,
            weights_kib=graph.params * self.memory_rates.bytes_per_weight / 1024,
            details=GraphCostDetails(self, graph, self.memory_rates.arena_per_activation),
        )

    def _fragment_cost(self, fragment: Fragment, producers: tuple[str, ...]) -> FragmentCost:
        return price_fragment(self._price, fragment, producers)

    def _price(self, node: Node, counts: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> NodePrice | None:
        operation = node_demand(node, counts, shapes, producer, self.array)
        if operation is None:
            return None
        kind, rates = operation.kind, self.latency
        is_guess, is_constant = kind not in rates.kinds, kind in rates.constant
        is_unsupported = runs_on_cpu(node, shapes)
        return NodePrice(kind, fixed_point(rates.price(operation)), 0, 0, is_guess, is_unsupported, False, is_constant)

    def breakdown(self, graph: Graph) -> list[NodeCost]:
        """A row a node, then what every inference costs."""
        rows = node_costs(graph, self._price, self._bound)
        return rows + overhead_costs("invoke", fixed_point(self.latency.base))

    def _bound(self, node: Node, counts: NodeCounts, shapes: tuple[Shape, ...], producer: str) -> str:
        """Which of the counts the larger part of an operation's price is for; ``transfer`` is that of weights."""
        if runs_on_cpu(node, shapes):
            return "fallback"
        operation = node_demand(node, counts, shapes, producer, self.array)
        assert operation is not None
        bound = largest_share(self.latency, operation, _BOUNDS)
        weights = counts.params / self.array.weight_bytes_per_cycle / 1e6
        return "transfer" if bound == "compute" and weights >= operation.counts[1] else bound
