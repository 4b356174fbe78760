"""Nodes and the runs of nodes that graphs share, with what is counted of each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import prod
from typing import Any, NamedTuple

from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import OPS, Attrs, Shape
from search_spaces.graph.provenance import Label

FLOAT_BYTES = 4  # byte figures of a graph are those of float32 execution; hardware models use their own width


class Node(NamedTuple):
    """One primitive operation. ``attrs`` are the values of ``OPS[op].attrs``; ``inputs`` are node indices."""

    op: str
    attrs: Attrs
    inputs: tuple[int, ...]
    shape: Shape

    def attr(self, name: str) -> Any:
        """The value of the attribute ``name``; ``ValueError`` where the operation has none of that name."""
        return self.attrs[OPS[self.op].attrs.index(name)]


class NodeCounts(NamedTuple):
    """What one node counts. ``read_elements`` includes its parameters and running statistics."""

    macs: int
    params: int
    variables: int
    read_elements: int
    written_elements: int


def node_counts(node: Node, input_shapes: tuple[Shape, ...]) -> NodeCounts:
    """Count one node from its own shape and those of its operands."""
    op = OPS[node.op]
    params = sum([prod(s) for _, s in op.parameters(input_shapes, node.attrs)]) if op.parameters else 0
    buffers = sum([prod(s) for _, s in op.buffers(input_shapes, node.attrs)]) if op.buffers else 0
    macs = op.macs(input_shapes, node.attrs, node.shape) if op.product else 0
    if op.view or not input_shapes:
        return NodeCounts(macs, params, params + buffers, 0, 0)
    read = sum(map(prod, input_shapes)) + params + buffers
    return NodeCounts(macs, params, params + buffers, read, prod(node.shape))


def _operation_digest(node: Node) -> bytes:
    return blake2b(repr((node.op, node.attrs)).encode(), digest_size=8).digest()


class Fragment:
    """A run of nodes with open ends, shared between graphs and never changed.

    A node's input ``i >= 0`` is a node of the fragment, ``-(k + 1)`` the fragment's k-th operand. ``closed`` says
    that what its operands come from matters to none of its nodes: no rule of the normal form reaches across the
    border from inside, and no operation folds into one that went before.

    ``labels`` say which parts of a block made its nodes, paths and numbers of calls relative to the fragment; ``None``
    where no block did. They follow from the block and its arguments, so that all graphs that share it share them.
    ``make_labels`` is asked for them when somebody first does.

    ``parts``: the fragments that its nodes came from, in order, where there are such: they have counted them.
    """

    __slots__ = (
        "_code",
        "_codes",
        "_labels",
        "_make_labels",
        "_node_counts",
        "_operand_shapes",
        "_peaks",
        "closed",
        "end",
        "end_producer",
        "input_shapes",
        "last",
        "length",
        "macs",
        "nodes",
        "output_elements",
        "outputs",
        "parametric",
        "params",
        "read_elements",
        "variables",
        "written_elements",
    )

    def __init__(
        self,
        nodes: tuple[Node, ...],
        outputs: tuple[int, ...],
        input_shapes: tuple[Shape, ...],
        *,
        parts: Sequence[Fragment] = (),
        make_labels: Callable[[], tuple[Label, ...]] | None = None,
    ) -> None:
        self.nodes = nodes
        self._labels: tuple[Label, ...] | None = None
        self._make_labels = make_labels
        self.outputs = outputs
        self.input_shapes = input_shapes
        self.length = len(nodes)
        self.end = outputs[0]
        self.last = nodes[self.end]
        self.end_producer = (self.last.op,)  # as a piece behind it has
        if parts:
            operand_shapes = [shapes for part in parts for shapes in part.shapes_of_operands()]
            counts = [each for part in parts for each in part.node_counts()]
        else:
            shapes = [node.shape for node in nodes]
            shapes += reversed(input_shapes)  # the k-th operand is -(k + 1): counted from the end
            operand_shapes = [tuple([shapes[i] for i in node.inputs]) for node in nodes]
            counts = list(map(node_counts, nodes, operand_shapes))
        self._operand_shapes: list[tuple[Shape, ...]] = operand_shapes
        self._node_counts: list[NodeCounts] = counts
        totals: list[int] = [sum(column) for column in zip(*counts, strict=True)]
        self.macs, self.params, self.variables, self.read_elements, self.written_elements = totals
        self.output_elements = sum(prod(nodes[o].shape) for o in outputs)
        self.parametric = self.params > 0
        self.closed = self._is_closed()
        self._code: tuple[bytes, list[tuple[int, int, int]]] | None = None
        self._codes: dict[tuple[int, ...], bytes] = {}
        self._peaks: dict[tuple[int, ...], int] = {}

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        labels = self.labels  # which are plain, as against what they are made from
        state = {name: getattr(self, name) for name in self.__slots__}
        return None, {**state, "_labels": labels, "_make_labels": None}

    @property
    def labels(self) -> tuple[Label, ...] | None:
        """Which parts of a block made the nodes; ``None`` where no block did."""
        make = self._make_labels
        if make is not None:
            self._labels = make()
            self._make_labels = None
        return self._labels

    def operand_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Shapes of the operands of one of this fragment's nodes."""
        return tuple([self.nodes[i].shape if i >= 0 else self.input_shapes[-i - 1] for i in node.inputs])

    def shapes_of_operands(self) -> list[tuple[Shape, ...]]:
        """Shapes of the operands of every node, in order."""
        return self._operand_shapes

    def node_counts(self) -> list[NodeCounts]:
        """The counts of every node, in order."""
        return self._node_counts

    def _is_closed(self) -> bool:
        # Only operations with weights that fold into nothing, as convolutions, read what comes from outside; and
        # residual sums, whose operand something else in here reads too, so that they never flatten a sum outside.
        uses = [0] * len(self.input_shapes)
        for node in self.nodes:
            for i in node.inputs:
                if i < 0:
                    uses[-i - 1] += 1
        for node in self.nodes:
            outside = [-i - 1 for i in node.inputs if i < 0]
            if node.op == "zero":
                return False
            if outside:
                operation = OPS[node.op]
                residual = node.op == "add" and len(outside) == 1 < len(node.inputs) and uses[outside[0]] > 1
                if not residual and (operation.parameters is None or operation.fuses):
                    return False
        return all(uses)

    def code(self, distances: tuple[int, ...]) -> bytes:
        """The nodes as bytes, inputs relative; ``distances[k]`` is how far before node 0 operand ``k`` stands."""
        code = self._codes.get(distances)
        if code is None:
            if self._code is None:
                self._code = self._encoded()
            plain, patches = self._code
            patched = bytearray(plain)
            for offset, index, operand in patches:
                struct.pack_into("<I", patched, offset, index + distances[operand])
            code = bytes(patched)
            memo_put(self._codes, distances, code, limit=256)
        return code

    def _encoded(self) -> tuple[bytes, list[tuple[int, int, int]]]:
        """The nodes as bytes, and where in there an operand's distance belongs: offset, node index and operand."""
        code = bytearray()
        patches = []
        for index, node in enumerate(self.nodes):
            code += _operation_digest(node)
            code += struct.pack("<I", len(node.inputs))
            for i in node.inputs:
                if i < 0:
                    patches.append((len(code), index, -i - 1))
                code += struct.pack("<I", index - i if i >= 0 else 0)
        return bytes(code), patches

    def peak_elements(self, states: tuple[int, ...]) -> int:
        """Most elements live at once while this runs. Per operand: 0 outlives it, 1 dies in it, 2 is a repeat."""
        peak = self._peaks.get(states)
        if peak is None:
            peak = self._peaks[states] = self._simulate_memory(states)
        return peak

    def _simulate_memory(self, states: tuple[int, ...]) -> int:
        remaining_uses: dict[int, int] = {}
        for node in self.nodes:
            for i in set(node.inputs):
                remaining_uses[i] = remaining_uses.get(i, 0) + 1
        live_out = set(self.outputs) | {-k - 1 for k, state in enumerate(states) if state != 1}
        live = sum(prod(s) for s, state in zip(self.input_shapes, states, strict=True) if state != 2)
        peak = live
        for index, node in enumerate(self.nodes):
            if index not in remaining_uses and index not in live_out:  # an input that nothing reads
                peak = max(peak, live + prod(node.shape))
                continue
            dead_after = []
            for i in set(node.inputs):
                remaining_uses[i] -= 1
                if not remaining_uses[i] and i not in live_out:
                    dead_after.append(i)
            freed_elements = sum(prod(self.nodes[i].shape if i >= 0 else self.input_shapes[-i - 1]) for i in dead_after)
            if OPS[node.op].in_place and node.inputs[0] in dead_after:
                live += prod(node.shape) - freed_elements
                continue
            live += prod(node.shape)
            peak = max(peak, live)
            live -= freed_elements
        return peak
