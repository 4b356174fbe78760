"""The key by which networks are recognised."""

from __future__ import annotations

from search_spaces.graph import Graph


def functional_hash(graph: Graph) -> str:
    """The key of a network: a digest of its normal form, the same in every process.

    Equal keys mean the same operations on the same shapes in the same order of execution. Networks that compute the
    same in another order of branches get different keys.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"functional_hash takes a Graph (space.graph(genotype) makes one), not {type(graph).__name__}")
    return graph.digest
