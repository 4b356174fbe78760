"""Rates of a neural processor with one array from what its compiler estimates for networks.

Found by ``linear.fit.fit_linear`` from ``array.node_demand`` in place of ``operation_features``, without corrections
of single operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hardware_models.device_file.toml_table import HardwareError
from hardware_models.fragment_sum import nodes_of_graph
from hardware_models.linear.features import OperationFeatures
from hardware_models.linear.fit import FitNoise, design_matrix, fit_linear, held_out_predictions, to_rates
from hardware_models.linear.model import Rates, rounded_rates
from hardware_models.mac_array.array import MacArray, node_demand
from hardware_models.mac_array.model import MacArrayModel, MemoryRates
from hardware_models.measured.prediction_error import interval_factor
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

FIT_NOISE = FitNoise(spread=0.0)


def count_demands(graph: Graph, array: MacArray) -> Counter[OperationFeatures]:
    """How often each operation occurs in a graph, counted as ``array.DEMAND_NAMES``."""
    operations = [node_demand(*place, array) for place in nodes_of_graph(graph)]
    return Counter([operation for operation in operations if operation is not None])


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


def mac_array_model(name: str, array: MacArray, rates: Rates, memory_rates: MemoryRates) -> MacArrayModel:
    """The model in as many digits as device files keep: of rates five, of what memory takes four."""
    memory = memory_rates._replace(
        bytes_per_weight=float(f"{memory_rates.bytes_per_weight:.4g}"),
        arena_per_activation=float(f"{memory_rates.arena_per_activation:.4g}"),
    )
    return MacArrayModel(name, 1, array, rounded_rates(rates), memory)
