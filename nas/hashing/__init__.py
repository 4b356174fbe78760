"""The key by which networks are recognised, however they are written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nas.hashing.key import graph_key
from nas.hashing.rules import DEFAULT, EXACT, Equivalence, parse_equivalence
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.registry import import_object
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

PROBE = "probe-"
"""What the keys of executed probes begin with."""

InputShapes = Shape | Sequence[Shape]
"""One shape, or several, without the batch axis."""


def functional_hash(
    x: Any,
    *,
    space: str | Path | Callable[..., Graph] | Space | None = None,
    inputs: InputShapes | None = None,
    rules: str = DEFAULT,
) -> str:
    """The key of a network or program: equal where two are the same trainable thing, however they are written.

    ``x`` is a ``Graph``; a ``Genotype``, or an architecture's text, with its ``space``; an ``nn.Module`` with the
    shapes of its ``inputs`` (without the batch axis); a learning program (an object with ``setup``, ``predict`` and
    ``learn``); a class of ``torch.optim.Optimizer``; or any other callable on arrays.

    Keys of graphs are exact: ``exact-2:`` and 32 hex digits, the same in every process. Equal networks get equal keys;
    different ones get different keys but for collisions of 128 bits and of look-alikes, which ``same_network`` tells
    apart. A module becomes a graph where every operation is known. Everything else is run (``nas.hashing.probe``): its key
    begins with ``probe-``, equals no exact one, and is right with high probability only.

    ``rules`` names what counts as equal (``nas.hashing.rules.RULES``), several joined by ``+``; the key carries it.

    Raises ``UnknownName`` for rules that there are not, ``TypeError`` and ``ValueError`` for what cannot be hashed.
    """
    equivalence = parse_equivalence(rules)
    if isinstance(x, Graph):
        if equivalence.notation:
            raise ValueError(f"rules {rules!r} are about a cell as it is written: give the genotype and its space")
        return graph_key(x, equivalence)
    if isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], Space):
        space, x = x
    if space is not None:
        return _genotype_key(x, load_space(space), equivalence)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.nn.Module):
        return _module_key(x, inputs, equivalence)
    if isinstance(x, str | Mapping):
        raise TypeError("functional_hash needs the space of a genotype or an architecture: give space=")
    return _probe_key(x, equivalence)


def _genotype_key(x: Any, space: Space, rules: Equivalence) -> str:
    genotype = space.parse(x) if isinstance(x, str) else x
    if not isinstance(genotype, Mapping):
        raise TypeError(f"with a space, functional_hash takes a genotype or an architecture, not {type(x).__name__}")
    if not isinstance(genotype, Genotype):
        genotype = Genotype(genotype)
    if rules.notation:
        written: str = import_object(rules.notation)(genotype, space)
        return f"{rules.text}:{blake2b(written.encode(), digest_size=16).hexdigest()}"
    return graph_key(rules.canonical_space(space).graph(genotype), rules)


def _shapes(inputs: InputShapes) -> list[Shape]:
    shapes = [shape for shape in inputs if not isinstance(shape, int)]
    return [tuple(shape) for shape in shapes] or [tuple([n for n in inputs if isinstance(n, int)])]


def _module_key(module: Any, inputs: InputShapes | None, rules: Equivalence) -> str:
    if inputs is None:
        raise TypeError("functional_hash needs the shapes that a module takes: give inputs=(3, 224, 224)")
    from search_spaces.pytorch.from_module import UnsupportedModule, graph_from_module

    try:
        graph = graph_from_module(module, _shapes(inputs))
    except UnsupportedModule:
        _require_exact(rules)
        from nas.hashing.probe import probe_module

        return probe_module(module, _shapes(inputs)).text
    return graph_key(graph, rules)


def _probe_key(x: Any, rules: Equivalence) -> str:
    from nas.hashing import probe

    learns = all(callable(getattr(x, part, None)) for part in ("setup", "predict", "learn"))
    if not learns and not callable(x):
        raise TypeError(
            "functional_hash takes a Graph, a genotype with its space, an nn.Module, a learning program or a callable,"
            f" not {type(x).__name__}"
        )
    _require_exact(rules)
    if learns:
        return probe.probe_program(x.setup, x.predict, x.learn).text
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, type) and issubclass(x, torch.optim.Optimizer):
        return probe.probe_optimizer(x).text
    return probe.probe_callable(x).text


def _require_exact(rules: Equivalence) -> None:
    if rules != EXACT:
        raise ValueError(f"rules {rules.text!r} are about graphs; what is probed by running it has none")
