"""The functional key of anything that can be hashed: a graph, a genotype, a module, or a program that is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nas.hashing.equivalence import DEFAULT, EXACT, Equivalence, parse_equivalence
from nas.hashing.graph_key import graph_key
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape
from search_spaces.registry import import_object
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

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
    different ones get different keys but for collisions of 128 bits and of networks whose operations no refinement of
    colours separates, which ``same_network`` tells apart. A module becomes a graph where every operation is known.
    Everything else is run (``nas.hashing.probe``): its key begins with ``probe-``, equals no exact one, and is right
    with high probability only.

    ``rules`` names what counts as equal (``nas.hashing.equivalence.EQUIVALENCES``), several joined by ``+``; the key
    carries it.

    Raises ``UnknownName`` for rules that do not exist, ``TypeError`` and ``ValueError`` for what cannot be hashed.
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


def _genotype_key(x: Any, space: Space, equivalence: Equivalence) -> str:
    genotype = space.parse(x) if isinstance(x, str) else x
    if not isinstance(genotype, Mapping):
        raise TypeError(f"with a space, functional_hash takes a genotype or an architecture, not {type(x).__name__}")
    if not isinstance(genotype, Genotype):
        genotype = Genotype(genotype)
    if equivalence.notation:
        cell_string: str = import_object(equivalence.notation)(genotype, space)
        return f"{equivalence.text}:{blake2b(cell_string.encode(), digest_size=16).hexdigest()}"
    return graph_key(equivalence.canonical_space(space).graph(genotype), equivalence)


def _shapes(inputs: InputShapes) -> list[Shape]:
    shapes = [shape for shape in inputs if not isinstance(shape, int)]
    return [tuple(shape) for shape in shapes] or [tuple([n for n in inputs if isinstance(n, int)])]


def _module_key(module: Any, inputs: InputShapes | None, equivalence: Equivalence) -> str:
    if inputs is None:
        raise TypeError("functional_hash needs the shapes that a module takes: give inputs=(3, 224, 224)")
    from search_spaces.pytorch.from_module import UnsupportedModule, graph_from_module

    try:
        graph = graph_from_module(module, _shapes(inputs))
    except UnsupportedModule:
        _require_exact(equivalence)
        from nas.hashing.probe import probe_module

        return probe_module(module, _shapes(inputs)).text
    return graph_key(graph, equivalence)


def _probe_key(x: Any, equivalence: Equivalence) -> str:
    from nas.hashing import probe

    is_program = all(callable(getattr(x, part, None)) for part in ("setup", "predict", "learn"))
    if not is_program and not callable(x):
        raise TypeError(
            "functional_hash takes a Graph, a genotype with its space, an nn.Module, a learning program or a callable,"
            f" not {type(x).__name__}"
        )
    _require_exact(equivalence)
    if is_program:
        return probe.probe_program(x.setup, x.predict, x.learn).text
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, type) and issubclass(x, torch.optim.Optimizer):
        return probe.probe_optimizer(x).text
    return probe.probe_callable(x).text


def _require_exact(equivalence: Equivalence) -> None:
    if equivalence != EXACT:
        raise ValueError(f"rules {equivalence.text!r} are about graphs; what is probed by running it has none")
