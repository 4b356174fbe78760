"""The normal form of a network: a labelled graph without what does not matter, for keys and isomorphism tests.

A form is a directed graph of operations. Sums are gone: an operation reads a multiset of terms. So are
concatenations: a tensor of several blocks of channels keeps them apart as long as operations act on each channel
alone, and a dense convolution or linear layer reads the blocks in any order; whatever depends on the order reads each
block with its position. Two graphs are the same trainable network where their forms are isomorphic: then the parameters
of one, carried over, give the other's function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from hashlib import blake2b
from math import gcd
from typing import NamedTuple

from nas.hashing.equivalence import Equivalence
from nas.hashing.prime_field import PRIME, forward_and_backward, label_code, output_adjoint, pack_pair, prf
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.graph.zero_channels import is_channelwise, is_dense

TermCounts = dict[int, int]
VertexLabel = tuple[object, ...]

# Vertices that individualisation may visit. Beyond it, ambiguous networks share a key and are compared on a match.
_MAX_VISITS = 1_000_000


class Concatenation(NamedTuple):
    """A concatenation: (extent, terms) of its parts along ``axis``, in order."""

    axis: int
    parts: tuple[tuple[int, TermCounts], ...]


SymbolicTensor = TermCounts | Concatenation


class NormalForm:
    """Vertices in topological order; the fields are lists with one entry a vertex, but for the last two.

    labels: what the operation is; for a chain of them, all. codes: the labels as sixteen bytes an operation. operands:
    (vertex, multiplicity). has_parameters: whether it has parameters of its own. is_join: whether it is more than an
    operation on one tensor. node_indices: the graph's node. instance_groups: vertices that one layer of the network
    computes, block by block. outputs: (name, terms, label of an output that is zero), sorted by name.
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
        self, label: VertexLabel, codes: bytes, terms: TermCounts, has_parameters: bool, is_join: bool, node_index: int
    ) -> int:
        """Append a vertex; its number."""
        self.labels.append(label)
        self.codes.append(codes)
        self.operands.append(tuple(sorted(terms.items())))
        self.has_parameters.append(has_parameters)
        self.is_join.append(is_join)
        self.node_indices.append(node_index)
        return len(self.labels) - 1

    def readers(self) -> list[list[tuple[int, int]]]:
        """Who reads each vertex, and how often; outputs are -1, -2 and so on."""
        readers: list[list[tuple[int, int]]] = [[] for _ in self.labels]
        for vertex, operands in enumerate(self.operands):
            for arg, multiplicity in operands:
                readers[arg].append((vertex, multiplicity))
        for output_index, (_, terms, _) in enumerate(self.outputs):
            for arg, multiplicity in terms.items():
                readers[arg].append((-1 - output_index, multiplicity))
        return readers


def _sum_terms(values: Sequence[TermCounts]) -> TermCounts:
    total: TermCounts = {}
    for terms in values:
        for vertex, multiplicity in terms.items():
            total[vertex] = total.get(vertex, 0) + multiplicity
    return total


class FormBuilder:
    """Builds a graph's form; ``values`` are the terms or blocks of each of its nodes.

    ``node_index``: of the node that is being added, and that new vertices belong to.
    """

    def __init__(self, graph: Graph, equivalence: Equivalence) -> None:
        self.graph = graph
        self.equivalence = equivalence
        self.form = NormalForm()
        self.values: list[SymbolicTensor] = []
        self._spatially_constant: set[int] = set()  # what normalised zeros give: a constant for each channel
        self._vertex_of_operation: dict[tuple[bytes, tuple[tuple[int, int], ...]], int] = {}
        input_count = 0
        for index, node in enumerate(graph.nodes):
            self.node_index = index
            if node.op == "input":
                operation_code = label_code("input", input_count, repr(node.attrs).encode())
                label: VertexLabel = ("input", input_count, *node.attrs)
                self.values.append({self.form.add(label, operation_code, {}, False, True, index): 1})
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
        for name, end in graph.outputs:
            terms = self._join_parts(self.values[end])
            zero_label = ("zero", graph.nodes[end].shape) if not terms else ()
            self.form.outputs.append(("" if single else name, terms, zero_label))
        self.form.outputs.sort(key=lambda output: output[0])

    def _add_vertex(
        self, label: VertexLabel, terms: TermCounts, has_parameters: bool = False, is_join: bool = True
    ) -> int:
        operation_code = label_code(*label)
        if has_parameters:
            return self.form.add(label, operation_code, terms, True, is_join, self.node_index)
        key = (operation_code, tuple(sorted(terms.items())))
        if key not in self._vertex_of_operation:
            self._vertex_of_operation[key] = self.form.add(
                label, operation_code, terms, False, is_join, self.node_index
            )
        return self._vertex_of_operation[key]

    def _join_parts(self, value: SymbolicTensor) -> TermCounts:
        """A value as one: every term of every block with the block's position. Linear, so that sums stay sums."""
        if not isinstance(value, Concatenation):
            return value
        extent = sum(width for width, _ in value.parts)
        total: TermCounts = {}
        start = 0
        for width, terms in value.parts:
            for vertex, multiplicity in terms.items():
                label = ("part", value.axis, start, width, extent)
                part = self._add_vertex(label, {vertex: 1})
                total[part] = total.get(part, 0) + multiplicity
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
        merged: list[tuple[int, TermCounts]] = []
        for width, terms in parts:
            if not terms and merged and not merged[-1][1]:  # neighbouring zeros are one
                width += merged.pop()[0]
            merged.append((width, terms))
        return Concatenation(axis, tuple(merged))

    def _common_partition_axis(self, values: Sequence[SymbolicTensor]) -> int | None:
        """The axis along which all values have the same blocks, if there is one."""
        first = values[0]
        if not isinstance(first, Concatenation):
            return None
        widths = [w for w, _ in first.parts]
        is_aligned = [
            isinstance(v, Concatenation) and v.axis == first.axis and [w for w, _ in v.parts] == widths for v in values
        ]
        return first.axis if all(is_aligned) else None

    def _add(self, values: Sequence[SymbolicTensor]) -> SymbolicTensor:
        axis = self._common_partition_axis(values)
        if axis is None:
            return _sum_terms([self._join_parts(v) for v in values])
        parts = zip(*[v.parts for v in values if isinstance(v, Concatenation)], strict=True)
        return Concatenation(axis, tuple([(part[0][0], _sum_terms([terms for _, terms in part])) for part in parts]))

    def _add_product(self, node: Node, values: Sequence[SymbolicTensor]) -> SymbolicTensor:
        blocks = [v for v in values if isinstance(v, Concatenation)]
        if OPS[node.op].elementwise and blocks and self._is_partwise(node, values):
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
        others = [shape for shape, v in zip(shapes, values, strict=True) if not isinstance(v, Concatenation)]
        return len(axes) == 1 and all(shape[axes[0]] == 1 for shape in others)

    def _multiply_terms(self, node: Node, factors: Sequence[TermCounts]) -> TermCounts:
        commutative = OPS[node.op].commutative
        sides: list[VertexLabel] = [("factor",) if commutative else ("operand", i) for i in range(len(factors))]
        operands = _sum_terms([{self._add_vertex(side, terms): 1} for side, terms in zip(sides, factors, strict=True)])
        label: VertexLabel = (node.op, node.attrs) if node.attrs else (node.op,)
        return {self._add_vertex(label, operands, OPS[node.op].parameters is not None): 1}

    def _add_unary(self, node: Node, value: SymbolicTensor) -> SymbolicTensor:
        shape = self.graph.nodes[node.inputs[0]].shape
        operation = OPS[node.op]
        has_parameters = operation.parameters is not None
        label: VertexLabel = (node.op, node.attrs)
        if isinstance(value, Concatenation):
            operand = self.graph.nodes[node.inputs[0]]
            if is_dense(node, operand, value.axis):
                blocks_read = [{self._add_vertex(("block", width), terms): 1} for width, terms in value.parts]
                return {self._add_vertex(label, _sum_terms(blocks_read), has_parameters): 1}
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
        if self.equivalence.pool_linear and operation.pooling(node.attrs) == "avg":
            return self._average_pool(node, label, value)
        multiplicity = 1
        if self.equivalence.bn_scale and value:
            common = reduce(gcd, value.values())
            degree = operation.degree(node.attrs)
            if common > 1 and degree is not None:
                value = {vertex: n // common for vertex, n in value.items()}
                multiplicity = common**degree
        vertex = self._add_vertex(label, value, has_parameters, is_join=False)
        keeps_constant = operation.activation and self._spatially_constant.issuperset(value)
        if keeps_constant or (operation.normalises and not value):
            self._spatially_constant.add(vertex)
        return {vertex: multiplicity}

    def _average_pool(self, node: Node, label: VertexLabel, terms: TermCounts) -> TermCounts:
        """The average of a sum, term by term; a map that is the same everywhere is its own average."""
        same_size = node.shape == self.graph.nodes[node.inputs[0]].shape
        keeps_constants = same_size and OPS[node.op].keeps_constants(node.attrs)
        total: TermCounts = {}
        for vertex, multiplicity in terms.items():
            if not (keeps_constants and vertex in self._spatially_constant):
                vertex = self._add_vertex(label, {vertex: 1}, is_join=False)
            total[vertex] = total.get(vertex, 0) + multiplicity
        return total


def normal_form_of(graph: Graph, equivalence: Equivalence) -> NormalForm:
    """The graph's form under these rules, one vertex an operation."""
    return FormBuilder(graph, equivalence).form


def contract_chains(form: NormalForm) -> NormalForm:
    """The form with every maximal chain of operations on one tensor, each the only reader of the last, as one."""
    readers = form.readers()
    grouped = {vertex for group in form.instance_groups for vertex in group}
    contracted = NormalForm()
    number: dict[int, int] = {}  # of a vertex's chain in the contracted form
    open_chains: dict[int, tuple[VertexLabel, bytes, tuple[tuple[int, int], ...], bool]] = {}
    for vertex, operands in enumerate(form.operands):
        label, codes, has_parameters = form.labels[vertex], form.codes[vertex], form.has_parameters[vertex]
        in_chain = not form.is_join[vertex] and vertex not in grouped
        if in_chain:
            label = (label,)
            if len(operands) == 1 and operands[0][0] in open_chains:
                labels_before, codes_before, operands, had_parameters = open_chains.pop(operands[0][0])
                label, codes = labels_before + label, codes_before + codes
                has_parameters = had_parameters or has_parameters
            if len(readers[vertex]) == 1:
                (reader, multiplicity) = readers[vertex][0]
                is_unary = reader >= 0 and multiplicity == 1 and len(form.operands[reader]) == 1
                if is_unary and not form.is_join[reader] and reader not in grouped:
                    open_chains[vertex] = (label, codes, operands, has_parameters)
                    continue
        terms = {number[a]: multiplicity for a, multiplicity in operands}
        number[vertex] = contracted.add(label, codes, terms, has_parameters, not in_chain, form.node_indices[vertex])
    contracted.instance_groups = [tuple([number[v] for v in group]) for group in form.instance_groups]
    contracted.outputs = [
        (name, {number[a]: multiplicity for a, multiplicity in terms.items()}, label)
        for name, terms, label in form.outputs
    ]
    return contracted


# -- signatures and colours of the vertices -------------------------------------------------------------------------


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
    """One round of refinement: the signature of every vertex, as sixteen bytes each."""
    values, adjoints, _ = vertex_values_and_adjoints(form, before)
    signatures = [blake2b(pack_pair(*both), digest_size=16).digest() for both in zip(values, adjoints, strict=True)]
    for group in form.instance_groups:
        group_signature = b"".join(sorted(signatures[v] for v in group))
        for vertex in group:
            signatures[vertex] = blake2b(signatures[vertex] + group_signature, digest_size=16).digest()
    return signatures


def stable_colouring(form: NormalForm, individualised: Mapping[int, bytes] | None = None) -> list[bytes]:
    """Colours that no further round refines; ``individualised``: colours of single vertices to start with."""
    start = [individualised.get(v, b"") for v in range(len(form.labels))] if individualised else None
    colours = _refined_colours(form, start)
    while len(set(colours)) < len(colours):
        finer = _refined_colours(form, colours)
        if len(set(finer)) == len(set(colours)):
            break
        colours = finer
    return colours


def ambiguous_vertices(form: NormalForm, colours: Sequence[bytes]) -> list[list[int]]:
    """Classes of vertices with parameters, of one colour and not simply interchangeable (same operands and readers)."""
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
    """What tells apart networks whose ambiguous vertices are joined in different ways.

    One round of individualisation: every ambiguous vertex in turn gets a colour of its own, and the rest is refined.
    """
    colours = stable_colouring(form)
    ambiguous_members = [v for members in ambiguous_vertices(form, colours) for v in members]
    colouring = b"".join(sorted(colours))
    if not ambiguous_members:
        return colouring
    if len(ambiguous_members) * len(form.labels) > _MAX_VISITS:
        return colouring + label_code("ties", len(ambiguous_members))
    fingerprints = []
    for vertex in ambiguous_members:
        individualised = {v: colour + (b"*" if v == vertex else b"") for v, colour in enumerate(colours)}
        fingerprints.append(b"".join(sorted(stable_colouring(form, individualised))))
    return colouring + b"".join(sorted(blake2b(f, digest_size=16).digest() for f in fingerprints))


def discrete_colouring(form: NormalForm) -> list[bytes]:
    """Colours that only interchangeable vertices share: of ambiguous ones, one is set apart."""
    colours = stable_colouring(form)
    while ambiguous := ambiguous_vertices(form, colours):
        candidates = []
        for vertex in ambiguous[0]:
            individualised = {v: colour + (b"*" if v == vertex else b"") for v, colour in enumerate(colours)}
            finer = stable_colouring(form, individualised)
            candidates.append((sorted(finer), vertex, finer))
        colours = min(candidates)[2]
    return colours
