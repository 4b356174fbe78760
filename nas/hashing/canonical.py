"""The canonical graph of a network: one for all graphs that are the same network."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from nas.hashing.canonical_form import Concatenation, FormBuilder, SymbolicTensor, discrete_colouring
from nas.hashing.equivalence import EXACT
from nas.hashing.prime_field import label_code
from nas.hashing.sums import regroup_sums
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.zero_channels import permutable_region, readers_of


def canonical(graph: Graph) -> Graph:
    """The same network, its operations and the operands that may be swapped in an order that depends on it alone.

    Graphs of one key become one graph, so that training any of them with one seed is the same experiment to the last
    bit. A sum that is part of another is computed once and added as a whole.
    """
    form_builder = FormBuilder(graph, EXACT)
    colours = discrete_colouring(form_builder.form)
    return _order_operations(regroup_sums(graph, [_tensor_signature(value, colours) for value in form_builder.values]))


def _tensor_signature(value: SymbolicTensor, colours: Sequence[bytes], permutable: bool = False) -> bytes:
    """What a tensor is, as sixteen bytes; ``permutable``: whatever the order of its parts."""
    if isinstance(value, Concatenation):
        parts = [label_code("part", width) + _tensor_signature(terms, colours) for width, terms in value.parts]
        content = label_code("concat", value.axis) + b"".join(sorted(parts) if permutable else parts)
    else:
        content = b"".join(
            sorted([colours[v] + multiplicity.to_bytes(8, "little") for v, multiplicity in value.items()])
        )
    return blake2b(content, digest_size=16).digest()


def _permutable_regions(graph: Graph) -> list[set[int]]:
    """The regions of the graph whose blocks of channels may be permuted together."""
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
    """The graph rebuilt with its nodes, and the operands of permutable concatenations, ordered by signature."""
    form_builder = FormBuilder(graph, EXACT)
    colours = discrete_colouring(form_builder.form)
    regions = _permutable_regions(graph)
    permutable = {index for region in regions for index in region}
    signatures = [
        _tensor_signature(value, colours, index in permutable) for index, value in enumerate(form_builder.values)
    ]
    nodes = graph.nodes
    permuted_operands: dict[int, list[int]] = {}  # operands of permutable concatenations, in their order
    for region in regions:
        concats = sorted(
            [index for index in region if nodes[index].op == "concat"], key=lambda index: signatures[index]
        )
        count = len(nodes[concats[0]].inputs)
        order = sorted(range(count), key=lambda p: [signatures[nodes[index].inputs[p]] for index in concats])
        for index in concats:
            permuted_operands[index] = [nodes[index].inputs[p] for p in order]
    builder = Builder(graph.zeros)
    rebuilt: dict[int, Tensor] = {}
    for index in _depth_first(nodes, [end for _, end in sorted(graph.outputs)], signatures):
        inputs = permuted_operands.get(index, nodes[index].inputs)
        rebuilt[index] = builder.rebuild(nodes[index], [rebuilt[i] for i in inputs])
    return builder.build({name: rebuilt[end] for name, end in sorted(graph.outputs)})


def _depth_first(nodes: Sequence[Node], ends: Sequence[int], signatures: Sequence[bytes]) -> list[int]:
    """The nodes in an order of execution: the inputs, then every output's operands, ordered by signature."""
    order = [i for i, node in enumerate(nodes) if node.op == "input"]
    done = set(order)
    for end in ends:
        stack = [end]
        while stack:
            index = stack[-1]
            pending = [i for i in nodes[index].inputs if i not in done]
            if pending and index not in done:
                stack.append(min(pending, key=lambda i: (signatures[i], i)))
                continue
            stack.pop()
            if index not in done:
                done.add(index)
                order.append(index)
    return order
