"""Rates of a neural processor with one array from what its compiler estimates for networks, and the device file.

Found by ``learning.fit_linear`` from ``mac_array.node_demand`` in place of ``operation_features``, without corrections
of single operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.linear.features import OperationFeatures
from hardware_models.linear.fit import FitNoise, design_matrix, fit_linear, held_out_predictions, to_rates
from hardware_models.linear.model import Rates
from hardware_models.mac_array.array import DEMAND_NAMES, MacArray, node_demand
from hardware_models.mac_array.model import MacArrayModel, MemoryRates
from hardware_models.measured.prediction_error import interval_factor
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

FIT_NOISE = FitNoise(spread=0.0)


@dataclass(frozen=True)
class AcceleratorFacts:
    """What a device file says of a device besides its rates."""

    about: str
    source: str
    array: MacArray
    clock_mhz: float


def count_demands(graph: Graph, array: MacArray) -> Counter[OperationFeatures]:
    """How often each operation occurs in a graph, counted as ``mac_array.DEMAND_NAMES``."""
    nodes, operations = graph.nodes, []
    for node, figures in zip(nodes, graph.node_counts(), strict=True):
        producer = nodes[node.inputs[0]].op if node.inputs else ""
        operations.append(node_demand(node, figures, tuple([nodes[i].shape for i in node.inputs]), producer, array))
    return Counter([o for o in operations if o is not None])


def fit_mac_array(graphs: Sequence[Graph], latencies_ms: Sequence[float], array: MacArray) -> Rates:
    """Rates from networks; the interval is that of five folds. Raises ``HardwareError`` without enough of them."""
    import numpy as np

    if len(graphs) < 10 or min(latencies_ms) <= 0:
        raise HardwareError(f"rates need 10 networks with latencies above 0, not {len(graphs)}")
    measured = np.array(latencies_ms)
    matrix = design_matrix([count_demands(graph, array) for graph in graphs])
    factor = interval_factor(held_out_predictions(matrix, measured, FIT_NOISE), measured)
    rates = to_rates(fit_linear(matrix, measured, FIT_NOISE), matrix, factor)
    return replace(rates, largest_gmacs=max(graph.macs for graph in graphs) / 1e9)


def bytes_per_weight(graphs: Sequence[Graph], kept_kib: Sequence[float]) -> float:
    """The median of what the compiler keeps of a network, in bytes a parameter."""
    import numpy as np

    return float(np.median([1024 * kib / graph.params for graph, kib in zip(graphs, kept_kib, strict=True)]))


def arena_per_activation(graphs: Sequence[Graph], arena_kib: Sequence[float]) -> float:
    """The median of the memory that the compiler lays out for a network by its peak of live activations."""
    import numpy as np

    pairs = zip(graphs, arena_kib, strict=True)
    return float(np.median([1024 * kib / graph.peak_activation_elements for graph, kib in pairs]))


def _toml_number(value: float) -> str:
    return f"{value:.5g}" if abs(value) >= 1e-9 else "0"


def mac_array_toml(
    device: AcceleratorFacts,
    rates: Rates,
    memory_rates: MemoryRates,
    errors: Mapping[str, float],
    memory: Mapping[str, float],
) -> str:
    """The device file. ``errors`` of the latency and ``memory`` errors are those on networks left out of the fit."""
    array = device.array
    lines = [
        f"# {device.about}",
        "# Written by results/devices/measured/ethos_u.py; errors are those on networks left out of the fit.",
        'kind = "mac_array"',
        "version = 1",
        f'number_format = "{MacArrayModel.number_format}"',
        f'about = "{device.about}"',
        f'source = "{device.source}"',
        "batch = 1",
        "",
        f"[array]  # {array.macs_per_cycle} multiply-adds a cycle at {device.clock_mhz:g} MHz",
        f"width = {array.width}",
        f"height = {array.height}",
        f"depth = {array.depth}",
        f"cores = {array.cores}",
        f"weight_bytes_per_cycle = {array.weight_bytes_per_cycle:g}",
        "",
        "[memory]",
        f"bytes_per_weight = {memory_rates.bytes_per_weight:.4g}  # median of what the compiler keeps outside",
        f"arena_per_activation = {memory_rates.arena_per_activation:.4g}"
        "  # median of the memory by the peak of activations",
        "",
        "[memory.error]",
        *(f"{name} = {value:g}" for name, value in memory.items()),
        "",
        "[latency]",
        f"base = {_toml_number(rates.base)}  # ms an inference",
        f"largest_gmacs = {_toml_number(rates.largest_gmacs)}  # of any network in the fit",
        "",
        "[latency.error]",
        f"factor = {_toml_number(rates.factor or 1.0)}",
        f"coverage = {rates.coverage}",
        *(f"{name} = {value:g}" for name, value in errors.items()),
        "",
        f"# ms for each of: {', '.join(DEMAND_NAMES)}",
        "[latency.kinds]",
        *(f'"{kind}" = [{", ".join(map(_toml_number, values))}]' for kind, values in rates.kinds.items()),
    ]
    if rates.constant:
        lines += ["", "# Operations that each network had as many of: their rates are a guess", "[latency.constant]"]
        lines += [f'"{kind}" = {count}' for kind, count in rates.constant.items()]
    return "\n".join(lines) + "\n"
