"""Graphs of a function of a builder and one input."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape


def built(shape: Shape, network: Callable[[Builder, Tensor], Tensor | dict[str, Tensor]]) -> Graph:
    """The graph of ``network`` on an input of this shape."""
    b = Builder()
    return b.build(network(b, b.input(shape)))
