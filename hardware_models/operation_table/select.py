"""Which operations of a space to measure: those that its networks use, and of these the ones that tell most."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_models.operation_table.fusion import FusedOperation
from hardware_models.operation_table.interpolation import Looked, distances, sizes
from hardware_models.operation_table.isolate import Used, used_by
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.space import Space

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = numpy.typing.NDArray[numpy.float64]

SAMPLED = 200
MOST_LOOKED_AT = 3000
_MS_OF_GMAC, _MS_OF_MB, _MS_EACH = 25.0, 0.3, 0.005  # a processor's, to tell what matters before anything is measured
_REACH, _SCATTER = 1.5, 0.05


@dataclass(frozen=True)
class Inventory:
    """What networks of a space consist of: operations, and how often each occurs in them."""

    used: Mapping[FusedOperation, Used]
    counts: Mapping[FusedOperation, int]


def inventory(graphs: Sequence[Graph]) -> Inventory:
    """The distinct operations of networks."""
    used: dict[FusedOperation, Used] = {}
    counts: Counter[FusedOperation] = Counter()
    for graph in graphs:
        for found in used_by(graph):
            used.setdefault(found.operation, found)
            counts[found.operation] += 1
    return Inventory(used, counts)


def networks_of(space: Space, seed: int = 0) -> list[Graph]:
    """Random networks of a space, and its published ones where they have its options."""
    rng = random.Random(seed)
    drawn = [space.graph(space.sample(rng)) for _ in range(SAMPLED)]
    rows = {name: row for name, row in networks().items() if row.space == space.name}
    return drawn + [load_network(name) for name, row in rows.items() if dict(row.options) == dict(space.options)]


def worth(operation: FusedOperation) -> float:
    """About how long it takes, in ms on some processor: to tell what matters."""
    _, gmacs, mb_moved, _ = operation.counts
    return _MS_EACH + _MS_OF_GMAC * gmacs + _MS_OF_MB * mb_moved


def informative_operations(found: Inventory, count: int) -> list[Used]:
    """The ``count`` operations to measure, the most telling first.

    Of every family, first the one that takes most time over all networks, then those with the largest and the smallest
    sizes, so that little is extrapolated, for as many as half of the count. Then each the one that takes most from the
    total variance of what operations add to a network, given those before (Krause et al. 2008, section 3, with the
    trace).
    """
    total = {o: n * worth(o) for o, n in found.counts.items()}
    ranked = sorted(total, key=lambda o: (-total[o], o.text))[:MOST_LOOKED_AT]
    first = _of_families(ranked, total)[: max(1, count // 2)]
    chosen = _greedy(ranked, [total[o] for o in ranked], first, min(count, len(ranked)))
    return [found.used[ranked[i]] for i in chosen]


def _of_families(ranked: Sequence[FusedOperation], total: Mapping[FusedOperation, float]) -> list[int]:
    families: dict[object, list[int]] = {}
    for place, operation in enumerate(ranked):
        families.setdefault(operation.family, []).append(place)
    order = sorted(families.values(), key=lambda places: -sum(total[ranked[i]] for i in places))
    dearest = [places[0] for places in order]
    return list(dict.fromkeys([*dearest, *(end for places in order for end in _ends(ranked, places))]))


def _ends(ranked: Sequence[FusedOperation], places: Sequence[int]) -> list[int]:
    """Operations between whose sizes all others lie: the largest and the smallest of each, ties by all sizes."""
    table = {place: sizes(ranked[place]) for place in places}
    axes = range(len(table[places[0]]))
    orders = [{i: (round(table[i][axis], 9), sum(table[i])) for i in places} for axis in axes]
    return [end for order in orders for end in (max(places, key=order.__getitem__), min(places, key=order.__getitem__))]


def _greedy(ranked: Sequence[FusedOperation], total: Sequence[float], first: Sequence[int], count: int) -> list[int]:
    import numpy

    weight = numpy.sqrt(numpy.array(total))
    covariance = numpy.zeros((len(ranked), len(ranked)))
    for kind in dict.fromkeys(o.kind for o in ranked):
        inside = [i for i, o in enumerate(ranked) if o.kind == kind]
        alike = Looked([ranked[i] for i in inside])
        covariance[numpy.ix_(inside, inside)] = numpy.exp(-distances(alike, alike) / _REACH)
    covariance *= weight[:, None] * weight[None]
    noise = _SCATTER * weight**2
    chosen: list[int] = []
    for number in [*first, *[-1] * max(0, count - len(first))][:count]:
        best = number
        if number < 0:
            gain = (covariance**2).sum(0) / (numpy.diag(covariance) + noise)
            gain[chosen] = -1.0
            best = int(gain.argmax())
        chosen.append(best)
        column = covariance[:, best].copy()
        covariance -= numpy.outer(column, column) / (column[best] + noise[best])
    return chosen
