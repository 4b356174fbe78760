"""Any space for images of any number of channels: grey, or the bands of a multispectral camera."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space

OPTION = "image_channels"
_COLOUR = 3


def _network_with_channels(choose: Choose, *, space: Space, image_channels: int = _COLOUR, **options: Any) -> Graph:
    """The space's network with as many channels in place of every colour image that it takes."""
    graph = space.function(choose, **{**space.options, **options})
    if image_channels == _COLOUR:
        return graph
    builder = Builder(graph.zeros)
    rebuilt: list[Tensor] = []
    try:
        for node in graph.nodes:
            if node.op == "input" and node.shape[0] == _COLOUR:
                rebuilt.append(builder.input((image_channels, *node.shape[1:])))
            else:
                rebuilt.append(builder.rebuild(node, [rebuilt[j] for j in node.inputs]))
    except GraphError as error:
        raise SpaceError(
            f"space {space.name!r} makes a network that cannot take {image_channels} channels: {error}; give its"
            f" function a keyword argument {OPTION}"
        ) from None
    return builder.build({name: rebuilt[index] for name, index in graph.outputs})


def space_for_channels(space: Space, image_channels: int) -> Space:
    """``space`` for images of so many channels, by its own option ``image_channels`` where it has one.

    Raises ``SpaceError`` for a number below 1.
    """
    if image_channels < 1:
        raise SpaceError(f"images have at least one channel, not {image_channels}")
    if not space.accepts(OPTION):
        function = partial(_network_with_channels, space=space)
        channels = inspect.Parameter(OPTION, inspect.Parameter.KEYWORD_ONLY, default=_COLOUR)
        parameters = [*inspect.signature(space.function).parameters.values(), channels]
        function.__signature__ = inspect.Signature(sorted(parameters, key=lambda p: p.kind))  # type: ignore[attr-defined]
        space = Space(function, space.name, space.options, space.notation, cheap_twin=space)
    return space.with_options(**{OPTION: image_channels})
