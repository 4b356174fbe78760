"""Which channels of a concatenation matter: their order, and those of empty branches.

What reads a concatenation through operations on each channel alone, and ends in dense convolutions or linear layers,
does not care for the order of its parts: the weights go with them. And parts that are always zero are not missed
there: what is computed of them alone is zero again, and a dense layer's weights on them never learn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import OPS, never

Readers = Mapping[int, Sequence[int]]


def zeros_policy(operations: Sequence[tuple[object, object]]) -> str:
    """The ``zeros`` of the builder that made these (op, inputs): ``bias`` where one of them shifts a zero.

    They may come from a file, and be of any type.
    """
    zeros = {i for i, (op, _) in enumerate(operations) if op == "zero"}
    shifting = {op for op, row in OPS.items() if row.shifts is not never}
    inputs_of_shifting = [inputs for op, inputs in operations if isinstance(op, str) and op in shifting]
    for inputs in inputs_of_shifting:
        if isinstance(inputs, list | tuple) and any(isinstance(i, int) and i in zeros for i in inputs):
            return "bias"
    return "absorb"


def readers_of(nodes: Sequence[Node]) -> dict[int, list[int]]:
    """The nodes that read each node, each once."""
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for i in set(node.inputs):
            readers.setdefault(i, []).append(index)
    return readers


def is_dense(node: Node, operand: Node, axis: int) -> bool:
    """Whether a node sums over ``axis`` of its operand, with weights of its own for each of its elements."""
    row = OPS[node.op]
    if row.product is None or row.parameters is None:
        return False
    product = row.product((operand.shape,), node.attrs, node.shape)
    return product.groups == 1 and axis == product.axis


def is_channelwise(node: Node, operand: Node, axis: int) -> bool:
    """Whether each slice of the result along ``axis`` comes from that slice of the operand and its own parameters."""
    row = OPS[node.op]
    return row.elementwise or row.channelwise(operand.shape, node.attrs, axis)


def permutable_region(
    nodes: Sequence[Node],
    readers: Readers,
    output_indices: Collection[int],
    start: int,
    passes_through: Callable[[Node, Node, int], bool] = is_channelwise,
) -> set[int]:
    """All tensors whose parts move together with those of the concatenation ``start``; empty where they may not.

    ``output_indices`` are the network's outputs; ``passes_through`` says which operations let parts through.
    """
    axis = nodes[start].attrs[0]
    extents = [nodes[i].shape[axis] for i in nodes[start].inputs]
    members, todo = {start}, [start]
    while todo:
        index = todo.pop()
        node = nodes[index]
        if index in output_indices:
            return set()
        connected: list[int] = []
        if node.op == "concat":
            if node.attrs[0] != axis or [nodes[i].shape[axis] for i in node.inputs] != extents:
                return set()
        elif node.inputs and passes_through(node, nodes[node.inputs[0]], axis):
            connected = [i for i in node.inputs if nodes[i].shape[axis] > 1]  # what is 1 there serves all parts alike
        else:
            return set()
        for reader in readers.get(index, ()):
            if nodes[reader].op == "concat":
                return set()
            if not is_dense(nodes[reader], node, axis):
                connected.append(reader)
        todo += [i for i in dict.fromkeys(connected) if i not in members]
        members.update(connected)
    return members


class RemovableZeros(NamedTuple):
    """Positions of the operands that concatenations can do without, by node, and what shrinks with them."""

    operands: Mapping[int, Collection[int]]
    narrowed: Collection[int]


NOTHING_REMOVABLE = RemovableZeros({}, ())


def removable_zero_operands(nodes: Sequence[Node], output_indices: Collection[int], zeros: str) -> RemovableZeros:
    """The zero operands that no reader of a concatenation misses. ``zeros`` is the builder's policy."""

    def preserves_zero(node: Node, operand: Node, axis: int) -> bool:
        row = OPS[node.op]
        if not row.zero_at_zero(node.attrs) or (zeros == "bias" and row.shifts(node.attrs)):
            return False
        return is_channelwise(node, operand, axis)

    readers = readers_of(nodes)
    operands: dict[int, set[int]] = {}
    narrowed: set[int] = set()
    visited: set[int] = set()
    for index, node in enumerate(nodes):
        if node.op == "concat" and index not in visited and any(nodes[i].op == "zero" for i in node.inputs):
            members = permutable_region(nodes, readers, output_indices, index, preserves_zero)
            visited |= members
            concats = [m for m in members if nodes[m].op == "concat"]
            if not concats:
                continue
            zero_positions = set.intersection(
                *[{p for p, i in enumerate(nodes[m].inputs) if nodes[i].op == "zero"} for m in concats]
            )
            if 0 < len(zero_positions) < len(node.inputs):
                operands |= dict.fromkeys(concats, zero_positions)
                narrowed |= {m for m in members if len(nodes[m].inputs) == 1}
    return RemovableZeros(operands, narrowed)
