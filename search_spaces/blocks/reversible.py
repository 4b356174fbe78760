"""Reversible residual blocks as graphs (RevNet, arXiv 1707.04585): ``reversible.py`` trains what they say.

A graph says what is computed, and so what inference costs; how training keeps or recomputes activations is not its
matter. Within a stack the two halves of the channels stay apart: they are sliced once and joined once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search_spaces.blocks.mobile import Norm, inverted_bottleneck
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import GraphError

ResidualFunction = Callable[[Builder, Tensor], Tensor]
Halves = tuple[Tensor, Tensor]


def split_halves(b: Builder, x: Tensor) -> Halves:
    """The first and the second half of the channels."""
    if x.channels % 2:
        raise GraphError(f"a reversible block halves the channels, and {x.channels} is odd")
    half = x.channels // 2
    return b.slice(x, 0, 0, half), b.slice(x, 0, half, x.channels)


def reversible_coupling(b: Builder, halves: Halves, f: ResidualFunction, g: ResidualFunction) -> Halves:
    """``y1 = x1 + f(x2)``, ``y2 = x2 + g(y1)`` (arXiv 1707.04585, sec. 3.1); ``f`` and ``g`` keep the shape."""
    x1, x2 = halves
    with b.scope("f"):
        y1 = f(b, x2)
    y1 = b.add(x1, y1)
    with b.scope("g"):
        y2 = g(b, y1)
    return y1, b.add(x2, y2)


def reversible_stack(b: Builder, x: Tensor, blocks: Sequence[tuple[ResidualFunction, ResidualFunction]]) -> Tensor:
    """Couplings in a row, on the two halves of the channels of ``x``."""
    halves = split_halves(b, x)
    for number, (f, g) in enumerate(blocks):
        with b.scope(f"coupling{number}"):
            halves = reversible_coupling(b, halves, f, g)
    return b.concat(halves)


@block
def reversible_inverted_bottlenecks(
    b: Builder,
    x: Tensor,
    depth: int,
    *,
    expanded: int,
    kernel: int = 3,
    act: str = "relu6",
    squeezed: int = 0,
    norm: Norm = Norm(),
) -> Tensor:
    """A stack of ``depth`` couplings of inverted bottlenecks (arXiv 2104.09648), on images and volumes.

    ``expanded`` and ``squeezed`` are the inner widths of one part, which works on half the channels. Stride is 1: what
    a stride drops cannot be had back.
    """

    def part(b: Builder, half: Tensor) -> Tensor:
        return inverted_bottleneck(
            b, half, half.channels, expanded=expanded, kernel=kernel, act=act, squeezed=squeezed, norm=norm
        )

    return reversible_stack(b, x, [(part, part)] * depth)
