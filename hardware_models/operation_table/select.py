"""Which operations of a space to measure: those that its networks use, and of these the ones that tell most."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_models.operation_table.fusion import FusedOperation
from hardware_models.operation_table.interpolation import OperationMatrix, distances, sizes
from hardware_models.operation_table.isolate import OperationInstance, operation_instances
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

SAMPLED_NETWORKS = 200
MAX_CANDIDATES = 3000
_MS_PER_GMAC, _MS_PER_MB, _MS_PER_OPERATION = (
    25.0,
    0.3,
    0.005,
)  # a processor's, to tell what matters before anything is measured
_LENGTH_SCALE, _NOISE_VARIANCE = 1.5, 0.05


@dataclass(frozen=True)
class OperationInventory:
    """What networks of a space consist of: operations, and how often each occurs in them."""

    instances: Mapping[FusedOperation, OperationInstance]
    counts: Mapping[FusedOperation, int]


def operation_inventory(graphs: Sequence[Graph]) -> OperationInventory:
    """The distinct operations of networks."""
    instances: dict[FusedOperation, OperationInstance] = {}
    counts: Counter[FusedOperation] = Counter()
    for graph in graphs:
        for instance in operation_instances(graph):
            instances.setdefault(instance.operation, instance)
            counts[instance.operation] += 1
    return OperationInventory(instances, counts)


def networks_of(space: Space, seed: int = 0) -> list[Graph]:
    """Random networks of a space, and its published ones where they have its options."""
    rng = random.Random(seed)
    sampled = [space.graph(space.sample(rng)) for _ in range(SAMPLED_NETWORKS)]
    rows = {name: row for name, row in networks().items() if row.space == space.name}
    return sampled + [load_network(name) for name, row in rows.items() if dict(row.options) == dict(space.options)]


def rough_latency_ms(operation: FusedOperation) -> float:
    """About how long it takes, in ms on some processor: to tell what matters."""
    _, gmacs, mb_moved, _ = operation.counts
    return _MS_PER_OPERATION + _MS_PER_GMAC * gmacs + _MS_PER_MB * mb_moved


def select_operations(inventory_of_space: OperationInventory, count: int) -> list[OperationInstance]:
    """The ``count`` operations to measure, the most telling first.

    Of every family, first the one that takes most time over all networks, then those with the largest and the smallest
    sizes, so that little is extrapolated, for as many as half of the count. Then each the one that takes most from the
    total variance of what operations add to a network, given those before (Krause et al. 2008, section 3, with the
    trace).
    """
    total = {o: n * rough_latency_ms(o) for o, n in inventory_of_space.counts.items()}
    ranked = sorted(total, key=lambda o: (-total[o], o.text))[:MAX_CANDIDATES]
    first = _first_of_families(ranked, total)[: max(1, count // 2)]
    chosen = _greedy_design(ranked, [total[o] for o in ranked], first, min(count, len(ranked)))
    return [inventory_of_space.instances[ranked[i]] for i in chosen]


def _first_of_families(ranked: Sequence[FusedOperation], total: Mapping[FusedOperation, float]) -> list[int]:
    families: dict[object, list[int]] = {}
    for index, operation in enumerate(ranked):
        families.setdefault(operation.family, []).append(index)
    order = sorted(families.values(), key=lambda indices: -sum(total[ranked[i]] for i in indices))
    slowest = [indices[0] for indices in order]
    return list(dict.fromkeys([*slowest, *(end for indices in order for end in _extremes(ranked, indices))]))


def _extremes(ranked: Sequence[FusedOperation], indices: Sequence[int]) -> list[int]:
    """Operations between whose sizes all others lie: the largest and the smallest of each, ties by all sizes."""
    table = {index: sizes(ranked[index]) for index in indices}
    axes = range(len(table[indices[0]]))
    orders = [{i: (round(table[i][axis], 9), sum(table[i])) for i in indices} for axis in axes]
    return [
        end for order in orders for end in (max(indices, key=order.__getitem__), min(indices, key=order.__getitem__))
    ]


def _greedy_design(
    ranked: Sequence[FusedOperation], total: Sequence[float], first: Sequence[int], count: int
) -> list[int]:
    import numpy as np

    weight = np.sqrt(np.array(total))
    covariance = np.zeros((len(ranked), len(ranked)))
    for kind in dict.fromkeys(o.kind for o in ranked):
        inside = [i for i, o in enumerate(ranked) if o.kind == kind]
        same_kind = OperationMatrix([ranked[i] for i in inside])
        covariance[np.ix_(inside, inside)] = np.exp(-distances(same_kind, same_kind) / _LENGTH_SCALE)
    covariance *= weight[:, None] * weight[None]
    noise = _NOISE_VARIANCE * weight**2
    chosen: list[int] = []
    for number in [*first, *[-1] * max(0, count - len(first))][:count]:
        best = number
        if number < 0:
            gain = (covariance**2).sum(0) / (np.diag(covariance) + noise)
            gain[chosen] = -1.0
            best = int(gain.argmax())
        chosen.append(best)
        column = covariance[:, best].copy()
        covariance -= np.outer(column, column) / (column[best] + noise[best])
    return chosen
