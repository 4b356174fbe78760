"""A measured network: what files of measurements and public data are read into, and what fits learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network, or a part of one, and what was measured of it on one device.

    ``space`` and ``genotype``: where the network is one of a space. ``std_ms``: of repeats. ``source``: who measured;
    ``remark``: what is to be said of it.
    ``part``: a block or an operation, which has no share in what an inference costs as such. ``host_scores``: how many
    class scores a detector's post-processing on the host, which no graph contains, went through within the latency.
    """

    name: str
    graph: Graph
    latency_ms: float
    space: Space | None = None
    genotype: Genotype | None = None
    std_ms: float | None = None
    energy_mj: float | None = None
    source: str = ""
    remark: str = ""
    part: bool = False
    host_scores: int = 0


def median_per_network(networks: Sequence[MeasuredNetwork]) -> list[MeasuredNetwork]:
    """Every network once, with the median of its latencies: what is held out must not be in the fit."""
    latencies: dict[str, list[float]] = {}
    for network in networks:
        latencies.setdefault(network.name, []).append(network.latency_ms)
    first = {network.name: network for network in reversed(networks)}
    return [replace(first[name], latency_ms=median(values)) for name, values in latencies.items()]
