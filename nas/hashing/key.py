"""The exact key of a graph."""

from __future__ import annotations

from hashlib import blake2b

from nas.hashing import chains, trees
from nas.hashing.form import condensed, form_of, sweep, tie_breaks
from nas.hashing.prime_field import code
from nas.hashing.rules import Rules
from search_spaces.graph.graph import Graph


def graph_key(graph: Graph, rules: Rules) -> str:
    """The key's text: the rules, and 32 hex digits of what the outputs compute and how every instance takes part."""
    plain = not (rules.pool_linear or rules.bn_scale)
    if plain:
        tree = trees.tree_code(graph)
        if tree is not None:
            return _digest(rules, [code("inputs", graph.input_shapes), code("tree"), tree])
    seen = chains.view(graph) if plain else None
    if seen is not None and len(set(seen.looks)) == len(seen.looks):
        return _text(graph, rules, seen.outputs, seen.looks, b"")
    form = condensed(form_of(graph, rules))
    values, adjoints, ends = sweep(form)
    looks = [values[v] << 127 | adjoints[v] for v, parametric in enumerate(form.parametric) if parametric]
    names = [name for name, _, _ in form.outputs]
    ties = tie_breaks(form) if form.groups or len(set(looks)) < len(looks) else b""
    return _text(graph, rules, tuple(zip(names, ends, strict=True)), looks, ties)


def _text(
    graph: Graph,
    rules: Rules,
    outputs: tuple[tuple[str, int], ...],
    looks: list[int],
    ties: bytes,
) -> str:
    parts = [code("inputs", graph.input_shapes)]
    for name, value in sorted(outputs):
        parts += code("output", name), value.to_bytes(16, "little")
    parts.append(len(looks).to_bytes(8, "little"))
    parts += [look.to_bytes(32, "little") for look in sorted(looks)]
    parts.append(ties)
    return _digest(rules, parts)


def _digest(rules: Rules, parts: list[bytes]) -> str:
    return f"{rules.text}:{blake2b(b''.join(parts), digest_size=16, key=rules.text.encode()).hexdigest()}"
