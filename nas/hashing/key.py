"""The exact key of a graph."""

from __future__ import annotations

from hashlib import blake2b

from nas.hashing import chains
from nas.hashing.field import code
from nas.hashing.form import condensed, form_of, sweep, tie_breaks
from nas.hashing.rules import Rules
from search_spaces.graph import Graph


def graph_key(graph: Graph, rules: Rules) -> str:
    """The key's text: the rules, and 32 hex digits of what the outputs compute and how every instance takes part."""
    plain = not (rules.pool_linear or rules.bn_scale)
    seen = chains.view(graph) if plain else None
    if seen is not None and len(set(seen.instances)) == len(seen.instances):
        return _text(graph, rules, seen.outputs, seen.instances, b"")
    form = condensed(form_of(graph, rules))
    values, adjoints, ends = sweep(form)
    instances = [(values[v], adjoints[v]) for v, parametric in enumerate(form.parametric) if parametric]
    names = [name for name, _, _ in form.outputs]
    ties = tie_breaks(form) if form.groups or len(set(instances)) < len(instances) else b""
    return _text(graph, rules, tuple(zip(names, ends, strict=True)), instances, ties)


def _text(
    graph: Graph,
    rules: Rules,
    outputs: tuple[tuple[str, int], ...],
    instances: list[tuple[int, int]],
    ties: bytes,
) -> str:
    state = blake2b(digest_size=16, key=rules.text.encode())
    state.update(code("inputs", graph.input_shapes))
    for name, value in sorted(outputs):
        state.update(code("output", name))
        state.update(value.to_bytes(16, "little"))
    state.update(len(instances).to_bytes(8, "little"))
    state.update(b"".join([(value << 127 | adjoint).to_bytes(32, "little") for value, adjoint in sorted(instances)]))
    state.update(ties)
    return f"{rules.text}:{state.hexdigest()}"
