"""Where a graph can be cut in two, and the bytes that cross the cut."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError


class Cut(NamedTuple):
    """A graph cut behind one node: the device runs it and all before it, the server the rest.

    ``tensors`` are the nodes whose values the server needs, outputs that the device makes among them; ``bytes`` is
    what they take for one input. ``device_macs`` and ``device_params`` are what the device has of the network.
    """

    node: int
    tensors: tuple[int, ...]
    bytes: int
    device_macs: int
    device_params: int


def _iterate_cuts(graph: Graph, bits: int) -> Iterator[Cut]:
    """The cut behind every node, in order."""
    if bits < 1:
        raise GraphError(f"bits must be at least 1, not {bits}")
    nodes = graph.nodes
    last = {i: reader for reader, node in enumerate(nodes) for i in node.inputs}
    last.update((index, len(nodes)) for _, index in graph.outputs)
    # Inputs are on the device from the start; a constant zero is nowhere and need not be sent.
    live = [i for i, node in enumerate(nodes) if node.op == "input" and i in last]
    macs = params = 0
    for index, counts in enumerate(graph.node_counts()):
        macs, params = macs + counts.macs, params + counts.params
        if nodes[index].op not in ("input", "zero"):
            live.append(index)
        live = [i for i in live if last[i] > index]
        transfer_bytes = sum(-(-prod(nodes[i].shape) * bits // 8) for i in live)
        yield Cut(index, tuple(live), transfer_bytes, macs, params)


def separator_cuts(graph: Graph, *, bits: int = 32) -> tuple[Cut, ...]:
    """The cuts that one tensor crosses alone: nodes that every path from an input to an output runs through.

    In other words the nodes that dominate the end of the graph. Inputs and outputs are none: a cut there leaves one
    side with nothing to do.
    """
    nodes, ends = graph.nodes, {index for _, index in graph.outputs}
    single = [cut for cut in _iterate_cuts(graph, bits) if cut.tensors == (cut.node,)]
    return tuple([cut for cut in single if cut.node not in ends and nodes[cut.node].op != "input"])


def narrowest_cut(graph: Graph, *, bits: int = 32, device_macs: int | None = None) -> Cut:
    """The separator that takes the fewest bytes, the earliest of equals.

    A classifier is narrowest behind its pooling, where all is done: ``device_macs`` says how many multiply-adds the
    device may have. Raises ``GraphError`` where no separator is so early.
    """
    candidates = [
        cut for cut in separator_cuts(graph, bits=bits) if device_macs is None or cut.device_macs <= device_macs
    ]
    if not candidates:
        limit = "" if device_macs is None else f" within {device_macs} multiply-adds"
        raise GraphError(f"no single tensor separates inputs from outputs{limit}; raise the limit or name a node")
    return min(candidates, key=lambda cut: cut.bytes)


def bytes_across(graph: Graph, cut: int | str | None = None, *, bits: int = 32) -> int:
    """Bytes that cross a link for one input, each element in ``bits``.

    ``cut`` is a node's number or an output's name, and then counts everything that later nodes need of it and of those
    before it; or ``None`` for the narrowest separator.
    """
    if cut is None:
        return narrowest_cut(graph, bits=bits).bytes
    outputs = dict(graph.outputs)
    index = outputs.get(cut) if isinstance(cut, str) else cut
    if index is None or not 0 <= index < len(graph):
        raise GraphError(f"no cut {cut!r}; a node's number below {len(graph)}, or an output: {', '.join(outputs)}")
    return next(c.bytes for c in _iterate_cuts(graph, bits) if c.node == index)
