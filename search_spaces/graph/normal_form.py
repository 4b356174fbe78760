"""The rules of the normal form that need the whole graph: what is dead, what flattens, what is written out again.

The rules that one operation's operands decide are in the constructors; which parts of concatenations are always zero
is in ``zero_channels``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Piece
from search_spaces.graph.operations import OPS
from search_spaces.graph.splice import Tensor
from search_spaces.graph.zero_channels import NOTHING_REMOVABLE, RemovableZeros


def any_flattens(candidates: Sequence[int], pieces: Sequence[Piece], output_indices: Sequence[int]) -> bool:
    """Whether one of the nodes ``candidates``, which each feed a node of their own kind, is read by that alone."""
    use_counts: dict[int, int] = dict.fromkeys(candidates, 0)
    for i in output_indices:
        if i in use_counts:
            use_counts[i] += 1
    for fragment, inputs, _, _ in pieces:
        for node in fragment.nodes if len(inputs) else ():
            for i in node.inputs:
                if i < 0 and inputs[-i - 1] in use_counts:
                    use_counts[inputs[-i - 1]] += 1
    return any(count <= 1 for count in use_counts.values())


def rebuild_nodes(
    nodes: Sequence[Node],
    output_indices: Sequence[int],
    rebuild: Callable[[int, Node, Sequence[Tensor]], Tensor],
    removable: RemovableZeros = NOTHING_REMOVABLE,
) -> list[Tensor]:
    """The outputs, after ``rebuild`` has made every node that they need again, with nested sums flattened.

    It is given the node's number, the node and its operands. Concatenations lose the operands that are ``removable``,
    and what acts on each channel those channels.
    """
    use_counts = dict.fromkeys(output_indices, 2)  # an output is never flattened into a sum that uses it
    reader: dict[int, Node] = {}
    for index in range(len(nodes) - 1, -1, -1):
        if index in use_counts:
            for i in nodes[index].inputs:
                use_counts[i] = use_counts.get(i, 0) + 1
                reader[i] = nodes[index]
    substitutes: dict[int, Sequence[Tensor]] = {}  # of a node: itself, rebuilt, or the terms of a flattened one
    for index, node in enumerate(nodes):
        if index not in use_counts and node.op != "input":
            continue
        removed = removable.operands.get(index, ())
        operands = [t for position, i in enumerate(node.inputs) if position not in removed for t in substitutes[i]]
        if index in removable.narrowed:
            (x,) = operands
            node = node._replace(attrs=OPS[node.op].with_channels(node.attrs, x.channels))
        if node.op in ("add", "concat") and use_counts[index] == 1 and reader[index][:2] == node[:2]:
            substitutes[index] = operands
        else:
            substitutes[index] = (rebuild(index, node, operands),)
    return [substitutes[i][0] for i in output_indices]
