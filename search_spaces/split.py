"""Split computing: an early bottleneck whose narrow tensor crosses a network link, and the bytes that cross a cut."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from search_spaces.blocks import Norm
from search_spaces.builder import Builder, Tensor, block
from search_spaces.graph import Graph
from search_spaces.ops import GraphError

BOTTLEFIT_WIDTHS = (512, 512, 512, 512)  # ResNet-152's; it replaces the network up to its second stage


# -- the bottleneck ----------------------------------------------------------------------------------------------------


@block
def split_encoder(b: Builder, x: Tensor, channels: int, *, stride: int = 2) -> Tensor:
    """What the device ends with: a linear 2x2 convolution to a few ``channels``. Its output crosses the link."""
    return b.conv(x, channels, 2, stride, padding=1)


@block
def split_decoder(
    b: Builder,
    z: Tensor,
    widths: tuple[int, ...] = BOTTLEFIT_WIDTHS,
    *,
    pool_stride: int = 1,
    act: str = "relu",
    norm: Norm = Norm(),
) -> Tensor:
    """What the server begins with: normalisation, then 2x2 convolutions of ``widths``, the last one linear, pooled.

    The first half of the convolutions pad by one and so grow the map by one, the others shrink it.
    """
    y = b.act(b.norm(z, eps=norm.eps, momentum=norm.momentum), act)
    for place, width in enumerate(widths):
        if place:
            y = b.act(b.norm(y, eps=norm.eps, momentum=norm.momentum), act)
        y = b.conv(y, width, 2, padding=int(place < len(widths) // 2))
    return b.pool(y, "avg", 2, pool_stride, padding="valid")


@block
def split_bottleneck(
    b: Builder,
    x: Tensor,
    channels: int,
    *,
    widths: tuple[int, ...] = BOTTLEFIT_WIDTHS,
    stride: int = 2,
    pool_stride: int = 1,
    act: str = "relu",
    norm: Norm = Norm(),
) -> Tensor:
    """Encoder to ``channels`` channels and decoder back, as BottleFit puts them early (arXiv 2201.02693).

    The default ``widths`` are those for ResNet-152, where an even extent ``n`` ends at ``n / 2``; those for
    DenseNet-169 and -201 are ``(512, 512, 256, 256, 256)`` with ``pool_stride=2``. In the authors' code
    (``bottlefit-split_computing``: ``custom/model.py``, version 2; ``sc2-benchmark``: ``sc2bench/models/layer.py``) it
    follows the stem, its pooling, normalisation and ReLU.
    """
    z = split_encoder(b, x, channels, stride=stride)
    return split_decoder(b, z, widths, pool_stride=pool_stride, act=act, norm=norm)


@block
def bottlefit_resnet(b: Builder, image: Tensor, channels: int = 12) -> Tensor:
    """BottleFit's replacement of ResNet's first two stages: image to 512 channels at an eighth of its size."""
    y = b.norm(b.conv(image, 64, 7, 2, padding=3))
    y = b.pool(b.act(y, "relu"), "max", 3, 2, padding=1)
    return split_bottleneck(b, b.act(b.norm(y), "relu"), channels)


# -- the bytes ---------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """A graph cut behind one node: the device runs it and all before it, the server the rest.

    ``tensors`` are the nodes whose values the server needs, outputs that the device makes among them; ``bytes`` is
    what they take for one input. ``device_macs`` and ``device_params`` are what the device has of the network.
    """

    node: int
    tensors: tuple[int, ...]
    bytes: int
    device_macs: int
    device_params: int


def _cuts(graph: Graph, bits: int) -> Iterator[Cut]:
    """The cut behind every node, in order."""
    if bits < 1:
        raise GraphError(f"bits must be at least 1, not {bits}")
    nodes = graph.nodes
    last = {i: place for place, node in enumerate(nodes) for i in node.inputs}
    last.update((index, len(nodes)) for _, index in graph.outputs)
    # Inputs are on the device from the start; a constant zero is nowhere and need not be sent.
    alive = [i for i, node in enumerate(nodes) if node.op == "input" and i in last]
    macs = params = 0
    for place, figures in enumerate(graph.figures()):
        macs, params = macs + figures.macs, params + figures.params
        if nodes[place].op not in ("input", "zero"):
            alive.append(place)
        alive = [i for i in alive if last[i] > place]
        needed = sum(-(-prod(nodes[i].shape) * bits // 8) for i in alive)
        yield Cut(place, tuple(alive), needed, macs, params)


def separators(graph: Graph, *, bits: int = 32) -> tuple[Cut, ...]:
    """The cuts that one tensor crosses alone: nodes that every path from an input to an output runs through.

    In other words the nodes that dominate the end of the graph. Inputs and outputs are none: a cut there leaves one
    side with nothing to do.
    """
    nodes, ends = graph.nodes, {index for _, index in graph.outputs}
    single = [cut for cut in _cuts(graph, bits) if cut.tensors == (cut.node,)]
    return tuple([cut for cut in single if cut.node not in ends and nodes[cut.node].op != "input"])


def narrowest_cut(graph: Graph, *, bits: int = 32, device_macs: int | None = None) -> Cut:
    """The separator that takes the fewest bytes, the earliest of equals.

    A classifier is narrowest behind its pooling, where all is done: ``device_macs`` says how many multiply-adds the
    device may have. Raises ``GraphError`` where no separator is so early.
    """
    found = [cut for cut in separators(graph, bits=bits) if device_macs is None or cut.device_macs <= device_macs]
    if not found:
        limit = "" if device_macs is None else f" within {device_macs} multiply-adds"
        raise GraphError(f"no single tensor separates inputs from outputs{limit}; raise the limit or name a node")
    return min(found, key=lambda cut: cut.bytes)


def bytes_across(graph: Graph, cut: int | str | None = None, *, bits: int = 32) -> int:
    """Bytes that cross a link for one input, each element in ``bits``.

    ``cut`` is a node's number or an output's name, and then counts everything that later nodes need of it and of those
    before it; or ``None`` for the narrowest separator.
    """
    if cut is None:
        return narrowest_cut(graph, bits=bits).bytes
    outputs = dict(graph.outputs)
    place = outputs.get(cut) if isinstance(cut, str) else cut
    if place is None or not 0 <= place < len(graph):
        raise GraphError(f"no cut {cut!r}; a node's number below {len(graph)}, or an output: {', '.join(outputs)}")
    return next(c.bytes for c in _cuts(graph, bits) if c.node == place)
