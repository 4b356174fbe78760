"""The one description of a network: an immutable graph of primitive operations in normal form.

A ``Graph`` is made by ``builder.Builder`` alone, also where it is read from a file. It is stored as *pieces*: runs of
nodes that blocks made and that are shared between graphs, so that building, hashing and costing a candidate take time
by the block and not by the node. ``graph.nodes`` is the plain list behind them, and no figure depends on how it was
cut up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from search_spaces.graph.fragment import FLOAT_BYTES, Fragment, Node, NodeCounts
from search_spaces.graph.operations import OPS, Shape
from search_spaces.graph.provenance import (
    Label,
    ScopeEvents,
    label_events,
    label_runs,
    node_labels,
    node_names,
    plain_events,
)
from search_spaces.graph.zero_channels import zeros_policy

if TYPE_CHECKING:
    import networkx


GRAPH_JSON_FORMAT = "nas-graph/1"


class Piece(NamedTuple):
    """A fragment in its place: node indices of its operands, their operations, and the index of its first node."""

    fragment: Fragment
    inputs: tuple[int, ...]
    producers: tuple[str, ...]
    base: int


class Rebuilt(NamedTuple):
    """Of a graph that was made again from another one: of each piece, a node alone, the node it was there."""

    origin: Graph
    sources: Sequence[int]


def labels_from(fragments: Sequence[Fragment], provenance: ScopeEvents | Rebuilt) -> tuple[Label, ...]:
    """The label of every node of a graph whose pieces have these fragments."""
    if not isinstance(provenance, Rebuilt):
        return node_labels(fragments, provenance)
    labels = provenance.origin.labels
    return tuple([labels[i] for i in provenance.sources])


class Graph:
    """An immutable network in normal form. Made by ``Builder.build`` or ``graph_from_json``.

    ``labels`` and ``names`` say which scope and which block made each node. They are for people, and for finding a
    node's weights again: graphs that differ in them alone are equal.

    ``macs``: multiply-adds of convolutions, linear layers and matrix products (half of what PyTorch's flop counter
    reports). ``params``: trainable parameters. ``variables``: the same and running statistics.
    """

    def __init__(
        self,
        pieces: tuple[Piece, ...],
        outputs: tuple[tuple[str, int], ...],
        length: int,
        provenance: ScopeEvents | Rebuilt = (),
    ) -> None:
        self.pieces = pieces
        self.outputs = outputs
        self._length = length
        self.provenance = provenance

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<Graph {self._length} nodes, {self.macs / 1e6:.1f} M MACs, {self.params / 1e6:.3f} M parameters>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._code() == other._code()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __getstate__(self) -> dict[str, Any]:
        source = self.provenance  # which may name functions, or a graph that this one was rebuilt from
        if isinstance(source, Rebuilt):
            plain = label_events(label_runs(self.labels))
        else:
            plain = plain_events(len(self.pieces), source)
        return {**self.__dict__, "provenance": plain}

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes in the order they execute; ``Node.inputs`` point backwards."""
        return tuple(self._iterate_nodes())

    def _iterate_nodes(self) -> Iterator[Node]:
        for fragment, inputs, _, base in self.pieces:
            for op, attrs, relative, shape in fragment.nodes:
                yield Node(op, attrs, tuple([base + i if i >= 0 else inputs[-i - 1] for i in relative]), shape)

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """The scope and the calls of blocks that made each node, in order."""
        return labels_from([piece[0] for piece in self.pieces], self.provenance)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for every node, unique in this graph, such as ``stage2.layer1/expand/conv``."""
        return node_names([node.op for node in self.nodes], self.labels)

    def node_counts(self) -> list[NodeCounts]:
        """MACs, parameters and elements moved of every node, in order."""
        return [f for piece in self.pieces for f in piece.fragment.node_counts()]

    @property
    def macs(self) -> int:
        return sum([piece[0].macs for piece in self.pieces])

    @property
    def params(self) -> int:
        return sum([piece[0].params for piece in self.pieces])

    @property
    def variables(self) -> int:
        return sum([piece[0].variables for piece in self.pieces])

    @property
    def bytes_read(self) -> int:
        """Bytes that the operations read, operands and weights, each operation on its own, in float32."""
        return FLOAT_BYTES * sum(piece.fragment.read_elements for piece in self.pieces)

    @property
    def bytes_written(self) -> int:
        """Bytes that the operations write, each operation on its own, in float32."""
        return FLOAT_BYTES * sum(piece.fragment.written_elements for piece in self.pieces)

    @property
    def peak_activation_bytes(self) -> int:
        """Peak bytes of live activations in float32, in the graph's own order of execution.

        At every node its operands and its result are live together, as are tensors that later nodes or the outputs
        need; an elementwise operation on one operand (normalisation, activation, scaling, softmax, reshape)
        overwrites an operand that nothing else needs. Weights are not counted.
        """
        return FLOAT_BYTES * self.peak_activation_elements

    @cached_property
    def peak_activation_elements(self) -> int:
        """As ``peak_activation_bytes``, in elements, for other number formats."""
        last: dict[int, int] = {}
        for position, piece in enumerate(self.pieces):
            for i in piece.inputs:
                last[i] = position
        for _, index in self.outputs:
            last[index] = len(self.pieces)
        sizes: dict[int, int] = {}
        live = peak = 0
        for position, (fragment, inputs, _, base) in enumerate(self.pieces):
            states = []
            others = live
            seen: set[int] = set()
            for i in inputs:
                states.append(2 if i in seen else int(last[i] == position))
                if i not in seen:
                    others -= sizes[i]
                    seen.add(i)
            peak = max(peak, others + fragment.peak_elements(tuple(states)))
            for i in seen:
                if last[i] == position:
                    live -= sizes.pop(i)
            for o in fragment.outputs:
                if base + o in last:  # all but an input that nothing reads
                    sizes[base + o] = prod(fragment.nodes[o].shape)
                    live += sizes[base + o]
        return peak

    @property
    def input_shape(self) -> Shape:
        """Shape of the first input, without the batch axis."""
        return self.input_shapes[0]

    @cached_property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of all inputs, without the batch axis."""
        sources = [piece[0] for piece in self.pieces if not piece[1]]  # an input is a piece of its own
        return tuple([n.shape for fragment in sources for n in fragment.nodes if n.op == "input"])

    @cached_property
    def output_shapes(self) -> dict[str, Shape]:
        """Shape of every named output, without the batch axis."""
        return {name: self.nodes[index].shape for name, index in self.outputs}

    @property
    def zeros(self) -> str:
        """The ``zeros`` of the builder that made this graph, for one that is to make it again."""
        return zeros_policy([(node.op, node.inputs) for node in self.nodes])

    def _code(self) -> bytes:
        parts = []
        for fragment, inputs, _, base in self.pieces:
            parts.append(fragment.code(tuple([base - i for i in inputs])))
        for name, index in self.outputs:
            escaped = name.replace("\\", "\\\\").replace("|", "\\|")
            parts.append(f"|{escaped}:{self._length - index}".encode())
        return b"".join(parts)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the normal form, the same in every process and for every way of writing the blocks."""
        return blake2b(self._code(), digest_size=16, person=b"nas-graph-1").hexdigest()

    def to_json(self) -> str:
        """The graph as JSON text; ``graph_from_json`` reads it back. Labels are there where any node has one."""
        nodes = []
        for node in self.nodes:
            row: dict[str, Any] = {"op": node.op}
            if node.inputs:
                row["inputs"] = list(node.inputs)
            row.update(zip(OPS[node.op].attrs, node.attrs, strict=True))
            nodes.append(row)
        document: dict[str, Any] = {"format": GRAPH_JSON_FORMAT, "nodes": nodes, "outputs": dict(self.outputs)}
        if runs := label_runs(self.labels):
            document["labels"] = [[first, path, calls] for first, (path, calls) in runs.items()]
        return json.dumps(document, separators=(",", ":"))

    def to_networkx(self) -> networkx.MultiDiGraph[int]:
        """A networkx graph: node attributes ``op``, ``attrs``, ``shape``, ``outputs``; edge attribute ``operand``."""
        import networkx

        graph: networkx.MultiDiGraph[int] = networkx.MultiDiGraph()
        for index, node in enumerate(self.nodes):
            attrs = dict(zip(OPS[node.op].attrs, node.attrs, strict=True))
            graph.add_node(index, op=node.op, attrs=attrs, shape=node.shape, outputs=[])
            for operand, i in enumerate(node.inputs):
                graph.add_edge(i, index, operand=operand)
        for name, index in self.outputs:
            graph.nodes[index]["outputs"].append(name)
        return graph
