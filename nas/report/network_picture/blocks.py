"""A graph as the few blocks that a person would draw: bottlenecks, attention, cells, joins and heads.

The blocks depend on the operations alone, not on how the builder cut them. An operation on one operand joins what it
follows; a region with one way in and one way out (a residual block, squeeze-excite, attention, a cell) is one block;
convolutions in a row are cut where a linear projection ends a bottleneck; what leads to outputs is a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from nas.report.network_picture.block_labels import (
    BLOCK_PATTERNS,
    CHEAP_OPERATIONS,
    HEAVY_OPERATIONS,
    channels_text,
    convolution_letter,
    describe_block,
    head_lines,
)
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

_MAX_REGION_OPERATIONS = 16  # heavy operations; more are a stage, not a block
_MAX_HEAD_GROUPS = 8
_MAX_DRAWN_OPERANDS = 6  # more make one block whatever its size: a dense block drawn layer by layer is all edges

_CHAIN_PATTERNS = tuple((kind, pattern) for kind, pattern in BLOCK_PATTERNS if kind not in ("ffn", "basic"))


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


class _NodeGroups:
    """A partition of a graph's nodes that grows coarser."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.consumers: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for i in dict.fromkeys(node.inputs):
                self.consumers[i].append(index)
        self.ends = {index for _, index in graph.outputs}
        self.parent = list(range(len(self.nodes)))

    def find(self, i: int) -> int:
        """The root of a node's group, its last node."""
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def union(self, members: Iterable[int]) -> None:
        """Join the groups of these nodes into one."""
        roots = sorted({self.find(i) for i in members})
        for root in roots[:-1]:
            self.parent[root] = roots[-1]

    def members(self) -> dict[int, list[int]]:
        """Nodes of every group, groups in the order of their last nodes, which is an order of execution."""
        groups: dict[int, list[int]] = {}
        for i in range(len(self.nodes)):
            groups.setdefault(self.find(i), []).append(i)
        return dict(sorted(groups.items(), key=lambda item: item[1][-1]))

    def producers(self, members: Sequence[int]) -> list[int]:
        """Roots of the groups that a group reads, in the order of its operands."""
        own = self.find(members[0])
        roots = [self.find(i) for m in members for i in self.nodes[m].inputs]
        return [root for root in dict.fromkeys(roots) if root != own]

    def readers(self, members: Sequence[int]) -> list[int]:
        """Roots of the groups that read a group."""
        own = self.find(members[0])
        roots = [self.find(c) for m in members for c in self.consumers[m]]
        return [root for root in dict.fromkeys(roots) if root != own]


def network_blocks(graph: Graph) -> tuple[PictureBlock, ...]:
    """The blocks of a graph in an order of execution."""
    groups = _NodeGroups(graph)
    _merge_cheap_operations(groups)
    dominators = _dominators(groups.nodes)
    _merge_regions(groups, dominators)
    _merge_chains(groups)
    _merge_heads(groups)
    return _make_blocks(graph, groups, dominators)


def inner_blocks(graph: Graph, block: PictureBlock) -> tuple[PictureBlock, ...]:
    """The operations of one block as smaller ones; first a block of kind ``input`` for what it reads."""
    groups = _NodeGroups(graph)
    _merge_cheap_operations(groups)
    within = set(block.nodes)
    block_indices: dict[int, int] = {}
    blocks: list[PictureBlock] = []
    first = next(i for n in block.nodes for i in graph.nodes[n].inputs if i not in within)
    shape = graph.nodes[first].shape
    blocks.append(PictureBlock((first,), (), "input", ("input", channels_text(shape)), shape, 0, 0, False, ()))
    dominators = _dominators(groups.nodes)
    for root, members in groups.members().items():
        inside = [m for m in members if m in within]
        if inside:
            block_indices[root] = len(blocks)
            inputs = [
                block_indices.get(p, 0)
                for p in groups.producers(members)
                if p == groups.find(first) or p in block_indices
            ]
            blocks.append(_make_block(graph, inside, tuple(dict.fromkeys(inputs)), dominators, False))
    return tuple(blocks)


# -- grouping ----------------------------------------------------------------------------------------------------------


def _merge_cheap_operations(groups: _NodeGroups) -> None:
    """Operations on one operand join what they follow, or what alone reads them."""
    for index, node in enumerate(groups.nodes):
        if node.op not in (*CHEAP_OPERATIONS, "resize"):
            continue
        before, after = node.inputs[0], groups.consumers[index]
        alone = groups.consumers[before] == [index] and before not in groups.ends
        if alone and node.op != "resize" and groups.nodes[before].op not in ("input", "zero"):
            groups.union((index, before))
        elif len(after) == 1 and index not in groups.ends:
            groups.union((index, after[0]))


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


def _merge_regions(groups: _NodeGroups, dominators: Sequence[int]) -> None:
    """What lies between a node and its dominator is one block where nothing else reads it and it is small enough."""
    for end, node in enumerate(groups.nodes):
        start = dominators[end]
        if start < 0 or len(set(node.inputs)) < 2:
            continue
        region, stack = {end}, [end]
        while stack:
            for i in groups.nodes[stack.pop()].inputs:
                if i != start and i not in region:
                    region.add(i)
                    stack.append(i)
        inner = region - {end}
        ops = [groups.nodes[i].op for i in region]
        heavy = sum(op in HEAVY_OPERATIONS for op in ops)
        if "resize" in ops or (heavy > _MAX_REGION_OPERATIONS and len(node.inputs) <= _MAX_DRAWN_OPERANDS):
            continue
        if not inner & groups.ends and all(c in region for i in inner for c in groups.consumers[i]):
            groups.union(region)


def _merge_chains(groups: _NodeGroups) -> None:
    """Convolutions in a row become bottlenecks and separable convolutions."""
    members = groups.members()
    following = {}
    for root, own in members.items():
        readers = groups.readers(own)
        ends = any(m in groups.ends for m in own)
        if len(readers) == 1 and not ends and len(groups.producers(members[readers[0]])) == 1:
            following[root] = readers[0]
    done: set[int] = set()
    for root in members:
        if root in done:
            continue
        chain = [root]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        done.update(chain)
        letters = "".join(_group_letter(groups, members[r]) for r in chain)
        start = 0
        while start < len(chain):
            matches = [pattern.match(letters, start) for _, pattern in _CHAIN_PATTERNS]
            stop = max((match.end() for match in matches if match), default=start + 1)
            for link in chain[start + 1 : stop]:
                groups.union((members[chain[start]][0], members[link][0]))
            start = stop


def _merge_heads(groups: _NodeGroups) -> None:
    """What leads from one tensor to outputs, and to nothing else, is one head; of a single output, what is pooled."""
    members = groups.members()
    heads: dict[int, list[int]] = {}
    for root in dict.fromkeys(groups.find(end) for end in sorted(groups.ends)):
        if groups.readers(members[root]):  # an output on the way to others
            continue
        chain = [root]
        source = _single_root(groups.producers(members[root]))
        while source is not None and not _is_branch_point(groups, members[source]) and len(groups.ends) > 1:
            chain.append(source)
            source = _single_root(groups.producers(members[source]))
        if source is None or len(groups.ends) == 1 or len(chain) > _MAX_HEAD_GROUPS:
            chain, source = [root], _single_root(groups.producers(members[root]))
            while source is not None and _is_pooled(groups, members[source]):
                chain.append(source)
                source = _single_root(groups.producers(members[source]))
        heads.setdefault(root if source is None else source, []).extend(chain)
    for chain in heads.values():
        groups.union(members[r][0] for r in chain)


def _single_root(roots: Sequence[int]) -> int | None:
    return roots[0] if len(roots) == 1 else None


def _is_branch_point(groups: _NodeGroups, members: Sequence[int]) -> bool:
    return len(groups.readers(members)) > 1 or any(groups.nodes[m].op == "input" or m in groups.ends for m in members)


def _is_pooled(groups: _NodeGroups, members: Sequence[int]) -> bool:
    """Whether every map of a group is 1x1, and nothing but the next group reads it."""
    return not _is_branch_point(groups, members) and all(prod(groups.nodes[m].shape[1:]) == 1 for m in members)


# -- blocks ------------------------------------------------------------------------------------------------------------


def _group_letter(groups: _NodeGroups, members: Sequence[int]) -> str:
    """A group as a letter of ``convolution_letter``; s: squeeze-excite, o: anything else."""
    ops = [groups.nodes[m].op for m in members]
    if "mul" in ops and "global_pool" in ops and ops.count("conv") == 2 and "add" not in ops:
        return "s"
    if not set(ops) <= {"conv", "norm", "act", "layer_scale", "scale"} or ops.count("conv") != 1:
        return "o"
    conv = members[ops.index("conv")]
    if groups.nodes[groups.nodes[conv].inputs[0]].op == "input":
        return "o"
    return convolution_letter(groups.nodes[conv], groups.nodes, "act" in ops[ops.index("conv") :])


def _make_blocks(graph: Graph, groups: _NodeGroups, dominators: Sequence[int]) -> tuple[PictureBlock, ...]:
    members = groups.members()
    block_indices = {root: index for index, root in enumerate(members)}
    blocks = []
    names: dict[int, list[str]] = {}
    for name, index in graph.outputs:
        names.setdefault(groups.find(index), []).append(name)
    for root, own in members.items():
        inputs = tuple(block_indices[p] for p in groups.producers(own))
        last = not groups.readers(own)
        block = _make_block(graph, own, inputs, dominators, last and root in names)
        outputs = tuple(names.get(root, ()))
        lines = block.lines if last or not outputs else (*block.lines[:-1], f"{block.lines[-1]}: {outputs[0]}")
        blocks.append(replace(block, lines=lines, outputs=outputs))
    return tuple(blocks)


def _make_block(
    graph: Graph, members: Sequence[int], inputs: tuple[int, ...], dominators: Sequence[int], head: bool
) -> PictureBlock:
    nodes, figures = graph.nodes, graph.node_counts()
    within = set(members)
    shape = nodes[members[-1]].shape
    residual = any(nodes[m].op == "add" and dominators[m] not in within for m in members)
    kind, lines = describe_block(graph, members, residual)
    if head:
        kind, residual = "head", False
        outputs = [(name, nodes[index].shape) for name, index in graph.outputs if index in within]
        lines = ("head", *head_lines([name for name, _ in outputs], [shape for _, shape in outputs]))
    macs, params = sum(figures[m].macs for m in members), sum(figures[m].params for m in members)
    residual = residual and kind not in ("cell", "join")
    return PictureBlock(tuple(members), inputs, kind, lines, shape, macs, params, residual, ())
