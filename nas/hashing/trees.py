"""Networks that are trees of chains, whose key needs no field arithmetic: the digest of a tree.

Two rewritings take a network apart. Operations on one tensor that follow each other are a chain. Branches that leave
one tensor, each a chain, and meet in one sum or product are an operation on that tensor: its code is a digest of the
branches' codes, in an order that does not depend on how they were written. (These are the series and parallel
reductions of two-terminal graphs: Valdes, Tarjan, Lawler 1982; their result does not depend on the order of reducing.)
Where nothing but chains is left, the network is a tree from its inputs to its outputs, and the digest of a tree is that
of its sorted subtrees (Aho, Hopcroft, Ullman 1974, example 3.2): exact, where what operations look like can be alike.
Residual networks and detectors are such trees.

Whether a network is a tree must not depend on how its sums are grouped. So a sum that is part of another is taken as a
term of it where all sums of a network are nested or disjoint; where they are not, the network is no tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

from nas.hashing.chains import condense_block
from nas.hashing.prime_field import label_code
from nas.hashing.sums import regroup_sums
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_get_or_make, memo_put
from search_spaces.graph.operations import OPS

# A step is (operation, operands, end, codes, terms): a chain (its operation is empty, its codes are sixteen bytes an
# operation), a join, or an input. The terms are what a sum in it reads; a chain has some where it is a block that was
# reduced before.
_TreeStep = tuple[str, tuple[int, ...], int, bytes, tuple[int, ...]]


class ChainEdge(NamedTuple):
    """A chain of operations, reduced joins among them, from one remaining node to another."""

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
    digest = _digest_by_blocks(graph)
    if digest is not None:
        return digest
    if any([condense_block(piece[0]) is None for piece in graph.pieces]) or _has_overlapping_sums(graph):
        return None
    return _digest_by_steps(graph)


# -- reduction ---------------------------------------------------------------------------------------------------------


def _sum_of_each_term(steps: Iterable[_TreeStep]) -> dict[int, int]:
    """What sums read, and the sum that reads it. Raises ``_AmbiguousGrouping``."""
    sum_of: dict[int, int] = {}
    sums: set[int] = set()
    for op, _, end, _, terms in steps:
        for i in terms:
            if sum_of.setdefault(i, end) != end:
                raise _AmbiguousGrouping
        if op == "add":
            has_repeats = len(set(terms)) < len(terms)
            if has_repeats and any(n > 1 and (i < 0 or i in sums) for i, n in Counter(terms).items()):
                # (x + x) + (x + x): whether the sum inside is one depends on what else reads it
                raise _AmbiguousGrouping
            sums.add(end)
    return sum_of


def _reduce_series_parallel(steps: Sequence[_TreeStep], pinned: Collection[int]) -> list[ChainEdge] | None:
    """The steps after all reductions; ``None`` where joins remain. ``pinned``: nodes that are never reduced away.

    Raises ``_AmbiguousGrouping``.
    """
    _sum_of_each_term(steps)
    readers: Counter[int] = Counter([i for _, operands, _, _, _ in steps for i in operands])
    chains: dict[int, tuple[int, bytes]] = {}  # by their ends

    def open_chain(index: int) -> tuple[int, bytes]:
        """Start and codes of the chain that ends at a node and goes on; an empty one from there where none does."""
        goes_on = index in chains and readers[index] == 1 and index not in pinned
        return chains.pop(index) if goes_on else (index, b"")

    for op, operands, end, codes, _ in steps:
        if op == "input":
            continue
        if not op:
            start, codes_before = open_chain(operands[0])
            chains[end] = start, codes_before + codes
            continue
        branches = [open_chain(i) for i in operands]
        source = branches[0][0]
        if any(start != source for start, _ in branches):
            return None
        readers[source] -= len(branches) - 1
        start, codes_before = open_chain(source)
        chains[end] = start, codes_before + _reduce_parallel(op, [codes for _, codes in branches])
    return [ChainEdge(start, codes, end) for end, (start, codes) in chains.items()]


def _reduce_parallel(op: str, branches: list[bytes]) -> bytes:
    """The code of parallel branches that meet in a join; sorts ``branches`` where their order does not matter."""
    if OPS[op].commutative:
        branches.sort()
    return _digest(label_code(op), branches)


def _digest(label: bytes, parts: Sequence[bytes]) -> bytes:
    content = [label]
    for part in parts:
        content += len(part).to_bytes(8, "little"), part
    return blake2b(b"".join(content), digest_size=16, person=b"nas-tree-1").digest()


def _subtree_digest(label: bytes | None, subtrees: list[bytes] | None) -> bytes:
    """Code of the subtree below a node: an output's label, one chain, or several chains, which are sorted."""
    if not subtrees:
        return label or b""
    if label is None and len(subtrees) == 1:
        return subtrees[0]
    subtrees.sort()
    return _digest(label or b"", subtrees)


def _subtrees(edges: Iterable[ChainEdge], labels: Mapping[int, bytes]) -> dict[int, list[bytes]]:
    """The subtrees below each node that no edge ends in."""
    subtrees: dict[int, list[bytes]] = {}
    for start, codes, end in sorted(edges, key=lambda edge: -edge.end):
        subtrees.setdefault(start, []).append(codes + _subtree_digest(labels.get(end), subtrees.pop(end, None)))
    return subtrees


def _output_labels(graph: Graph) -> dict[int, bytes]:
    """Labels of the outputs by node; the name of a single one does not matter."""
    if len(graph.outputs) == 1:
        return {graph.outputs[0][1]: label_code("output", "")}
    labels: dict[int, bytes] = {}
    for name, i in graph.outputs:
        labels[i] = label_code("output", name) if i not in labels else b""
    for i in [i for i, label in labels.items() if not label]:
        labels[i] = label_code("outputs", tuple(sorted([name for name, end in graph.outputs if end == i])))
    return labels


def _root_digest(roots: Sequence[bytes]) -> bytes:
    return _digest(label_code("tree"), roots)


# -- block by block ----------------------------------------------------------------------------------------------------


def _digest_by_blocks(graph: Graph) -> bytes | None:
    """The digest from blocks that were reduced once; ``None`` where that is not enough, tree or not."""
    labels = _output_labels(graph)
    subtrees: dict[int, list[bytes]] = {}
    summands: set[int] = set()
    roots: list[bytes] = []
    chain_start, open_codes = -1, b""  # one chain that is not yet in ``subtrees``
    for fragment, inputs, _, base in reversed(graph.pieces):
        block_tree = _BLOCK_TREES.get(fragment) or _block_tree(fragment)
        if block_tree is None:
            return None
        chain, end, sums, edges = block_tree
        if chain:
            index, end = inputs[0], base + end
            if end == chain_start and end not in subtrees and end not in labels:
                following = open_codes
            else:
                if chain_start >= 0:
                    subtrees.setdefault(chain_start, []).append(open_codes)
                following = _subtree_digest(labels.get(end), subtrees.pop(end, None))
            if sums:
                if index in summands:
                    return None
                summands.add(index)
            chain_start, open_codes = index, chain + following
            continue
        if chain_start >= 0:
            subtrees.setdefault(chain_start, []).append(open_codes)
            chain_start = -1
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
    """A block as a forest; ``None`` where joins remain. Memoised by block."""
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
    is_chain = len(edges) == len(fragment.outputs) == len(fragment.input_shapes) == 1
    summands = tuple([i for i in _sum_of_each_term(steps) if i < 0])
    return _BlockTree(edges[0].codes if is_chain else b"", edges[0].end, summands, tuple(edges))


def _operand_subtrees(
    fragment: Fragment, edges: Sequence[ChainEdge], labels: tuple[bytes, ...]
) -> tuple[tuple[int, bytes], ...]:
    """The subtrees below a block's operands, where its outputs have these labels. Memoised."""
    key = (fragment, labels)
    result = _SUBTREES.get(key)
    if result is None:
        subtrees = _subtrees(edges, dict(zip(fragment.outputs, labels, strict=True)))
        result = tuple([(operand, following) for operand, below in subtrees.items() for following in below])
        memo_put(_SUBTREES, key, result)
    return result


# -- operation by operation --------------------------------------------------------------------------------------------


def _digest_by_steps(graph: Graph) -> bytes | None:
    """The digest from single operations, with sums regrouped where only that makes the network a tree."""
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
    inputs = [(end, codes.decode()) for op, _, end, codes, _ in steps if op == "input"]
    return _root_digest(
        [label_code("input", shape) + _subtree_digest(labels.get(end), subtrees.get(end)) for end, shape in inputs]
    )


def _steps(graph: Graph, by_block: bool = True) -> list[_TreeStep]:
    """All steps, in their order; ``by_block``: blocks that reduce to chains are given as those."""
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
            indices = tuple([base + i if i >= 0 else inputs[-i - 1] for i in operands])
            steps.append((op, indices, base + end, codes, indices if op == "add" else ()))
    return steps


def _has_overlapping_sums(graph: Graph) -> bool:
    """Whether two sums that stand outside of blocks have a common term without one being part of the other.

    Then there is no tree; seeing it at once spares cells most of the work.
    """
    materialised = {i for _, i in graph.outputs}  # what anything but a sum reads
    adds = []
    for fragment, inputs, _, base in graph.pieces:
        if fragment.length == 1 and fragment.last.op == "add":
            adds.append((base, inputs))
        else:
            materialised.update(inputs)
    sums: dict[int, frozenset[int]] = {}
    sums_with: dict[int, list[frozenset[int]]] = {}  # by term
    for end, inputs in adds:
        sums[end] = terms = frozenset([term for i in inputs for term in sums.get(i, (i,))])
        if end not in materialised:
            continue
        for term in terms:
            others = sums_with.setdefault(term, [])
            if others and not all([other <= terms or terms <= other for other in others]):
                return True
            others.append(terms)
    return False


def _sums_are_nested(steps: Sequence[_TreeStep], pinned: Collection[int]) -> bool:
    """Whether of two sums with a common term, one is always part of the other, all sums written out in full.

    A sum that only sums read is but a way of writing those.
    """
    sums = {end: operands for op, operands, end, _, _ in steps if op == "add"}
    materialised = {i for op, operands, _, _, _ in steps if op != "add" for i in operands}.union(pinned)
    terms: dict[int, Counter[int]] = {}
    for end, operands in sums.items():
        terms[end] = Counter()
        for i in operands:
            terms[end].update(terms[i] if i in sums else (i,))
    sums_with: dict[int, list[int]] = {}  # by term
    for end in sums:
        for term in terms[end] if end in materialised else ():
            sums_with.setdefault(term, []).append(end)
    for ends in sums_with.values():
        ends.sort(key=lambda end: terms[end].total())
        if any(not terms[less] <= terms[more] for less, more in pairwise(ends)):
            return False
    return True
