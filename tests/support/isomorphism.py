"""An oracle of equal networks: isomorphism by networkx, of a reading of the graph that knows nothing of keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx
from networkx.algorithms.isomorphism import DiGraphMatcher

from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from tests.support.reencode import Region, regions


class Reading(NamedTuple):
    """A network with its commutative parts in one form.

    Sums and concatenations are flat, equal parameter-free operations are one. A concatenation alone in its region (see
    ``tests/support/reencode.py``) is called ``bag`` and its operands are sorted. ``index_of[i]`` is the number here of
    node ``i`` of the graph, or -1.
    """

    nodes: list[Node]
    index_of: list[int]
    outputs: dict[str, int]


def _flat(nodes: Sequence[Node], outputs: Mapping[str, int], bags: frozenset[int] = frozenset()) -> Reading:
    flat: list[Node] = []
    index_of: list[int] = []
    shared: dict[tuple[Any, ...], int] = {}
    for index, node in enumerate(nodes):
        op = "bag" if index in bags else node.op
        inputs = [index_of[i] for i in node.inputs]
        if op in ("add", "concat"):
            inputs = [
                j for i in inputs for j in (flat[i].inputs if flat[i].op == op and flat[i].attrs == node.attrs else [i])
            ]
        if op in ("add", "mul", "bag"):
            inputs.sort()
        unique = op == "input" or (op in OPS and OPS[op].parameters is not None)
        signature = (op, node.attrs, node.shape, *inputs, index if unique else -1)
        if signature not in shared:
            shared[signature] = len(flat)
            flat.append(Node(op, node.attrs, tuple(inputs), node.shape))
        index_of.append(shared[signature])
    live = {index_of[i] for i in outputs.values()}
    for index in range(len(flat) - 1, -1, -1):
        if index in live:
            live.update(flat[index].inputs)
    live_indices = [i for i in range(len(flat)) if i in live or flat[i].op == "input"]
    number = {i: index for index, i in enumerate(live_indices)}
    return Reading(
        [flat[i]._replace(inputs=tuple(number[j] for j in flat[i].inputs)) for i in live_indices],
        [number.get(i, -1) for i in index_of],
        {name: number[index_of[i]] for name, i in outputs.items()},
    )


def read(graph: Graph) -> Reading:
    """The graph with sums and concatenations flat, and free concatenations as bags."""
    first = _flat(graph.nodes, dict(graph.outputs))
    bags = frozenset(r.concats[0] for r in regions(first.nodes, first.outputs.values()) if len(r.concats) == 1)
    second = _flat(first.nodes, first.outputs, bags)
    return second._replace(index_of=[second.index_of[i] if i >= 0 else -1 for i in first.index_of])


def regions_of(reading: Reading) -> list[Region]:
    """The regions of a reading, where a bag is the concatenation that it was."""
    nodes = [node._replace(op="concat") if node.op == "bag" else node for node in reading.nodes]
    return regions(nodes, reading.outputs.values())


def labelled_digraph(reading: Reading) -> nx.DiGraph[Any]:
    """The reading as a labelled graph: operands have their position on the edge only where it matters.

    The blocks of concatenations that may only be permuted together are tied to common ``lane`` nodes.
    """
    graph: nx.DiGraph[Any] = nx.DiGraph()
    output_names: dict[int, list[str]] = {}
    for name, index in reading.outputs.items():
        output_names.setdefault(index, []).append(name)
    lanes = {c: r.concats[0] for r in regions_of(reading) for c in r.concats if len(r.concats) > 1}
    inputs = 0
    for index, node in enumerate(reading.nodes):
        number = inputs if node.op == "input" else -1
        inputs += node.op == "input"
        label = (node.op, node.attrs, node.shape, number, sorted(output_names.get(index, ())))
        graph.add_node(index, label=repr(label))
        positions: dict[Any, list[int]] = {}
        for operand, i in enumerate(node.inputs):
            if index in lanes:
                slot, lane = ("slot", index, operand), ("lane", lanes[index], operand)
                graph.add_node(slot, label="slot")
                graph.add_node(lane, label="lane")
                graph.add_edge(lane, slot, label="lane")
                graph.add_edge(i, slot, label="block")
                i = slot
            ordered = node.op not in ("add", "mul", "bag") and index not in lanes
            positions.setdefault(i, []).append(operand if ordered else -1)
        for i, operands in positions.items():
            graph.add_edge(i, index, label=repr(operands))
    return graph


def _colour(graphs: Sequence[nx.DiGraph[Any]]) -> bool:
    """Colours both graphs by the same rules until no colour splits further; whether they then have the same colours."""
    names: dict[Any, int] = {}
    colours = [{n: names.setdefault(label, len(names)) for n, label in g.nodes(data="label")} for g in graphs]
    neighbours = [
        {
            n: (
                [(label, m) for m, _, label in graph.in_edges(n, data="label")],
                [(label, m) for _, m, label in graph.out_edges(n, data="label")],
            )
            for n in graph
        }
        for graph in graphs
    ]
    count = 0
    while count < len(names):
        count, names = len(names), {}
        for index, graph in enumerate(graphs):
            colour = colours[index]
            refined = {
                n: (
                    colour[n],
                    *(tuple(sorted([(label, colour[m]) for label, m in side])) for side in neighbours[index][n]),
                )
                for n in graph
            }
            colours[index] = {n: names.setdefault(signature, len(names)) for n, signature in refined.items()}
    for graph, colour in zip(graphs, colours, strict=True):
        nx.set_node_attributes(graph, colour, "colour")
    return Counter(colours[0].values()) == Counter(colours[1].values())


def isomorphism(one: Reading, other: Reading) -> dict[Any, Any] | None:
    """The parts of the first by those of the second, or ``None``."""
    graphs = [labelled_digraph(other), labelled_digraph(one)]
    if not _colour(graphs):
        return None
    parts = [{colour: n for n, colour in graph.nodes(data="colour")} for graph in graphs]
    if len(parts[0]) == len(graphs[0]):  # every part has a colour of its own, so there is one candidate
        mapping = {n: parts[1][colour] for colour, n in parts[0].items()}
        edges = {(mapping[m], mapping[n]): label for m, n, label in graphs[0].edges(data="label")}
        return mapping if edges == {(m, n): label for m, n, label in graphs[1].edges(data="label")} else None
    matcher = DiGraphMatcher(
        *graphs,
        node_match=lambda a, b: a["colour"] == b["colour"],
        edge_match=lambda a, b: a["label"] == b["label"],
    )
    return dict(matcher.mapping) if matcher.is_isomorphic() else None


def isomorphic(one: Graph, other: Graph) -> bool:
    """Whether two graphs are one trainable network."""
    return isomorphism(read(one), read(other)) is not None
