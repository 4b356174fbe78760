"""A graph as the few boxes that a person would draw: one for each call of a block function, joins and heads.

Which block made an operation is what its label says. Operations that no block made are a box for each section that
they stand in, or one for each of them, and cheap ones are drawn with what they follow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from nas.report.network_picture.block_text import (
    BLOCK_KINDS,
    channels_text,
    describe_block,
    head_lines,
    is_cheap,
)
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.graph.provenance import BlockCall, Label


@dataclass(frozen=True)
class PictureBlock:
    """A few operations drawn as one box.

    ``nodes`` are the graph's node indices, ``inputs`` the indices of the blocks that this one reads, ``shape`` that of
    its last operation, ``lines`` what is written into the box, ``outputs`` names of the graph's outputs in it.
    """

    nodes: tuple[int, ...]
    inputs: tuple[int, ...]
    kind: str
    lines: tuple[str, ...]
    shape: Shape
    macs: int
    params: int
    residual: bool
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Group:
    """Operations that follow one another, and the block function that made them; empty where none did."""

    nodes: list[int]
    key: Hashable
    block: str


def network_blocks(graph: Graph) -> tuple[PictureBlock, ...]:
    """The blocks of a graph in an order of execution."""
    return _make_blocks(graph, _groups(graph), _dominators(graph.nodes))


def inner_blocks(graph: Graph, block: PictureBlock) -> tuple[PictureBlock, ...]:
    """The operations of one block as smaller ones; first a block of kind ``input`` for what it reads."""
    within = set(block.nodes)
    first = next(i for n in block.nodes for i in graph.nodes[n].inputs if i not in within)
    shape = graph.nodes[first].shape
    boxes = [PictureBlock((first,), (), "input", ("input", channels_text(shape)), shape, 0, 0, False, ())]
    owner: dict[int, int] = {}
    dominators = _dominators(graph.nodes)
    groups: list[_Group] = []
    keys: dict[int, Hashable] = {n: graph.labels[n].path for n in block.nodes if "/" in graph.labels[n].path}
    shared = {  # what several parts read, as an activation that they have in common, is a box of its own
        i for n in block.nodes for i in graph.nodes[n].inputs if i in keys and keys.get(n) != keys[i]
    }
    for n in block.nodes:
        part_ended = bool(groups) and groups[-1].nodes[-1] in shared
        _append(graph, groups, n, (n, keys.get(n)) if part_ended else keys.get(n), "")
    for group in groups:
        inputs = dict.fromkeys(
            owner.get(i, 0) for n in group.nodes for i in graph.nodes[n].inputs if i not in group.nodes
        )
        owner |= dict.fromkeys(group.nodes, len(boxes))
        boxes.append(_make_block(graph, group, tuple(inputs), dominators, False))
    return tuple(boxes)


# -- grouping ----------------------------------------------------------------------------------------------------------


def _groups(graph: Graph) -> list[_Group]:
    """All operations in runs that one box is drawn for. A run has no gaps, so boxes never wait for one another."""
    groups: list[_Group] = []
    for index, (node, label) in enumerate(zip(graph.nodes, graph.labels, strict=True)):
        if node.op == "input":
            groups.append(_Group([index], None, ""))
            continue
        call = _drawn_call(label)
        key: Hashable = None
        if call is not None:
            level = _level(label) if BLOCK_KINDS.get(call.block) == "head" else ()
            key = (call, level)
        elif label.section:
            key = label.section
        _append(graph, groups, index, key, "" if call is None else call.block)
    return groups


def _append(graph: Graph, groups: list[_Group], index: int, key: Hashable, block: str) -> None:
    """Put an operation into the last group where it belongs there, else into a new one."""
    last = groups[-1] if groups else None
    joins = last is not None and (
        (key is not None and key == last.key)
        or (not block and is_cheap(graph.nodes[index].op) and _follows(graph, last, index))
    )
    if joins and last is not None:
        last.nodes.append(index)
    else:
        groups.append(_Group([index], key, block))


def _follows(graph: Graph, group: _Group, index: int) -> bool:
    """Whether a node reads the last of a group, and no block function made that with parts of its own behind."""
    inputs = graph.nodes[index].inputs
    return set(inputs) == {group.nodes[-1]} and graph.nodes[group.nodes[-1]].op != "input"


def _drawn_call(label: Label) -> BlockCall | None:
    """The call that a box is drawn for: the outermost of a function that has a kind, else the outermost."""
    known = [call for call in label.calls if call.block in BLOCK_KINDS]
    return next(iter(known or label.calls), None)


def _level(label: Label) -> tuple[str, ...]:
    """The level of a detector's head, ``box2`` and ``class2`` both on the second; none for other heads."""
    for part in label.path.split("/")[:2]:
        kind = part.rstrip("0123456789")
        if kind in ("level", "box", "class") and kind != part:
            return ("level" if kind == "level" else "", part[len(kind) :])
    return ()


def _dominators(nodes: Sequence[Node]) -> list[int]:
    """For every node the last one before it that all ways from the inputs to it run through; -1: none."""
    dominators: list[int] = []
    depth = {-1: 0}
    for index, node in enumerate(nodes):
        common = node.inputs[0] if node.inputs else -1
        for other in node.inputs[1:]:
            while common != other:
                if depth[common] >= depth[other]:
                    common = dominators[common]
                else:
                    other = dominators[other]
        dominators.append(common)
        depth[index] = depth[common] + 1
    return dominators


# -- blocks ------------------------------------------------------------------------------------------------------------


def _make_blocks(graph: Graph, groups: Sequence[_Group], dominators: Sequence[int]) -> tuple[PictureBlock, ...]:
    owner = {n: index for index, group in enumerate(groups) for n in group.nodes}
    inputs: list[dict[int, None]] = [{} for _ in groups]
    for n, node in enumerate(graph.nodes):
        inputs[owner[n]] |= dict.fromkeys(owner[i] for i in node.inputs if owner[i] != owner[n])
    read = {i for sources in inputs for i in sources}
    return tuple(
        _make_block(graph, group, tuple(inputs[index]), dominators, index not in read)
        for index, group in enumerate(groups)
    )


def _make_block(
    graph: Graph, group: _Group, inputs: tuple[int, ...], dominators: Sequence[int], last: bool
) -> PictureBlock:
    nodes, figures, members = graph.nodes, graph.node_counts(), group.nodes
    within = set(members)
    shape = nodes[members[-1]].shape
    kind, lines = describe_block(graph, members, group.block)
    outputs = [(name, nodes[index].shape) for name, index in graph.outputs if index in within]
    names = tuple([name for name, _ in outputs])
    residual = any(nodes[m].op == "add" and dominators[m] not in within for m in members)
    residual = residual and kind not in ("cell", "join", "head")
    if outputs and last and kind != "input":
        kind, residual = "head", False
        lines = (group.block.replace("_", " ") or "head", *head_lines(names, [shape for _, shape in outputs]))
    elif kind == "head":  # what leads to one
        kind = "conv"
    elif outputs:
        lines = (*lines[:-1], f"{lines[-1]}: {names[0]}")
    macs, params = sum(figures[m].macs for m in members), sum(figures[m].params for m in members)
    return PictureBlock(tuple(members), inputs, kind, lines, shape, macs, params, residual, names)
