"""A network with all that does not matter taken away: the form that keys, isomorphisms and differences are about.

A form is a directed graph of operations. Sums are gone: an operation reads a multiset of terms. So are
concatenations: a tensor of several blocks of channels keeps them apart as long as operations act on each channel
alone, and a dense convolution or linear layer reads the blocks in any order; whatever depends on the order reads each
block with its place. Two graphs are the same trainable network where their forms are isomorphic: then the parameters
of one, carried over, give the other's function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from hashlib import blake2b
from math import gcd
from typing import NamedTuple

from nas.hashing.prime_field import P, code, output_adjoint, pair, passes, prf
from nas.hashing.rules import Rules
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.graph.zero_channels import acts_by_place, is_dense

Terms = dict[int, int]
Label = tuple[object, ...]

# Operations f with f(cx) = c f(x) for every c > 0, where they have no bias
_HOMOGENEOUS = ("conv", "linear", "layer_scale", "reshape", "permute", "slice", "resize", "scale")
_HOMOGENEOUS_ACTIVATIONS = ("relu", "leaky_relu")
# The work that telling look-alikes apart may take: vertices visited. Beyond it, comparing on a match has to do.
_MOST_VISITS = 1_000_000


class Blocks(NamedTuple):
    """A concatenation: (extent, terms) of its parts along ``axis``, in order."""

    axis: int
    parts: tuple[tuple[int, Terms], ...]


Value = Terms | Blocks


class Form:
    """Vertices in topological order; the fields are lists with one entry a vertex, but for the last two.

    labels: what the operation is; for a chain of them, all. args: (vertex, how often). parametric: whether it has
    parameters of its own. joins: whether it is more than an operation on one tensor. places: the graph's node.
    groups: vertices that one instance computes, block by block. outputs: terms by name.
    """

    def __init__(self) -> None:
        self.labels: list[Label] = []
        self.codes: list[bytes] = []
        self.args: list[tuple[tuple[int, int], ...]] = []
        self.parametric: list[bool] = []
        self.joins: list[bool] = []
        self.places: list[int] = []
        self.groups: list[tuple[int, ...]] = []
        self.outputs: list[tuple[str, Terms, Label]] = []

    def add(self, label: Label, codes: bytes, terms: Terms, parametric: bool, joins: bool, place: int) -> int:
        self.labels.append(label)
        self.codes.append(codes)
        self.args.append(tuple(sorted(terms.items())))
        self.parametric.append(parametric)
        self.joins.append(joins)
        self.places.append(place)
        return len(self.labels) - 1

    def readers(self) -> list[list[tuple[int, int]]]:
        """Who reads each vertex, and how often; outputs are -1, -2 and so on."""
        readers: list[list[tuple[int, int]]] = [[] for _ in self.labels]
        for vertex, args in enumerate(self.args):
            for arg, times in args:
                readers[arg].append((vertex, times))
        for place, (_, terms, _) in enumerate(self.outputs):
            for arg, times in terms.items():
                readers[arg].append((-1 - place, times))
        return readers


def _plus(values: Sequence[Terms]) -> Terms:
    total: Terms = {}
    for terms in values:
        for vertex, times in terms.items():
            total[vertex] = total.get(vertex, 0) + times
    return total


class Former:
    """Builds a graph's form; ``values`` are the terms or blocks of each of its nodes."""

    def __init__(self, graph: Graph, rules: Rules) -> None:
        self.graph = graph
        self.rules = rules
        self.form = Form()
        self.values: list[Value] = []
        self._flat: set[int] = set()  # what normalised zeros give: a constant for each channel
        self._shared: dict[tuple[bytes, tuple[tuple[int, int], ...]], int] = {}
        entered = 0
        for place, node in enumerate(graph.nodes):
            self.place = place
            if node.op == "input":
                what = code("input", entered, repr(node.attrs).encode())
                label: Label = ("input", entered, *node.attrs)
                self.values.append({self.form.add(label, what, {}, False, True, place): 1})
                entered += 1
            elif node.op == "zero":
                self.values.append({})
            elif node.op == "concat":
                self.values.append(self._concat(node))
            elif node.op == "add":
                self.values.append(self._add([self.values[i] for i in node.inputs]))
            elif len(node.inputs) == 1:
                self.values.append(self._unary(node, self.values[node.inputs[0]]))
            else:
                self.values.append(self._product(node, [self.values[i] for i in node.inputs]))
        single = len(graph.outputs) == 1
        for name, index in graph.outputs:
            shown = "" if single else name
            terms = self._together(self.values[index])
            self.form.outputs.append((shown, terms, ("zero", graph.nodes[index].shape) if not terms else ()))
        self.form.outputs.sort(key=lambda output: output[0])

    def _vertex(self, label: Label, terms: Terms, parametric: bool = False, joins: bool = True) -> int:
        what = code(*label)
        if parametric:
            return self.form.add(label, what, terms, True, joins, self.place)
        key = (what, tuple(sorted(terms.items())))
        if key not in self._shared:
            self._shared[key] = self.form.add(label, what, terms, False, joins, self.place)
        return self._shared[key]

    def _together(self, value: Value) -> Terms:
        """A value as one: every term of every block with the block's place. Linear, so that sums stay sums."""
        if not isinstance(value, Blocks):
            return value
        extent = sum(width for width, _ in value.parts)
        total: Terms = {}
        start = 0
        for width, terms in value.parts:
            for vertex, times in terms.items():
                label = ("part", value.axis, start, width, extent)
                placed = self._vertex(label, {vertex: 1})
                total[placed] = total.get(placed, 0) + times
            start += width
        return total

    def _concat(self, node: Node) -> Value:
        axis: int = node.attrs[0]
        parts: list[tuple[int, Terms]] = []
        for i in node.inputs:
            value = self.values[i]
            if isinstance(value, Blocks) and value.axis == axis:
                parts.extend(value.parts)
            else:
                parts.append((self.graph.nodes[i].shape[axis], self._together(value)))
        together: list[tuple[int, Terms]] = []
        for width, terms in parts:
            if not terms and together and not together[-1][1]:  # neighbouring zeros are one
                width += together.pop()[0]
            together.append((width, terms))
        return Blocks(axis, tuple(together))

    def _aligned(self, values: Sequence[Value]) -> int | None:
        """The axis along which all values have the same blocks, if there is one."""
        first = values[0]
        if not isinstance(first, Blocks):
            return None
        widths = [w for w, _ in first.parts]
        alike = [isinstance(v, Blocks) and v.axis == first.axis and [w for w, _ in v.parts] == widths for v in values]
        return first.axis if all(alike) else None

    def _add(self, values: Sequence[Value]) -> Value:
        axis = self._aligned(values)
        if axis is None:
            return _plus([self._together(v) for v in values])
        parts = zip(*[v.parts for v in values if isinstance(v, Blocks)], strict=True)
        return Blocks(axis, tuple([(same[0][0], _plus([terms for _, terms in same])) for same in parts]))

    def _product(self, node: Node, values: Sequence[Value]) -> Value:
        blocks = [v for v in values if isinstance(v, Blocks)]
        if node.op == "mul" and blocks and self._goes_by_block(node, values):
            parts = []
            for number, (width, _) in enumerate(blocks[0].parts):
                factors = [v.parts[number][1] if isinstance(v, Blocks) else v for v in values]
                parts.append((width, self._of_factors(node, factors)))
            return Blocks(blocks[0].axis, tuple(parts))
        return self._of_factors(node, [self._together(v) for v in values])

    def _goes_by_block(self, node: Node, values: Sequence[Value]) -> bool:
        """Whether a product is that of aligned blocks, or of blocks and one factor for all of them."""
        if self._aligned(values) is not None:
            return True
        shapes = [self.graph.nodes[i].shape for i in node.inputs]
        axes = [v.axis for v in values if isinstance(v, Blocks)]
        return len(axes) == 1 and min(shape[axes[0]] for shape in shapes) == 1

    def _of_factors(self, node: Node, factors: Sequence[Terms]) -> Terms:
        sides: list[Label] = [("factor",)] * 2 if node.op == "mul" else [("operand", 0), ("operand", 1)]
        read = _plus([{self._vertex(side, terms): 1} for side, terms in zip(sides, factors, strict=True)])
        return {self._vertex((node.op,), read): 1}

    def _unary(self, node: Node, value: Value) -> Value:
        shape = self.graph.nodes[node.inputs[0]].shape
        parametric = OPS[node.op].parameters is not None
        label: Label = (node.op, node.attrs)
        if isinstance(value, Blocks):
            operand = self.graph.nodes[node.inputs[0]]
            if is_dense(node, operand, value.axis):
                read = [{self._vertex(("block", width), terms): 1} for width, terms in value.parts]
                return {self._vertex(label, _plus(read), parametric): 1}
            if acts_by_place(node, operand, value.axis):
                blocks = [(w, self._vertex((*label, "block", w), terms, parametric)) for w, terms in value.parts]
                if parametric:
                    self.form.groups.append(tuple([vertex for _, vertex in blocks]))
                return Blocks(value.axis, tuple([(w, {vertex: 1}) for w, vertex in blocks]))
            value = self._together(value)
        if not value:
            label = (*label, "of zero", shape)
        if self.rules.pool_linear and node.op in ("pool", "global_pool") and node.attrs[0] == "avg":
            return self._pooled(node, label, value)
        times = 1
        if self.rules.bn_scale and value:
            common = reduce(gcd, value.values())
            forgets = node.op == "norm" and node.attrs[0] == "batch"
            if common > 1 and (forgets or _is_homogeneous(node)):
                value = {vertex: n // common for vertex, n in value.items()}
                times = 1 if forgets else common
        made = self._vertex(label, value, parametric, joins=False)
        if (node.op == "norm" and not value) or (node.op == "act" and self._flat.issuperset(value)):
            self._flat.add(made)
        return {made: times}

    def _pooled(self, node: Node, label: Label, terms: Terms) -> Terms:
        """The average of a sum, term by term; a map that is the same everywhere is its own average."""
        same_size = node.shape == self.graph.nodes[node.inputs[0]].shape
        keeps = node.op == "pool" and same_size and not node.attr("count_padding")
        total: Terms = {}
        for vertex, times in terms.items():
            made = vertex if keeps and vertex in self._flat else self._vertex(label, {vertex: 1}, joins=False)
            total[made] = total.get(made, 0) + times
        return total


def _is_homogeneous(node: Node) -> bool:
    if node.op == "act":
        return node.attrs[0] in _HOMOGENEOUS_ACTIVATIONS
    return node.op in _HOMOGENEOUS and not (node.op in ("conv", "linear") and node.attr("bias"))


def form_of(graph: Graph, rules: Rules) -> Form:
    """The graph's form under these rules, one vertex an operation."""
    return Former(graph, rules).form


def condensed(form: Form) -> Form:
    """The form with every maximal chain of operations on one tensor, each the only reader of the last, as one."""
    readers = form.readers()
    grouped = {vertex for group in form.groups for vertex in group}
    made = Form()
    place: dict[int, int] = {}
    held: dict[int, tuple[Label, bytes, tuple[tuple[int, int], ...], bool]] = {}
    for vertex, args in enumerate(form.args):
        label, codes, parametric = form.labels[vertex], form.codes[vertex], form.parametric[vertex]
        plain = not form.joins[vertex] and vertex not in grouped
        if plain:
            label = (label,)
            if len(args) == 1 and args[0][0] in held:
                before, first, args, had = held.pop(args[0][0])
                label, codes, parametric = before + label, first + codes, had or parametric
            if len(readers[vertex]) == 1:
                (reader, times) = readers[vertex][0]
                alone = reader >= 0 and times == 1 and len(form.args[reader]) == 1
                if alone and not form.joins[reader] and reader not in grouped:
                    held[vertex] = (label, codes, args, parametric)
                    continue
        terms = {place[a]: times for a, times in args}
        place[vertex] = made.add(label, codes, terms, parametric, not plain, form.places[vertex])
    made.groups = [tuple([place[v] for v in group]) for group in form.groups]
    made.outputs = [(n, {place[a]: times for a, times in terms.items()}, label) for n, terms, label in form.outputs]
    return made


# -- what the vertices look like -------------------------------------------------------------------------------------


def sweep(form: Form, colours: Sequence[bytes] | None = None) -> tuple[list[int], list[int], list[int]]:
    """Values and adjoints of all vertices, and values of the outputs: forward once, back once."""
    codes = [what + colour for what, colour in zip(form.codes, colours, strict=True)] if colours else form.codes
    starts = [0] * len(codes)
    for name, terms, _ in form.outputs:
        for arg, times in terms.items():
            starts[arg] += times * output_adjoint(name)
    values, adjoints = passes(codes, form.args, starts)
    ends = [
        sum(values[a] * times for a, times in terms.items()) % P if terms else prf(code(*zero), 0)[0]
        for _, terms, zero in form.outputs
    ]
    return values, adjoints, ends


def _colours(form: Form, before: Sequence[bytes] | None) -> list[bytes]:
    """One look at every vertex from both sides, as sixteen bytes each."""
    values, adjoints, _ = sweep(form, before)
    looks = [blake2b(pair(*both), digest_size=16).digest() for both in zip(values, adjoints, strict=True)]
    for group in form.groups:
        together = b"".join(sorted(looks[v] for v in group))
        for vertex in group:
            looks[vertex] = blake2b(looks[vertex] + together, digest_size=16).digest()
    return looks


def stable_colours(form: Form, marks: Mapping[int, bytes] | None = None) -> list[bytes]:
    """Colours that more looks do not split further; ``marks`` tell single vertices apart beforehand."""
    start = [marks.get(v, b"") for v in range(len(form.labels))] if marks else None
    colours = _colours(form, start)
    while len(set(colours)) < len(colours):
        finer = _colours(form, colours)
        if len(set(finer)) == len(set(colours)):
            break
        colours = finer
    return colours


def look_alikes(form: Form, colours: Sequence[bytes]) -> list[list[int]]:
    """Vertices with parameters that look alike and are not simply interchangeable (same operands, same readers)."""
    classes: dict[bytes, list[int]] = {}
    for vertex, colour in enumerate(colours):
        if form.parametric[vertex]:
            classes.setdefault(colour, []).append(vertex)
    if len(classes) == sum(form.parametric):
        return []
    readers = form.readers()
    grouped = {vertex for group in form.groups for vertex in group}
    return [
        members
        for _, members in sorted(classes.items())
        if len({(form.args[v], tuple(sorted(readers[v])), v if v in grouped else -1) for v in members}) > 1
    ]


def tie_breaks(form: Form) -> bytes:
    """What tells apart networks whose look-alikes are joined in different ways; empty where there are none.

    Every look-alike in turn is marked and the rest looked at again (one round of individualisation).
    """
    colours = stable_colours(form)
    marked = [v for members in look_alikes(form, colours) for v in members]
    seen = b"".join(sorted(colours))
    if not marked:
        return seen
    if len(marked) * len(form.labels) > _MOST_VISITS:
        return seen + code("ties", len(marked))
    fingerprints = []
    for vertex in marked:
        marks = {v: colour + (b"*" if v == vertex else b"") for v, colour in enumerate(colours)}
        fingerprints.append(b"".join(sorted(stable_colours(form, marks))))
    return seen + b"".join(sorted(blake2b(f, digest_size=16).digest() for f in fingerprints))


def settled_colours(form: Form) -> list[bytes]:
    """Colours that leave alike only what is interchangeable: of look-alikes, the one that is least is told apart."""
    colours = stable_colours(form)
    while alike := look_alikes(form, colours):
        tried = []
        for vertex in alike[0]:
            marks = {v: colour + (b"*" if v == vertex else b"") for v, colour in enumerate(colours)}
            finer = stable_colours(form, marks)
            tried.append((sorted(finer), vertex, finer))
        colours = min(tried)[2]
    return colours
