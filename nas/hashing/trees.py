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

from nas.hashing.canonical import regrouped
from nas.hashing.chains import program_of
from nas.hashing.prime_field import code
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import recall, remember

_COMMUTE = ("add", "mul")


# A step is (operation, operands, end, codes, terms): a chain (its operation is empty, its codes are sixteen bytes an
# operation), a join, or an input. The terms are what a sum in it reads; a chain has some where it is a block that was
# reduced before.
_Step = tuple[str, tuple[int, ...], int, bytes, tuple[int, ...]]


class Edge(NamedTuple):
    """A chain of operations, joins among them, from one place that stays to another."""

    start: int
    codes: bytes
    end: int


class _Regrouping(Exception):
    """A tensor is a term of two sums, or a sum twice a term of one: there are other ways of grouping them."""


class _Summary(NamedTuple):
    """A block as a forest over its operands; ``chain`` and its ``end``: of one that is a single chain.

    ``summed``: operands that a sum reads as they are.
    """

    chain: bytes
    end: int
    summed: tuple[int, ...]
    edges: tuple[Edge, ...]


_SUMMARIES: dict[Fragment, _Summary | None] = {}
_BELOW: dict[tuple[Fragment, tuple[bytes, ...]], tuple[tuple[int, bytes], ...]] = {}


def tree_code(graph: Graph) -> bytes | None:
    """A digest of the network's tree; ``None`` where it is none."""
    found = _by_blocks(graph)
    if found is not None:
        return found
    if any([program_of(piece[0]) is None for piece in graph.pieces]) or _overlap(graph):
        return None
    return _by_steps(graph)


# -- reduction ---------------------------------------------------------------------------------------------------------


def _terms(steps: Iterable[_Step]) -> dict[int, int]:
    """What sums read, and the sum that does. Raises ``_Regrouping``."""
    found: dict[int, int] = {}
    sums: set[int] = set()
    for op, _, end, _, terms in steps:
        for i in terms:
            if found.setdefault(i, end) != end:
                raise _Regrouping
        if op == "add":
            twice = len(set(terms)) < len(terms)
            if twice and any(n > 1 and (i < 0 or i in sums) for i, n in Counter(terms).items()):
                raise _Regrouping  # (x + x) + (x + x): whether the sum inside is one depends on who else reads it
            sums.add(end)
    return found


def _reduced(steps: Sequence[_Step], kept: Collection[int]) -> list[Edge] | None:
    """What is left of steps; ``None`` where joins are left. ``kept``: places that stay, whoever reads them.

    Raises ``_Regrouping``.
    """
    _terms(steps)
    readers: Counter[int] = Counter([i for _, operands, _, _, _ in steps for i in operands])
    reached: dict[int, tuple[int, bytes]] = {}

    def chain(place: int) -> tuple[int, bytes]:
        """Where the chain began that ends here and goes on; an empty one from here where none does."""
        alone = place in reached and readers[place] == 1 and place not in kept
        return reached.pop(place) if alone else (place, b"")

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
        reached[end] = start, before + _parallel(op, [codes for _, codes in branches])
    return [Edge(start, codes, end) for end, (start, codes) in reached.items()]


def _parallel(op: str, branches: list[bytes]) -> bytes:
    if op in _COMMUTE:
        branches.sort()
    return _digest(code(op), branches)


def _digest(label: bytes, parts: Sequence[bytes]) -> bytes:
    content = [label]
    for part in parts:
        content += len(part).to_bytes(8, "little"), part
    return blake2b(b"".join(content), digest_size=16, person=b"nas-tree-1").digest()


def _node(label: bytes | None, below: list[bytes] | None) -> bytes:
    """What follows a place: an output's label, one chain, or several chains."""
    if not below:
        return label or b""
    if label is None and len(below) == 1:
        return below[0]
    below.sort()
    return _digest(label or b"", below)


def _below(edges: Iterable[Edge], labels: Mapping[int, bytes]) -> dict[int, list[bytes]]:
    """What follows each place that no edge ends in."""
    below: dict[int, list[bytes]] = {}
    for start, codes, end in sorted(edges, key=lambda edge: -edge.end):
        below.setdefault(start, []).append(codes + _node(labels.get(end), below.pop(end, None)))
    return below


def _labels(graph: Graph) -> dict[int, bytes]:
    """Of the outputs, by place; the name of a single one does not matter."""
    if len(graph.outputs) == 1:
        return {graph.outputs[0][1]: code("output", "")}
    labels: dict[int, bytes] = {}
    for name, i in graph.outputs:
        labels[i] = code("output", name) if i not in labels else b""
    for i in [i for i, label in labels.items() if not label]:
        labels[i] = code("outputs", tuple(sorted([name for name, at in graph.outputs if at == i])))
    return labels


def _whole(roots: Sequence[bytes]) -> bytes:
    return _digest(code("tree"), roots)


# -- block by block ----------------------------------------------------------------------------------------------------


def _by_blocks(graph: Graph) -> bytes | None:
    """``None`` where blocks are not enough: that it is no tree is for ``_by_steps`` to say."""
    labels = _labels(graph)
    below: dict[int, list[bytes]] = {}
    summed: set[int] = set()
    roots: list[bytes] = []
    at, held = -1, b""  # one chain that is not yet in ``below``, and where it starts
    for fragment, inputs, _, base in reversed(graph.pieces):
        summary = _SUMMARIES.get(fragment) or _summary_of(fragment)
        if summary is None:
            return None
        chain, end, sums, edges = summary
        if chain:
            place, end = inputs[0], base + end
            if end == at and end not in below and end not in labels:
                following = held
            else:
                if at >= 0:
                    below.setdefault(at, []).append(held)
                following = _node(labels.get(end), below.pop(end, None))
            if sums:
                if place in summed:
                    return None
                summed.add(place)
            at, held = place, chain + following
            continue
        if at >= 0:
            below.setdefault(at, []).append(held)
            at = -1
        if not inputs:
            roots.append(code("input", repr(fragment.nodes[0].attrs)) + _node(labels.get(base), below.pop(base, None)))
            continue
        ends = [base + i for i in fragment.outputs]
        if any([i not in labels or i in below for i in ends]):
            return None
        for operand in sums:
            place = inputs[-operand - 1]
            if place in summed:
                return None
            summed.add(place)
        for operand, following in _below_operands(fragment, edges, tuple([labels[i] for i in ends])):
            below.setdefault(inputs[-operand - 1], []).append(following)
    return _whole(roots[::-1])


def _summary_of(fragment: Fragment) -> _Summary | None:
    return recall(_SUMMARIES, fragment, _summary)


def _summary(fragment: Fragment) -> _Summary | None:
    program = program_of(fragment)
    if program is None:
        return None
    if not fragment.input_shapes:
        return _Summary(b"", 0, (), ()) if len(fragment.nodes) == 1 else None
    steps = [
        (op, operands, end, codes, operands if op == "add" else ()) for op, operands, end, codes, _, _ in program.steps
    ]
    try:
        edges = _reduced(steps, fragment.outputs)
    except _Regrouping:
        return None
    if edges is None:
        return None
    single = len(edges) == len(fragment.outputs) == len(fragment.input_shapes) == 1
    summed = tuple([i for i in _terms(steps) if i < 0])
    return _Summary(edges[0].codes if single else b"", edges[0].end, summed, tuple(edges))


def _below_operands(
    fragment: Fragment, edges: Sequence[Edge], labels: tuple[bytes, ...]
) -> tuple[tuple[int, bytes], ...]:
    key = (fragment, labels)
    known = _BELOW.get(key)
    if known is None:
        below = _below(edges, dict(zip(fragment.outputs, labels, strict=True)))
        known = tuple([(operand, following) for operand, all_of in below.items() for following in all_of])
        remember(_BELOW, key, known)
    return known


# -- operation by operation --------------------------------------------------------------------------------------------


def _by_steps(graph: Graph) -> bytes | None:
    try:
        return _of_steps(graph)
    except _Regrouping:
        pass
    if not _nested(_steps(graph, reduced=False), {i for _, i in graph.outputs}):
        return None
    try:
        return _of_steps(regrouped(graph, [place.to_bytes(16, "little") for place in range(len(graph))]))
    except _Regrouping:  # x + x and x + x + x: there is no better way
        return None


def _of_steps(graph: Graph) -> bytes | None:
    steps = _steps(graph)
    edges = _reduced(steps, {i for _, i in graph.outputs})
    if edges is None:
        return None
    labels = _labels(graph)
    below = _below(edges, labels)
    entries = [(end, codes.decode()) for op, _, end, codes, _ in steps if op == "input"]
    return _whole([code("input", shape) + _node(labels.get(end), below.get(end)) for end, shape in entries])


def _steps(graph: Graph, reduced: bool = True) -> list[_Step]:
    """All steps, in their order; blocks that were ``reduced`` already are what is left of them."""
    steps: list[_Step] = []
    for fragment, inputs, _, base in graph.pieces:
        summary = _summary_of(fragment) if reduced and inputs else None
        if summary is not None:
            terms = tuple([inputs[-i - 1] for i in summary.summed])
            for start, codes, end in summary.edges:
                place = base + start if start >= 0 else inputs[-start - 1]
                steps.append(("", (place,), base + end, codes, terms))
                terms = ()
            continue
        program = program_of(fragment)
        assert program is not None
        for op, operands, end, codes, _, _ in program.steps:
            places = tuple([base + i if i >= 0 else inputs[-i - 1] for i in operands])
            steps.append((op, places, base + end, codes, places if op == "add" else ()))
    return steps


def _overlap(graph: Graph) -> bool:
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


def _nested(steps: Sequence[_Step], kept: Collection[int]) -> bool:
    """Whether of two sums with a common term, one is always part of the other, all sums written out in full.

    A sum that sums alone read is but a way of writing them.
    """
    sums = {end: operands for op, operands, end, _, _ in steps if op == "add"}
    stands = {i for op, operands, _, _, _ in steps if op != "add" for i in operands}.union(kept)
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
