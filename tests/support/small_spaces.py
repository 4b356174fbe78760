"""Two small spaces, for tests of what every space does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose


def tiny(choose: Choose, *, image_size: int = 8, widest: int = 16) -> Graph:
    """A space whose depth decides which kernels there are to choose."""
    b = Builder()
    x = b.conv(b.input((3, image_size, image_size)), choose.one_of("width", (8, widest)), 3)
    for layer in range(choose.int("depth", 0, 2)):
        x = b.conv(x, 8, choose.one_of(f"kernel{layer}", (1, 3, 5)))
    return b.build(b.act(x, choose.one_of("act", ("relu", "hswish"))))


def network(width: int = 4, stride: int = 1) -> Graph:
    """One convolution."""
    b = Builder()
    return b.build(b.conv(b.input((3, 8, 8)), width, 1, stride))


def key(genotype: Mapping[str, Any]) -> tuple[Any, ...]:
    """The decisions and their order, hashable."""
    return tuple(genotype.items())
