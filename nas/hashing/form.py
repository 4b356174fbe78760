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

from nas.hashing.prime_field import PRIME, forward_and_backward, label_code, output_adjoint, pack_pair, prf
from nas.hashing.rules import Equivalence
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.graph.zero_channels import is_channelwise, is_dense

TermCounts = dict[int, int]
VertexLabel = tuple[object, ...]

# Operations f with f(cx) = c f(x) for every c > 0, where they have no bias
_HOMOGENEOUS = ("conv", "linear", "layer_scale", "reshape", "permute", "slice", "resize", "scale")
_HOMOGENEOUS_ACTIVATIONS = ("relu", "leaky_relu")
# The work that telling look-alikes apart may take: vertices visited. Beyond it, comparing on a match has to do.
_MAX_VISITS = 1_000_000


class Concatenation(NamedTuple):
    """A concatenation: (extent, terms) of its parts along ``axis``, in order."""

    axis: int
    parts: tuple[tuple[int, TermCounts], ...]


SymbolicTensor = TermCounts | Concatenation


class NormalForm:
    """Vertices in topological order; the fields are lists with one entry a vertex, but for the last two.

    labels: what the operation is; for a chain of them, all. args: (vertex, how often). parametric: whether it has
    parameters of its own. joins: whether it is more than an operation on one tensor. places: the graph's node.
    groups: vertices that one instance computes, block by block. outputs: terms by name.
    """

    def __init__(self) -> None:
        self.labels: list[VertexLabel] = []
        self.codes: list[bytes] = []
        self.operands: list[tuple[tuple[int, int], ...]] = []
        self.has_parameters: list[bool] = []
        self.is_join: list[bool] = []
        self.node_indices: list[int] = []
        self.instance_groups: list[tuple[int, ...]] = []
        self.outputs: list[tuple[str, TermCounts, VertexLabel]] = []

    def add(
        self, label: VertexLabel, codes: bytes, terms: TermCounts, has_parameters: bool, is_join: bool, place: int
    ) -> int:
        self.labels.append(label)
        self.codes.append(codes)
        self.operands.append(tuple(sorted(terms.items())))
        self.has_parameters.append(has_parameters)
        self.is_join.append(is_join)
        self.node_indices.append(place)
        return len(self.labels) - 1

    def readers(self) -> list[list[tuple[int, int]]]:
        """Who reads each vertex, and how often; outputs are -1, -2 and so on."""
        readers: list[list[tuple[int, int]]] = [[] for _ in self.labels]
        for vertex, operands in enumerate(self.operands):
            for arg, multiplicity in operands:
                readers[arg].append((vertex, multiplicity))
        for place, (_, terms, _) in enumerate(self.outputs):
            for arg, multiplicity in terms.items():
                readers[arg].append((-1 - place, multiplicity))
        return readers


def _sum_terms(values: Sequence[TermCounts]) -> TermCounts:
    total: TermCounts = {}
    for terms in values:
        for vertex, multiplicity in terms.items():
            total[vertex] = total.get(vertex, 0) + multiplicity
    return total


class FormBuilder:
    """Builds a graph's form; ``values`` are the terms or blocks of each of its nodes."""

    def __init__(self, graph: Graph, equivalence: Equivalence) -> None:
        self.graph = graph
        self.equivalence = equivalence
        self.form = NormalForm()
        self.values: list[SymbolicTensor] = []
        self._spatially_constant: set[int] = set()  # what normalised zeros give: a constant for each channel
        self._vertex_of_operation: dict[tuple[bytes, tuple[tuple[int, int], ...]], int] = {}
        input_count = 0
        for place, node in enumerate(graph.nodes):
            self.place = place
            if node.op == "input":
                operation_code = label_code("input", input_count, repr(node.attrs).encode())
                label: VertexLabel = ("input", input_count, *node.attrs)
                self.values.append({self.form.add(label, operation_code, {}, False, True, place): 1})
                input_count += 1
            elif node.op == "zero":
                self.values.append({})
            elif node.op == "concat":
                self.values.append(self._add_concatenation(node))
            elif node.op == "add":
                self.values.append(self._add([self.values[i] for i in node.inputs]))
            elif len(node.inputs) == 1:
                self.values.append(self._add_unary(node, self.values[node.inputs[0]]))
            else:
                self.values.append(self._add_product(node, [self.values[i] for i in node.inputs]))
        single = len(graph.outputs) == 1
        for name, index in graph.outputs:
            shown = "" if single else name
            terms = self._join_parts(self.values[index])
            self.form.outputs.append((shown, terms, ("zero", graph.nodes[index].shape) if not terms else ()))
        self.form.outputs.sort(key=lambda output: output[0])

    def _add_vertex(
        self, label: VertexLabel, terms: TermCounts, has_parameters: bool = False, is_join: bool = True
    ) -> int:
        operation_code = label_code(*label)
        if has_parameters:
            return self.form.add(label, operation_code, terms, True, is_join, self.place)
        key = (operation_code, tuple(sorted(terms.items())))
        if key not in self._vertex_of_operation:
            self._vertex_of_operation[key] = self.form.add(label, operation_code, terms, False, is_join, self.place)
        return self._vertex_of_operation[key]

    def _join_parts(self, value: SymbolicTensor) -> TermCounts:
        """A value as one: every term of every block with the block's place. Linear, so that sums stay sums."""
        if not isinstance(value, Concatenation):
            return value
        extent = sum(width for width, _ in value.parts)
        total: TermCounts = {}
        start = 0
        for width, terms in value.parts:
            for vertex, multiplicity in terms.items():
                label = ("part", value.axis, start, width, extent)
                placed = self._add_vertex(label, {vertex: 1})
                total[placed] = total.get(placed, 0) + multiplicity
            start += width
        return total

    def _add_concatenation(self, node: Node) -> SymbolicTensor:
        axis: int = node.attrs[0]
        parts: list[tuple[int, TermCounts]] = []
        for i in node.inputs:
            value = self.values[i]
            if isinstance(value, Concatenation) and value.axis == axis:
                parts.extend(value.parts)
            else:
                parts.append((self.graph.nodes[i].shape[axis], self._join_parts(value)))
        together: list[tuple[int, TermCounts]] = []
        for width, terms in parts:
            if not terms and together and not together[-1][1]:  # neighbouring zeros are one
                width += together.pop()[0]
            together.append((width, terms))
        return Concatenation(axis, tuple(together))

    def _common_partition_axis(self, values: Sequence[SymbolicTensor]) -> int | None:
        """The axis along which all values have the same blocks, if there is one."""
        first = values[0]
        if not isinstance(first, Concatenation):
            return None
        widths = [w for w, _ in first.parts]
        ambiguous = [
            isinstance(v, Concatenation) and v.axis == first.axis and [w for w, _ in v.parts] == widths for v in values
        ]
        return first.axis if all(ambiguous) else None

    def _add(self, values: Sequence[SymbolicTensor]) -> SymbolicTensor:
        axis = self._common_partition_axis(values)
        if axis is None:
            return _sum_terms([self._join_parts(v) for v in values])
        parts = zip(*[v.parts for v in values if isinstance(v, Concatenation)], strict=True)
        return Concatenation(axis, tuple([(same[0][0], _sum_terms([terms for _, terms in same])) for same in parts]))

    def _add_product(self, node: Node, values: Sequence[SymbolicTensor]) -> SymbolicTensor:
        blocks = [v for v in values if isinstance(v, Concatenation)]
        if node.op == "mul" and blocks and self._is_partwise(node, values):
            parts = []
            for number, (width, _) in enumerate(blocks[0].parts):
                factors = [v.parts[number][1] if isinstance(v, Concatenation) else v for v in values]
                parts.append((width, self._multiply_terms(node, factors)))
            return Concatenation(blocks[0].axis, tuple(parts))
        return self._multiply_terms(node, [self._join_parts(v) for v in values])

    def _is_partwise(self, node: Node, values: Sequence[SymbolicTensor]) -> bool:
        """Whether a product is that of aligned blocks, or of blocks and one factor for all of them."""
        if self._common_partition_axis(values) is not None:
            return True
        shapes = [self.graph.nodes[i].shape for i in node.inputs]
        axes = [v.axis for v in values if isinstance(v, Concatenation)]
        return len(axes) == 1 and min(shape[axes[0]] for shape in shapes) == 1

    def _multiply_terms(self, node: Node, factors: Sequence[TermCounts]) -> TermCounts:
        sides: list[VertexLabel] = [("factor",)] * 2 if node.op == "mul" else [("operand", 0), ("operand", 1)]
        read = _sum_terms([{self._add_vertex(side, terms): 1} for side, terms in zip(sides, factors, strict=True)])
        return {self._add_vertex((node.op,), read): 1}

    def _add_unary(self, node: Node, value: SymbolicTensor) -> SymbolicTensor:
        shape = self.graph.nodes[node.inputs[0]].shape
        has_parameters = OPS[node.op].parameters is not None
        label: VertexLabel = (node.op, node.attrs)
        if isinstance(value, Concatenation):
            operand = self.graph.nodes[node.inputs[0]]
            if is_dense(node, operand, value.axis):
                read = [{self._add_vertex(("block", width), terms): 1} for width, terms in value.parts]
                return {self._add_vertex(label, _sum_terms(read), has_parameters): 1}
            if is_channelwise(node, operand, value.axis):
                blocks = [
                    (w, self._add_vertex((*label, "block", w), terms, has_parameters)) for w, terms in value.parts
                ]
                if has_parameters:
                    self.form.instance_groups.append(tuple([vertex for _, vertex in blocks]))
                return Concatenation(value.axis, tuple([(w, {vertex: 1}) for w, vertex in blocks]))
            value = self._join_parts(value)
        if not value:
            label = (*label, "of zero", shape)
        if self.equivalence.pool_linear and node.op in ("pool", "global_pool") and node.attrs[0] == "avg":
            return self._average_pool(node, label, value)
        multiplicity = 1
        if self.equivalence.bn_scale and value:
            common = reduce(gcd, value.values())
            forgets = node.op == "norm" and node.attrs[0] == "batch"
            if common > 1 and (forgets or _is_homogeneous(node)):
                value = {vertex: n // common for vertex, n in value.items()}
                multiplicity = 1 if forgets else common
        made = self._add_vertex(label, value, has_parameters, is_join=False)
        if (node.op == "norm" and not value) or (node.op == "act" and self._spatially_constant.issuperset(value)):
            self._spatially_constant.add(made)
        return {made: multiplicity}

    def _average_pool(self, node: Node, label: VertexLabel, terms: TermCounts) -> TermCounts:
        """The average of a sum, term by term; a map that is the same everywhere is its own average."""
        same_size = node.shape == self.graph.nodes[node.inputs[0]].shape
        keeps = node.op == "pool" and same_size and not node.attr("count_padding")
        total: TermCounts = {}
        for vertex, multiplicity in terms.items():
            made = (
                vertex
                if keeps and vertex in self._spatially_constant
                else self._add_vertex(label, {vertex: 1}, is_join=False)
            )
            total[made] = total.get(made, 0) + multiplicity
        return total


def _is_homogeneous(node: Node) -> bool:
    if node.op == "act":
        return node.attrs[0] in _HOMOGENEOUS_ACTIVATIONS
    return node.op in _HOMOGENEOUS and not (node.op in ("conv", "linear") and node.attr("bias"))


def normal_form_of(graph: Graph, equivalence: Equivalence) -> NormalForm:
    """The graph's form under these rules, one vertex an operation."""
    return FormBuilder(graph, equivalence).form


def contract_chains(form: NormalForm) -> NormalForm:
    """The form with every maximal chain of operations on one tensor, each the only reader of the last, as one."""
    readers = form.readers()
    grouped = {vertex for group in form.instance_groups for vertex in group}
    made = NormalForm()
    place: dict[int, int] = {}
    held: dict[int, tuple[VertexLabel, bytes, tuple[tuple[int, int], ...], bool]] = {}
    for vertex, operands in enumerate(form.operands):
        label, codes, has_parameters = form.labels[vertex], form.codes[vertex], form.has_parameters[vertex]
        plain = not form.is_join[vertex] and vertex not in grouped
        if plain:
            label = (label,)
            if len(operands) == 1 and operands[0][0] in held:
                before, first, operands, had = held.pop(operands[0][0])
                label, codes, has_parameters = before + label, first + codes, had or has_parameters
            if len(readers[vertex]) == 1:
                (reader, multiplicity) = readers[vertex][0]
                alone = reader >= 0 and multiplicity == 1 and len(form.operands[reader]) == 1
                if alone and not form.is_join[reader] and reader not in grouped:
                    held[vertex] = (label, codes, operands, has_parameters)
                    continue
        terms = {place[a]: multiplicity for a, multiplicity in operands}
        place[vertex] = made.add(label, codes, terms, has_parameters, not plain, form.node_indices[vertex])
    made.instance_groups = [tuple([place[v] for v in group]) for group in form.instance_groups]
    made.outputs = [
        (n, {place[a]: multiplicity for a, multiplicity in terms.items()}, label) for n, terms, label in form.outputs
    ]
    return made


# -- what the vertices look like -------------------------------------------------------------------------------------


def vertex_values_and_adjoints(
    form: NormalForm, colours: Sequence[bytes] | None = None
) -> tuple[list[int], list[int], list[int]]:
    """Values and adjoints of all vertices, and values of the outputs: forward once, back once."""
    codes = (
        [operation_code + colour for operation_code, colour in zip(form.codes, colours, strict=True)]
        if colours
        else form.codes
    )
    starts = [0] * len(codes)
    for name, terms, _ in form.outputs:
        for arg, multiplicity in terms.items():
            starts[arg] += multiplicity * output_adjoint(name)
    values, adjoints = forward_and_backward(codes, form.operands, starts)
    ends = [
        sum(values[a] * multiplicity for a, multiplicity in terms.items()) % PRIME
        if terms
        else prf(label_code(*zero), 0)[0]
        for _, terms, zero in form.outputs
    ]
    return values, adjoints, ends


def _refined_colours(form: NormalForm, before: Sequence[bytes] | None) -> list[bytes]:
    """One look at every vertex from both sides, as sixteen bytes each."""
    values, adjoints, _ = vertex_values_and_adjoints(form, before)
    signatures = [blake2b(pack_pair(*both), digest_size=16).digest() for both in zip(values, adjoints, strict=True)]
    for group in form.instance_groups:
        together = b"".join(sorted(signatures[v] for v in group))
        for vertex in group:
            signatures[vertex] = blake2b(signatures[vertex] + together, digest_size=16).digest()
    return signatures


def stable_colouring(form: NormalForm, individualised: Mapping[int, bytes] | None = None) -> list[bytes]:
    """Colours that more looks do not split further; ``individualised`` tell single vertices apart beforehand."""
    start = [individualised.get(v, b"") for v in range(len(form.labels))] if individualised else None
    colours = _refined_colours(form, start)
    while len(set(colours)) < len(colours):
        finer = _refined_colours(form, colours)
        if len(set(finer)) == len(set(colours)):
            break
        colours = finer
    return colours


def ambiguous_vertices(form: NormalForm, colours: Sequence[bytes]) -> list[list[int]]:
    """Vertices with parameters that look alike and are not simply interchangeable (same operands, same readers)."""
    classes: dict[bytes, list[int]] = {}
    for vertex, colour in enumerate(colours):
        if form.has_parameters[vertex]:
            classes.setdefault(colour, []).append(vertex)
    if len(classes) == sum(form.has_parameters):
        return []
    readers = form.readers()
    grouped = {vertex for group in form.instance_groups for vertex in group}
    return [
        members
        for _, members in sorted(classes.items())
        if len({(form.operands[v], tuple(sorted(readers[v])), v if v in grouped else -1) for v in members}) > 1
    ]


def individualisation_digest(form: NormalForm) -> bytes:
    """What tells apart networks whose look-alikes are joined in different ways; empty where there are none.

    Every look-alike in turn is marked and the rest looked at again (one round of individualisation).
    """
    colours = stable_colouring(form)
    ambiguous_members = [v for members in ambiguous_vertices(form, colours) for v in members]
    seen = b"".join(sorted(colours))
    if not ambiguous_members:
        return seen
    if len(ambiguous_members) * len(form.labels) > _MAX_VISITS:
        return seen + label_code("ties", len(ambiguous_members))
    fingerprints = []
    for vertex in ambiguous_members:
        individualised = {v: colour + (b"*" if v == vertex else b"") for v, colour in enumerate(colours)}
        fingerprints.append(b"".join(sorted(stable_colouring(form, individualised))))
    return seen + b"".join(sorted(blake2b(f, digest_size=16).digest() for f in fingerprints))


def discrete_colouring(form: NormalForm) -> list[bytes]:
    """Colours that leave alike only what is interchangeable: of look-alikes, the one that is least is told apart."""
    colours = stable_colouring(form)
    while ambiguous := ambiguous_vertices(form, colours):
        candidates = []
        for vertex in ambiguous[0]:
            individualised = {v: colour + (b"*" if v == vertex else b"") for v, colour in enumerate(colours)}
            finer = stable_colouring(form, individualised)
            candidates.append((sorted(finer), vertex, finer))
        colours = min(candidates)[2]
    return colours
