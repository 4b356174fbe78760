"""Sums and concatenations laid flat, and sums rebuilt so that they share what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

# An expression is ("node", its index, operands), ("concat", axis, operands) or ("sum", sorted operands); the operands
# are numbers of expressions. Sums hold no sums, concatenations none of their axis, and no sum holds two
# concatenations of parts of the same extents: it is the concatenation of sums.
Expression = tuple[str, int, tuple[int, ...]]


class ExpressionTable:
    """The distinct expressions of a graph, numbered so that operands come first.

    ``all`` are the expressions, with their ``signatures`` and ``shapes``; ``of`` gives each node's number.
    """

    def __init__(self, graph: Graph, signatures: Sequence[bytes]) -> None:
        self.nodes = graph.nodes
        self.all: list[Expression] = []
        self.signatures: list[bytes] = []
        self.shapes: list[Shape] = []
        self._expression_numbers: dict[Expression, int] = {}
        self.of: list[int] = []  # by node
        for index, node in enumerate(self.nodes):
            operands = tuple([self.of[i] for i in node.inputs])
            if node.op == "add":
                self.of.append(self._sum(operands))
            elif node.op == "concat":
                self.of.append(self._concat(node.attrs[0], operands))
            else:
                self.of.append(self._add(("node", index, operands), signatures[index], node.shape))

    def _add(self, expression: Expression, signature: bytes, shape: Shape) -> int:
        if expression not in self._expression_numbers:
            self._expression_numbers[expression] = len(self.all)
            self.all.append(expression)
            self.signatures.append(signature)
            self.shapes.append(shape)
        return self._expression_numbers[expression]

    def _concat(self, axis: int, operands: Sequence[int]) -> int:
        flat: list[int] = []
        for i in operands:
            kind, of_axis, inner = self.all[i]
            flat.extend(inner if kind == "concat" and of_axis == axis else (i,))
        signature = blake2b(b"".join([self.signatures[i] for i in flat]), digest_size=16).digest()
        first = self.shapes[flat[0]]
        extent = sum(self.shapes[i][axis] for i in flat)
        return self._add(("concat", axis, tuple(flat)), signature, (*first[:axis], extent, *first[axis + 1 :]))

    def _sum(self, operands: Sequence[int]) -> int:
        flat: list[int] = []
        for i in operands:
            flat.extend(self.all[i][2] if self.all[i][0] == "sum" else (i,))
        by_extents: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for i in flat:
            kind, axis, inner = self.all[i]
            if kind == "concat":
                by_extents.setdefault((axis, tuple([self.shapes[j][axis] for j in inner])), []).append(i)
        for (axis, _), concats in by_extents.items():
            if len(concats) > 1:
                parts = zip(*[self.all[i][2] for i in concats], strict=True)
                joined = self._concat(axis, [self._sum(part) for part in parts])
                rest = [i for i in flat if i not in concats]
                return self._sum([*rest, joined]) if rest else joined
        signature = blake2b(b"".join(sorted([self.signatures[i] for i in flat])), digest_size=16).digest()
        return self._add(("sum", 0, tuple(sorted(flat))), signature, self.shapes[flat[0]])


def regroup_sums(graph: Graph, signatures: Sequence[bytes]) -> Graph:
    """The same network, where a sum that is part of another is computed once and added as a whole.

    ``signatures``, one a node, order the sums of equally many terms.
    """
    expressions = ExpressionTable(graph, signatures)
    needed = _needed_expressions(expressions, [expressions.of[end] for _, end in graph.outputs])
    builder = Builder(graph.zeros)
    rebuilt: dict[int, Tensor] = {}
    for index, node in enumerate(graph.nodes):
        if node.op == "input":
            rebuilt[expressions.of[index]] = builder.rebuild(node, [])
    sums = sorted(
        [i for i in needed if expressions.all[i][0] == "sum"],
        key=lambda i: (-len(expressions.all[i][2]), expressions.signatures[i]),
    )
    terms = {i: Counter(expressions.all[i][2]) for i in sums}
    for i in needed:
        kind, index_or_axis, operands = expressions.all[i]
        if i in rebuilt:
            continue
        if kind == "node":
            rebuilt[i] = builder.rebuild(graph.nodes[index_or_axis], [rebuilt[j] for j in operands])
        elif kind == "concat":
            rebuilt[i] = builder.concat([rebuilt[j] for j in operands], axis=index_or_axis)
        else:
            rebuilt[i] = _build_sum(builder, i, sums, terms, rebuilt)
    return builder.build({name: rebuilt[expressions.of[end]] for name, end in graph.outputs})


def _needed_expressions(expressions: ExpressionTable, ends: Sequence[int]) -> list[int]:
    """The expressions that the outputs need, operands first."""
    needed: set[int] = set()
    stack = list(ends)
    while stack:
        i = stack.pop()
        if i not in needed:
            needed.add(i)
            stack.extend(expressions.all[i][2])
    return sorted(needed)


def _build_sum(
    builder: Builder, i: int, sums: Sequence[int], terms: dict[int, Counter[int]], rebuilt: dict[int, Tensor]
) -> Tensor:
    """A sum, built from the largest needed sums that are part of it, and its remaining terms."""
    rest = Counter(terms[i])
    parts: list[Tensor] = []
    for other in sums:
        if terms[other].total() < terms[i].total():
            while terms[other] <= rest:
                if other not in rebuilt:
                    rebuilt[other] = _build_sum(builder, other, sums, terms, rebuilt)
                parts.append(rebuilt[other])
                rest -= terms[other]
    parts += [rebuilt[j] for j in rest.elements()]
    return builder.add(*parts)
