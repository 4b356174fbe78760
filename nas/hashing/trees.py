"""Networks that are trees of chains, whose key needs no arithmetic: what follows what is written down and hashed.

Two rewritings take a network apart. Operations on one tensor that follow each other are a chain. Branches that leave
one tensor, each a chain, and meet in one sum or product are an operation on that tensor: its code is a digest of the
branches' codes, in an order that does not depend on how they were written. (These are the series and parallel
reductions of two-terminal graphs: Valdes, Tarjan, Lawler 1982; their result does not depend on the order of reducing.)
Where nothing but chains is left, the network is a tree from its inputs to its outputs, and the digest of a tree is that
of its sorted subtrees (Aho, Hopcroft, Ullman 1974, example 3.2): exact, where what operations look like can be alike.
Residual networks and detectors are such trees.

Whether a network is one must not depend on how its sums are grouped. So a sum that is part of another is taken as a
term of it where all sums of a network are nested or disjoint; where they are not, the network is no tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

from nas.hashing.canonical import regroup_sums
from nas.hashing.chains import condense_block
from nas.hashing.prime_field import label_code
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_get_or_make, memo_put

_COMMUTATIVE = ("add", "mul")


# A step is (operation, operands, end, codes, terms): a chain (its operation is empty, its codes are sixteen bytes an
# operation), a join, or an input. The terms are what a sum in it reads; a chain has some where it is a block that was
# reduced before.
_TreeStep = tuple[str, tuple[int, ...], int, bytes, tuple[int, ...]]


class ChainEdge(NamedTuple):
    """A chain of operations, joins among them, from one place that stays to another."""

    start: int
    codes: bytes
    end: int


class _AmbiguousGrouping(Exception):
    """A tensor is a term of two sums, or a sum twice a term of one: there are other ways of grouping them."""


class _BlockTree(NamedTuple):
    """A block as a forest over its operands; ``chain`` and its ``end``: of one that is a single chain.

    ``summands``: operands that a sum reads as they are.
    """

    chain: bytes
    end: int
    summands: tuple[int, ...]
    edges: tuple[ChainEdge, ...]


_BLOCK_TREES: dict[Fragment, _BlockTree | None] = {}
_SUBTREES: dict[tuple[Fragment, tuple[bytes, ...]], tuple[tuple[int, bytes], ...]] = {}


def tree_digest(graph: Graph) -> bytes | None:
    """A digest of the network's tree; ``None`` where it is none."""
    found = _digest_by_blocks(graph)
    if found is not None:
        return found
    if any([condense_block(piece[0]) is None for piece in graph.pieces]) or _has_overlapping_sums(graph):
        return None
    return _digest_by_steps(graph)


# -- reduction ---------------------------------------------------------------------------------------------------------


def _sum_of_each_term(steps: Iterable[_TreeStep]) -> dict[int, int]:
    """What sums read, and the sum that does. Raises ``_AmbiguousGrouping``."""
    found: dict[int, int] = {}
    sums: set[int] = set()
    for op, _, end, _, terms in steps:
        for i in terms:
            if found.setdefault(i, end) != end:
                raise _AmbiguousGrouping
        if op == "add":
            twice = len(set(terms)) < len(terms)
            if twice and any(n > 1 and (i < 0 or i in sums) for i, n in Counter(terms).items()):
                raise _AmbiguousGrouping  # (x + x) + (x + x): whether the sum inside is one depends on who else reads it
            sums.add(end)
    return found


def _reduce_series_parallel(steps: Sequence[_TreeStep], pinned: Collection[int]) -> list[ChainEdge] | None:
    """What is left of steps; ``None`` where joins are left. ``pinned``: places that stay, whoever reads them.

    Raises ``_AmbiguousGrouping``.
    """
    _sum_of_each_term(steps)
    readers: Counter[int] = Counter([i for _, operands, _, _, _ in steps for i in operands])
    reached: dict[int, tuple[int, bytes]] = {}

    def chain(index: int) -> tuple[int, bytes]:
        """Where the chain began that ends here and goes on; an empty one from here where none does."""
        alone = index in reached and readers[index] == 1 and index not in pinned
        return reached.pop(index) if alone else (index, b"")

    for op, operands, end, codes, _ in steps:
        if op == "input":
            continue
        if not op:
            start, before = chain(operands[0])
            reached[end] = start, before + codes
            continue
        branches = [chain(i) for i in operands]
        source = branches[0][0]
        if any(start != source for start, _ in branches):
            return None
        readers[source] -= len(branches) - 1
        start, before = chain(source)
        reached[end] = start, before + _reduce_parallel(op, [codes for _, codes in branches])
    return [ChainEdge(start, codes, end) for end, (start, codes) in reached.items()]


def _reduce_parallel(op: str, branches: list[bytes]) -> bytes:
    if op in _COMMUTATIVE:
        branches.sort()
    return _digest(label_code(op), branches)


def _digest(label: bytes, parts: Sequence[bytes]) -> bytes:
    content = [label]
    for part in parts:
        content += len(part).to_bytes(8, "little"), part
    return blake2b(b"".join(content), digest_size=16, person=b"nas-tree-1").digest()


def _subtree_digest(label: bytes | None, subtrees: list[bytes] | None) -> bytes:
    """What follows a place: an output's label, one chain, or several chains."""
    if not subtrees:
        return label or b""
    if label is None and len(subtrees) == 1:
        return subtrees[0]
    subtrees.sort()
    return _digest(label or b"", subtrees)


def _subtrees(edges: Iterable[ChainEdge], labels: Mapping[int, bytes]) -> dict[int, list[bytes]]:
    """What follows each place that no edge ends in."""
    subtrees: dict[int, list[bytes]] = {}
    for start, codes, end in sorted(edges, key=lambda edge: -edge.end):
        subtrees.setdefault(start, []).append(codes + _subtree_digest(labels.get(end), subtrees.pop(end, None)))
    return subtrees


def _output_labels(graph: Graph) -> dict[int, bytes]:
    """Of the outputs, by place; the name of a single one does not matter."""
    if len(graph.outputs) == 1:
        return {graph.outputs[0][1]: label_code("output", "")}
    labels: dict[int, bytes] = {}
    for name, i in graph.outputs:
        labels[i] = label_code("output", name) if i not in labels else b""
    for i in [i for i, label in labels.items() if not label]:
        labels[i] = label_code("outputs", tuple(sorted([name for name, at in graph.outputs if at == i])))
    return labels


def _root_digest(roots: Sequence[bytes]) -> bytes:
    return _digest(label_code("tree"), roots)


# -- block by block ----------------------------------------------------------------------------------------------------


def _digest_by_blocks(graph: Graph) -> bytes | None:
    """``None`` where blocks are not enough: that it is no tree is for ``_digest_by_steps`` to say."""
    labels = _output_labels(graph)
    subtrees: dict[int, list[bytes]] = {}
    summands: set[int] = set()
    roots: list[bytes] = []
    at, held = -1, b""  # one chain that is not yet in ``subtrees``, and where it starts
    for fragment, inputs, _, base in reversed(graph.pieces):
        block_tree = _BLOCK_TREES.get(fragment) or _block_tree(fragment)
        if block_tree is None:
            return None
        chain, end, sums, edges = block_tree
        if chain:
            index, end = inputs[0], base + end
            if end == at and end not in subtrees and end not in labels:
                following = held
            else:
                if at >= 0:
                    subtrees.setdefault(at, []).append(held)
                following = _subtree_digest(labels.get(end), subtrees.pop(end, None))
            if sums:
                if index in summands:
                    return None
                summands.add(index)
            at, held = index, chain + following
            continue
        if at >= 0:
            subtrees.setdefault(at, []).append(held)
            at = -1
        if not inputs:
            roots.append(
                label_code("input", repr(fragment.nodes[0].attrs))
                + _subtree_digest(labels.get(base), subtrees.pop(base, None))
            )
            continue
        ends = [base + i for i in fragment.outputs]
        if any([i not in labels or i in subtrees for i in ends]):
            return None
        for operand in sums:
            index = inputs[-operand - 1]
            if index in summands:
                return None
            summands.add(index)
        for operand, following in _operand_subtrees(fragment, edges, tuple([labels[i] for i in ends])):
            subtrees.setdefault(inputs[-operand - 1], []).append(following)
    return _root_digest(roots[::-1])


def _block_tree(fragment: Fragment) -> _BlockTree | None:
    return memo_get_or_make(_BLOCK_TREES, fragment, _reduce_block)


def _reduce_block(fragment: Fragment) -> _BlockTree | None:
    condensed = condense_block(fragment)
    if condensed is None:
        return None
    if not fragment.input_shapes:
        return _BlockTree(b"", 0, (), ()) if len(fragment.nodes) == 1 else None
    steps = [
        (op, operands, end, codes, operands if op == "add" else ())
        for op, operands, end, codes, _, _ in condensed.steps
    ]
    try:
        edges = _reduce_series_parallel(steps, fragment.outputs)
    except _AmbiguousGrouping:
        return None
    if edges is None:
        return None
    single = len(edges) == len(fragment.outputs) == len(fragment.input_shapes) == 1
    summands = tuple([i for i in _sum_of_each_term(steps) if i < 0])
    return _BlockTree(edges[0].codes if single else b"", edges[0].end, summands, tuple(edges))


def _operand_subtrees(
    fragment: Fragment, edges: Sequence[ChainEdge], labels: tuple[bytes, ...]
) -> tuple[tuple[int, bytes], ...]:
    key = (fragment, labels)
    known = _SUBTREES.get(key)
    if known is None:
        subtrees = _subtrees(edges, dict(zip(fragment.outputs, labels, strict=True)))
        known = tuple([(operand, following) for operand, all_of in subtrees.items() for following in all_of])
        memo_put(_SUBTREES, key, known)
    return known


# -- operation by operation --------------------------------------------------------------------------------------------


def _digest_by_steps(graph: Graph) -> bytes | None:
    try:
        return _digest_of_steps(graph)
    except _AmbiguousGrouping:
        pass
    if not _sums_are_nested(_steps(graph, by_block=False), {i for _, i in graph.outputs}):
        return None
    try:
        return _digest_of_steps(regroup_sums(graph, [index.to_bytes(16, "little") for index in range(len(graph))]))
    except _AmbiguousGrouping:  # x + x and x + x + x: there is no better way
        return None


def _digest_of_steps(graph: Graph) -> bytes | None:
    steps = _steps(graph)
    edges = _reduce_series_parallel(steps, {i for _, i in graph.outputs})
    if edges is None:
        return None
    labels = _output_labels(graph)
    subtrees = _subtrees(edges, labels)
    entries = [(end, codes.decode()) for op, _, end, codes, _ in steps if op == "input"]
    return _root_digest(
        [label_code("input", shape) + _subtree_digest(labels.get(end), subtrees.get(end)) for end, shape in entries]
    )


def _steps(graph: Graph, by_block: bool = True) -> list[_TreeStep]:
    """All steps, in their order; blocks that were ``by_block`` already are what is left of them."""
    steps: list[_TreeStep] = []
    for fragment, inputs, _, base in graph.pieces:
        block_tree = _block_tree(fragment) if by_block and inputs else None
        if block_tree is not None:
            terms = tuple([inputs[-i - 1] for i in block_tree.summands])
            for start, codes, end in block_tree.edges:
                index = base + start if start >= 0 else inputs[-start - 1]
                steps.append(("", (index,), base + end, codes, terms))
                terms = ()
            continue
        condensed = condense_block(fragment)
        assert condensed is not None
        for op, operands, end, codes, _, _ in condensed.steps:
            places = tuple([base + i if i >= 0 else inputs[-i - 1] for i in operands])
            steps.append((op, places, base + end, codes, places if op == "add" else ()))
    return steps


def _has_overlapping_sums(graph: Graph) -> bool:
    """Whether two sums that stand outside of blocks have a common term without one being part of the other.

    Then there is no tree; to see it at once spares cells most of the work.
    """
    stands = {i for _, i in graph.outputs}
    adds = []
    for fragment, inputs, _, base in graph.pieces:
        if fragment.length == 1 and fragment.last.op == "add":
            adds.append((base, inputs))
        else:
            stands.update(inputs)
    sums: dict[int, frozenset[int]] = {}
    held: dict[int, list[frozenset[int]]] = {}
    for end, inputs in adds:
        sums[end] = terms = frozenset([term for i in inputs for term in sums.get(i, (i,))])
        if end not in stands:
            continue
        for term in terms:
            others = held.setdefault(term, [])
            if others and not all([other <= terms or terms <= other for other in others]):
                return True
            others.append(terms)
    return False


def _sums_are_nested(steps: Sequence[_TreeStep], pinned: Collection[int]) -> bool:
    """Whether of two sums with a common term, one is always part of the other, all sums written out in full.

    A sum that sums alone read is but a way of writing them.
    """
    sums = {end: operands for op, operands, end, _, _ in steps if op == "add"}
    stands = {i for op, operands, _, _, _ in steps if op != "add" for i in operands}.union(pinned)
    terms: dict[int, Counter[int]] = {}
    for end, operands in sums.items():
        terms[end] = Counter()
        for i in operands:
            terms[end].update(terms[i] if i in sums else (i,))
    holding: dict[int, list[int]] = {}
    for end in sums:
        for term in terms[end] if end in stands else ():
            holding.setdefault(term, []).append(end)
    for ends in holding.values():
        ends.sort(key=lambda end: terms[end].total())
        if any(not terms[less] <= terms[more] for less, more in pairwise(ends)):
            return False
    return True
