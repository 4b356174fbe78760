"""One way of writing for all graphs of one network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from nas.hashing.form import Blocks, Former, Value, settled_colours
from nas.hashing.prime_field import code
from nas.hashing.rules import EXACT
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.graph.zero_channels import free_region, readers_of


def canonical(graph: Graph) -> Graph:
    """The same network, its operations and the operands that may be swapped in an order that depends on it alone.

    Graphs of one key become one graph, so that training any of them with one seed is the same experiment to the last
    bit. Sums share partial sums where one that is needed is part of another.
    """
    former = Former(graph, EXACT)
    colours = settled_colours(former.form)
    return _ordered(regrouped(graph, [_look(value, colours) for value in former.values]))


# -- sums and concatenations -----------------------------------------------------------------------------------------

# An expression is ("node", its place, operands), ("concat", axis, operands) or ("sum", sorted operands); the operands
# are numbers of expressions. Sums hold no sums, concatenations none of their axis, and no sum holds two
# concatenations of parts of the same extents: it is the concatenation of sums.
_Expression = tuple[str, int, tuple[int, ...]]


class _Expressions:
    def __init__(self, graph: Graph, looks: Sequence[bytes]) -> None:
        self.nodes = graph.nodes
        self.all: list[_Expression] = []
        self.looks: list[bytes] = []
        self.shapes: list[Shape] = []
        self._known: dict[_Expression, int] = {}
        self.of: list[int] = []  # by node
        for place, node in enumerate(self.nodes):
            operands = tuple([self.of[i] for i in node.inputs])
            if node.op == "add":
                self.of.append(self._sum(operands))
            elif node.op == "concat":
                self.of.append(self._concat(node.attrs[0], operands))
            else:
                self.of.append(self._add(("node", place, operands), looks[place], node.shape))

    def _add(self, expression: _Expression, look: bytes, shape: Shape) -> int:
        if expression not in self._known:
            self._known[expression] = len(self.all)
            self.all.append(expression)
            self.looks.append(look)
            self.shapes.append(shape)
        return self._known[expression]

    def _concat(self, axis: int, operands: Sequence[int]) -> int:
        flat: list[int] = []
        for i in operands:
            kind, of_axis, inner = self.all[i]
            flat.extend(inner if kind == "concat" and of_axis == axis else (i,))
        look = blake2b(b"".join([self.looks[i] for i in flat]), digest_size=16).digest()
        first = self.shapes[flat[0]]
        extent = sum(self.shapes[i][axis] for i in flat)
        return self._add(("concat", axis, tuple(flat)), look, (*first[:axis], extent, *first[axis + 1 :]))

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
        look = blake2b(b"".join(sorted([self.looks[i] for i in flat])), digest_size=16).digest()
        return self._add(("sum", 0, tuple(sorted(flat))), look, self.shapes[flat[0]])


def regrouped(graph: Graph, looks: Sequence[bytes]) -> Graph:
    """The same network, where sums share partial sums as far as one that is needed is part of another.

    ``looks``: of each node, by which sums of as many terms are tried one after the other.
    """
    expressions = _Expressions(graph, looks)
    needed = _needed(expressions, [expressions.of[end] for _, end in graph.outputs])
    builder = Builder(graph.zeros)
    made: dict[int, Tensor] = {}
    for place, node in enumerate(graph.nodes):
        if node.op == "input":
            made[expressions.of[place]] = builder.again(node, [])
    sums = sorted(
        [i for i in needed if expressions.all[i][0] == "sum"],
        key=lambda i: (-len(expressions.all[i][2]), expressions.looks[i]),
    )
    terms = {i: Counter(expressions.all[i][2]) for i in sums}
    for i in needed:
        kind, what, operands = expressions.all[i]
        if i in made:
            continue
        if kind == "node":
            made[i] = builder.again(graph.nodes[what], [made[j] for j in operands])
        elif kind == "concat":
            made[i] = builder.concat([made[j] for j in operands], axis=what)
        else:
            made[i] = _add_up(builder, i, sums, terms, made)
    return builder.build({name: made[expressions.of[end]] for name, end in graph.outputs})


def _needed(expressions: _Expressions, ends: Sequence[int]) -> list[int]:
    """The expressions that the outputs need, operands first."""
    needed: set[int] = set()
    todo = list(ends)
    while todo:
        i = todo.pop()
        if i not in needed:
            needed.add(i)
            todo.extend(expressions.all[i][2])
    return sorted(needed)


def _add_up(
    builder: Builder, i: int, sums: Sequence[int], terms: dict[int, Counter[int]], made: dict[int, Tensor]
) -> Tensor:
    """A sum, from the largest sums that are needed anyway and are part of it."""
    left = Counter(terms[i])
    parts: list[Tensor] = []
    for other in sums:
        if terms[other].total() < terms[i].total():
            while terms[other] <= left:
                if other not in made:
                    made[other] = _add_up(builder, other, sums, terms, made)
                parts.append(made[other])
                left -= terms[other]
    parts += [made[j] for j in left.elements()]
    return builder.add(*parts)


# -- order -------------------------------------------------------------------------------------------------------------


def _look(value: Value, colours: Sequence[bytes], free: bool = False) -> bytes:
    """What a tensor is, as sixteen bytes; ``free``: the order of its parts is left open."""
    if isinstance(value, Blocks):
        parts = [code("part", width) + _look(terms, colours) for width, terms in value.parts]
        whole = code("concat", value.axis) + b"".join(sorted(parts) if free else parts)
    else:
        whole = b"".join(sorted([colours[v] + times.to_bytes(8, "little") for v, times in value.items()]))
    return blake2b(whole, digest_size=16).digest()


def _free(graph: Graph) -> list[set[int]]:
    """The regions of the graph whose parts may change places."""
    nodes, readers = graph.nodes, readers_of(graph.nodes)
    ends = {end for _, end in graph.outputs}
    regions: list[set[int]] = []
    for place, node in enumerate(nodes):
        if node.op == "concat" and not any(place in region for region in regions):
            region = free_region(nodes, readers, ends, place)
            if region:
                regions.append(region)
    return regions


def _ordered(graph: Graph) -> Graph:
    former = Former(graph, EXACT)
    colours = settled_colours(former.form)
    regions = _free(graph)
    free = {place for region in regions for place in region}
    looks = [_look(value, colours, place in free) for place, value in enumerate(former.values)]
    nodes = graph.nodes
    parts: dict[int, list[int]] = {}  # operands of free concatenations, in their order
    for region in regions:
        concats = sorted([place for place in region if nodes[place].op == "concat"], key=lambda place: looks[place])
        count = len(nodes[concats[0]].inputs)
        order = sorted(range(count), key=lambda p: [looks[nodes[place].inputs[p]] for place in concats])
        for place in concats:
            parts[place] = [nodes[place].inputs[p] for p in order]
    builder = Builder(graph.zeros)
    made: dict[int, Tensor] = {}
    for place in _depth_first(nodes, [end for _, end in sorted(graph.outputs)], looks):
        inputs = parts.get(place, nodes[place].inputs)
        made[place] = builder.again(nodes[place], [made[i] for i in inputs])
    return builder.build({name: made[end] for name, end in sorted(graph.outputs)})


def _depth_first(nodes: Sequence[Node], ends: Sequence[int], looks: Sequence[bytes]) -> list[int]:
    """The nodes in an order of execution: the inputs, then every output's operands, by their looks."""
    order = [i for i, node in enumerate(nodes) if node.op == "input"]
    done = set(order)
    for end in ends:
        todo = [end]
        while todo:
            place = todo[-1]
            left = [i for i in nodes[place].inputs if i not in done]
            if left and place not in done:
                todo.append(min(left, key=lambda i: (looks[i], i)))
                continue
            todo.pop()
            if place not in done:
                done.add(place)
                order.append(place)
    return order
