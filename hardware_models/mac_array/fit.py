"""Rates of a neural processor with one array from what its compiler estimates for networks, and the device file.

Found by ``learning.fit`` from ``mac_array.demand`` in place of ``operation_of``, without corrections of single
operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.linear.features import Operation
from hardware_models.linear.fit import Stiffness, design, fit, held_out, to_rates
from hardware_models.linear.model import Rates
from hardware_models.mac_array.array import COUNTS, MacArray, demand
from hardware_models.mac_array.model import Kept, MacArrayModel
from hardware_models.measured.prediction_error import interval_factor
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

STIFFNESS = Stiffness(spread=0.0)


@dataclass(frozen=True)
class Accelerator:
    """What a device file says of a device besides its rates."""

    about: str
    source: str
    array: MacArray
    clock_mhz: float


def demands(graph: Graph, array: MacArray) -> Counter[Operation]:
    """How often each operation occurs in a graph, counted as ``mac_array.COUNTS``."""
    nodes, found = graph.nodes, []
    for node, figures in zip(nodes, graph.figures(), strict=True):
        producer = nodes[node.inputs[0]].op if node.inputs else ""
        found.append(demand(node, figures, tuple([nodes[i].shape for i in node.inputs]), producer, array))
    return Counter([o for o in found if o is not None])


def learn_array(graphs: Sequence[Graph], latencies_ms: Sequence[float], array: MacArray) -> Rates:
    """Rates from networks; the interval is that of five folds. Raises ``HardwareError`` without enough of them."""
    import numpy

    if len(graphs) < 10 or min(latencies_ms) <= 0:
        raise HardwareError(f"rates need 10 networks with latencies above 0, not {len(graphs)}")
    measured = numpy.array(latencies_ms)
    matrix = design([demands(graph, array) for graph in graphs])
    factor = interval_factor(held_out(matrix, measured, STIFFNESS), measured)
    rates = to_rates(fit(matrix, measured, STIFFNESS), matrix, factor)
    return replace(rates, largest_gmacs=max(graph.macs for graph in graphs) / 1e9)


def bytes_per_weight(graphs: Sequence[Graph], kept_kib: Sequence[float]) -> float:
    """The median of what the compiler keeps of a network, in bytes a parameter."""
    import numpy

    return float(numpy.median([1024 * kib / graph.params for graph, kib in zip(graphs, kept_kib, strict=True)]))


def arena_per_activation(graphs: Sequence[Graph], arena_kib: Sequence[float]) -> float:
    """The median of the memory that the compiler lays out for a network by its peak of live activations."""
    import numpy

    pairs = zip(graphs, arena_kib, strict=True)
    return float(numpy.median([1024 * kib / graph.peak_activation_elements for graph, kib in pairs]))


def _number(value: float) -> str:
    return f"{value:.5g}" if abs(value) >= 1e-9 else "0"


def toml_text(
    device: Accelerator, rates: Rates, kept: Kept, errors: Mapping[str, float], memory: Mapping[str, float]
) -> str:
    """The device file. ``errors`` of the latency and ``memory`` errors are those on networks left out of the fit."""
    array = device.array
    lines = [
        f"# {device.about}",
        "# Written by results/devices/ethos_u.py; errors are those on networks left out of the fit.",
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
        f"bytes_per_weight = {kept.bytes_per_weight:.4g}  # median of what the compiler keeps outside",
        f"arena_per_activation = {kept.arena_per_activation:.4g}  # median of the memory by the peak of activations",
        "",
        "[memory.error]",
        *(f"{name} = {value:g}" for name, value in memory.items()),
        "",
        "[latency]",
        f"base = {_number(rates.base)}  # ms an inference",
        f"largest_gmacs = {_number(rates.largest_gmacs)}  # of any network in the fit",
        "",
        "[latency.error]",
        f"factor = {_number(rates.factor or 1.0)}",
        f"coverage = {rates.coverage}",
        *(f"{name} = {value:g}" for name, value in errors.items()),
        "",
        f"# ms for each of: {', '.join(COUNTS)}",
        "[latency.kinds]",
        *(f'"{kind}" = [{", ".join(map(_number, values))}]' for kind, values in rates.kinds.items()),
    ]
    if rates.constant:
        lines += ["", "# Operations that each network had as many of: their rates are a guess", "[latency.constant]"]
        lines += [f'"{kind}" = {count}' for kind, count in rates.constant.items()]
    return "\n".join(lines) + "\n"
