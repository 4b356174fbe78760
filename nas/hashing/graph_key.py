"""The exact functional key of a graph."""

from __future__ import annotations

from hashlib import blake2b

from nas.hashing import chains, trees
from nas.hashing.canonical_form import (
    contract_chains,
    individualisation_digest,
    normal_form_of,
    vertex_values_and_adjoints,
)
from nas.hashing.equivalence import Equivalence
from nas.hashing.prime_field import label_code
from search_spaces.graph.graph import Graph


def graph_key(graph: Graph, equivalence: Equivalence) -> str:
    """The key's text: the rules, and 32 hex digits of what the outputs compute and how every instance takes part.

    Trees are digested as such; other networks by the signatures of their chains, and by their normal form where
    signatures repeat or the rules need it.
    """
    is_exact = not (equivalence.pool_linear or equivalence.bn_scale)
    if is_exact:
        tree = trees.tree_digest(graph)
        if tree is not None:
            return _digest(equivalence, [label_code("inputs", graph.input_shapes), label_code("tree"), tree])
    network = chains.network_signature(graph) if is_exact else None
    if network is not None and len(set(network.signatures)) == len(network.signatures):
        return _key_text(graph, equivalence, network.outputs, network.signatures, b"")
    form = contract_chains(normal_form_of(graph, equivalence))
    values, adjoints, ends = vertex_values_and_adjoints(form)
    signatures = [
        values[v] << 127 | adjoints[v] for v, has_parameters in enumerate(form.has_parameters) if has_parameters
    ]
    names = [name for name, _, _ in form.outputs]
    ties = individualisation_digest(form) if form.instance_groups or len(set(signatures)) < len(signatures) else b""
    return _key_text(graph, equivalence, tuple(zip(names, ends, strict=True)), signatures, ties)


def _key_text(
    graph: Graph,
    equivalence: Equivalence,
    outputs: tuple[tuple[str, int], ...],
    signatures: list[int],
    ties: bytes,
) -> str:
    parts = [label_code("inputs", graph.input_shapes)]
    for name, value in sorted(outputs):
        parts += label_code("output", name), value.to_bytes(16, "little")
    parts.append(len(signatures).to_bytes(8, "little"))
    parts += [signature.to_bytes(32, "little") for signature in sorted(signatures)]
    parts.append(ties)
    return _digest(equivalence, parts)


def _digest(equivalence: Equivalence, parts: list[bytes]) -> str:
    return f"{equivalence.text}:{blake2b(b''.join(parts), digest_size=16, key=equivalence.text.encode()).hexdigest()}"
