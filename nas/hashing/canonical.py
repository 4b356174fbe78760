"""One way of writing for all graphs of one network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from nas.hashing.form import Concatenation, FormBuilder, SymbolicTensor, discrete_colouring
from nas.hashing.prime_field import label_code
from nas.hashing.rules import EXACT
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.graph.zero_channels import permutable_region, readers_of


def canonical(graph: Graph) -> Graph:
    """The same network, its operations and the operands that may be swapped in an order that depends on it alone.

    Graphs of one key become one graph, so that training any of them with one seed is the same experiment to the last
    bit. Sums share partial sums where one that is needed is part of another.
    """
    former = FormBuilder(graph, EXACT)
    colours = discrete_colouring(former.form)
    return _order_operations(regroup_sums(graph, [_tensor_signature(value, colours) for value in former.values]))


# -- sums and concatenations -----------------------------------------------------------------------------------------

# An expression is ("node", its place, operands), ("concat", axis, operands) or ("sum", sorted operands); the operands
# are numbers of expressions. Sums hold no sums, concatenations none of their axis, and no sum holds two
# concatenations of parts of the same extents: it is the concatenation of sums.
_Expression = tuple[str, int, tuple[int, ...]]


class _ExpressionTable:
    def __init__(self, graph: Graph, signatures: Sequence[bytes]) -> None:
        self.nodes = graph.nodes
        self.all: list[_Expression] = []
        self.signatures: list[bytes] = []
        self.shapes: list[Shape] = []
        self._expression_numbers: dict[_Expression, int] = {}
        self.of: list[int] = []  # by node
        for index, node in enumerate(self.nodes):
            operands = tuple([self.of[i] for i in node.inputs])
            if node.op == "add":
                self.of.append(self._sum(operands))
            elif node.op == "concat":
                self.of.append(self._concat(node.attrs[0], operands))
            else:
                self.of.append(self._add(("node", index, operands), signatures[index], node.shape))

    def _add(self, expression: _Expression, signature: bytes, shape: Shape) -> int:
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
        alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for i in flat:
            kind, axis, inner = self.all[i]
            if kind == "concat":
                alike.setdefault((axis, tuple([self.shapes[j][axis] for j in inner])), []).append(i)
        for (axis, _), concats in alike.items():
            if len(concats) > 1:
                parts = zip(*[self.all[i][2] for i in concats], strict=True)
                joined = self._concat(axis, [self._sum(part) for part in parts])
                left = [i for i in flat if i not in concats]
                return self._sum([*left, joined]) if left else joined
        signature = blake2b(b"".join(sorted([self.signatures[i] for i in flat])), digest_size=16).digest()
        return self._add(("sum", 0, tuple(sorted(flat))), signature, self.shapes[flat[0]])


def regroup_sums(graph: Graph, signatures: Sequence[bytes]) -> Graph:
    """The same network, where sums share partial sums as far as one that is needed is part of another.

    ``signatures``: of each node, by which sums of as many terms are tried one after the other.
    """
    expressions = _ExpressionTable(graph, signatures)
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
        kind, what, operands = expressions.all[i]
        if i in rebuilt:
            continue
        if kind == "node":
            rebuilt[i] = builder.rebuild(graph.nodes[what], [rebuilt[j] for j in operands])
        elif kind == "concat":
            rebuilt[i] = builder.concat([rebuilt[j] for j in operands], axis=what)
        else:
            rebuilt[i] = _build_sum(builder, i, sums, terms, rebuilt)
    return builder.build({name: rebuilt[expressions.of[end]] for name, end in graph.outputs})


def _needed_expressions(expressions: _ExpressionTable, ends: Sequence[int]) -> list[int]:
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
    """A sum, from the largest sums that are needed anyway and are part of it."""
    left = Counter(terms[i])
    parts: list[Tensor] = []
    for other in sums:
        if terms[other].total() < terms[i].total():
            while terms[other] <= left:
                if other not in rebuilt:
                    rebuilt[other] = _build_sum(builder, other, sums, terms, rebuilt)
                parts.append(rebuilt[other])
                left -= terms[other]
    parts += [rebuilt[j] for j in left.elements()]
    return builder.add(*parts)


# -- order -------------------------------------------------------------------------------------------------------------


def _tensor_signature(value: SymbolicTensor, colours: Sequence[bytes], permutable: bool = False) -> bytes:
    """What a tensor is, as sixteen bytes; ``permutable``: the order of its parts is left open."""
    if isinstance(value, Concatenation):
        parts = [label_code("part", width) + _tensor_signature(terms, colours) for width, terms in value.parts]
        whole = label_code("concat", value.axis) + b"".join(sorted(parts) if permutable else parts)
    else:
        whole = b"".join(sorted([colours[v] + times.to_bytes(8, "little") for v, times in value.items()]))
    return blake2b(whole, digest_size=16).digest()


def _permutable_regions(graph: Graph) -> list[set[int]]:
    """The regions of the graph whose parts may change places."""
    nodes, readers = graph.nodes, readers_of(graph.nodes)
    ends = {end for _, end in graph.outputs}
    regions: list[set[int]] = []
    for index, node in enumerate(nodes):
        if node.op == "concat" and not any(index in region for region in regions):
            region = permutable_region(nodes, readers, ends, index)
            if region:
                regions.append(region)
    return regions


def _order_operations(graph: Graph) -> Graph:
    former = FormBuilder(graph, EXACT)
    colours = discrete_colouring(former.form)
    regions = _permutable_regions(graph)
    permutable = {index for region in regions for index in region}
    signatures = [_tensor_signature(value, colours, index in permutable) for index, value in enumerate(former.values)]
    nodes = graph.nodes
    parts: dict[int, list[int]] = {}  # operands of free concatenations, in their order
    for region in regions:
        concats = sorted(
            [index for index in region if nodes[index].op == "concat"], key=lambda index: signatures[index]
        )
        count = len(nodes[concats[0]].inputs)
        order = sorted(range(count), key=lambda p: [signatures[nodes[index].inputs[p]] for index in concats])
        for index in concats:
            parts[index] = [nodes[index].inputs[p] for p in order]
    builder = Builder(graph.zeros)
    rebuilt: dict[int, Tensor] = {}
    for index in _depth_first(nodes, [end for _, end in sorted(graph.outputs)], signatures):
        inputs = parts.get(index, nodes[index].inputs)
        rebuilt[index] = builder.rebuild(nodes[index], [rebuilt[i] for i in inputs])
    return builder.build({name: rebuilt[end] for name, end in sorted(graph.outputs)})


def _depth_first(nodes: Sequence[Node], ends: Sequence[int], signatures: Sequence[bytes]) -> list[int]:
    """The nodes in an order of execution: the inputs, then every output's operands, by their looks."""
    order = [i for i, node in enumerate(nodes) if node.op == "input"]
    done = set(order)
    for end in ends:
        stack = [end]
        while stack:
            index = stack[-1]
            left = [i for i in nodes[index].inputs if i not in done]
            if left and index not in done:
                stack.append(min(left, key=lambda i: (signatures[i], i)))
                continue
            stack.pop()
            if index not in done:
                done.add(index)
                order.append(index)
    return order
