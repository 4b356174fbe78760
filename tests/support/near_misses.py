"""Pairs of networks that differ in one thing only, many of them with operations that look alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search_spaces.blocks.mobile import tucker
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from tests.support.random_programs import IMAGE

Network = Callable[[Builder, Tensor], Tensor | Mapping[str, Tensor]]


def graph_of(network: Network, shape: tuple[int, ...] = IMAGE) -> Graph:
    b = Builder()
    return b.build(network(b, b.input(shape)))


def residuals(count: int) -> Network:
    return lambda b, x: b.add(x, *[b.norm(b.conv(b.act(x, "relu"), 4, 3)) for _ in range(count)])


def regular(edges: Sequence[tuple[int, int]]) -> Network:
    """Identical convolutions of the input, one a vertex; identical convolutions of their sums, one an edge; summed."""

    def network(b: Builder, x: Tensor) -> Tensor:
        vertices = [b.conv(x, 4) for _ in range(1 + max(max(edge) for edge in edges))]
        return b.add(*[b.conv(b.add(vertices[i], vertices[j]), 4) for i, j in edges])

    return network


def cycles(*lengths: int) -> Network:
    edges, start = [], 0
    for length in lengths:
        edges += [(start + i, start + (i + 1) % length) for i in range(length)]
        start += length
    return regular(edges)


def crossing(*sources: int) -> Network:
    """Branches a, b, c of one kind each; the ``c`` of branch ``i`` reads its ``b`` and the ``a`` of ``sources[i]``."""

    def network(b: Builder, x: Tensor) -> Tensor:
        first = [b.act(b.conv(x, 4), "relu") for _ in sources]
        second = [b.act(b.conv(y, 4), "relu") for y in first]
        return b.add(*[b.conv(b.add(y, first[i]), 4) for y, i in zip(second, sources, strict=True)])

    return network


def shared(copies: int) -> Network:
    def network(b: Builder, x: Tensor) -> Tensor:
        convolutions = [b.conv(x, 4) for _ in range(copies)]
        return b.add(b.act(convolutions[0], "relu"), b.act(convolutions[-1], "tanh"))

    return network


def layered(*steps: Callable[[Builder, Tensor], Tensor]) -> Network:
    def network(b: Builder, x: Tensor) -> Tensor:
        for step in steps:
            x = step(b, x)
        return x

    return network


def conv(b: Builder, x: Tensor, **options: Any) -> Tensor:
    return b.conv(x, options.pop("out", 4), options.pop("kernel", 3), **options)


def one(op: str, *args: Any, **options: Any) -> Network:
    """A convolution, the operation, a convolution."""
    return lambda b, x: b.conv(getattr(b, op)(b.conv(x, 4), *args, **options), 4)


def joined(order: Sequence[int], then: Callable[[Builder, Tensor, Tensor], Tensor], widths: Sequence[int]) -> Network:
    """Convolutions of kernels 1, 3, 5 ... side by side in this order; ``then`` also sees the input."""

    def network(b: Builder, x: Tensor) -> Tensor:
        pieces = [b.conv(x, w, 2 * i + 1) for i, w in enumerate(widths)]
        return then(b, b.concat([pieces[i] for i in order]), x)

    return network


def joined_twice(first: Sequence[int], second: Sequence[int], widths: Sequence[int] = (2, 2, 2, 2)) -> Network:
    def network(b: Builder, x: Tensor) -> Tensor:
        pieces = [b.conv(x, w, 2 * i + 1) for i, w in enumerate(widths)]
        return b.conv(b.add(b.norm(b.concat([pieces[i] for i in first])), b.concat([pieces[i] for i in second])), 4)

    return network


def two_inputs(swap: bool) -> Graph:
    b = Builder()
    x, y = b.input(IMAGE), b.input(IMAGE)
    if swap:
        x, y = y, x
    return b.build(b.add(b.conv(x, 4, 3), y))


def with_unused_inputs(count: int) -> Graph:
    b = Builder()
    inputs = [b.input(IMAGE) for _ in range(count)]
    return b.build(b.conv(inputs[0], 4))


ROOK = [
    (i, j) for i in range(16) for j in range(i) if (i // 4 == j // 4) != (i % 4 == j % 4)
]  # the squares of a 4 by 4 board, a rook's move apart
SHRIKHANDE = [
    (i, j)
    for i in range(16)
    for j in range(i)
    if ((i // 4 - j // 4) % 4, (i % 4 - j % 4) % 4) in {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
]

NEAR_MISSES: dict[str, tuple[Network, Network]] = {
    "two layers, one": (layered(conv, conv), layered(conv)),
    "six layers, five": (layered(*[conv] * 6), layered(*[conv] * 5)),
    "tucker, convolution": (
        lambda b, x: tucker(b, x, 4, input_rank=4, output_rank=4),
        lambda b, x: b.norm(b.conv(x, 4, 3)),
    ),
    "tucker of other ranks": (
        lambda b, x: tucker(b, x, 4, input_rank=4, output_rank=8),
        lambda b, x: tucker(b, x, 4, input_rank=8, output_rank=4),
    ),
    "shared, copied": (shared(1), shared(2)),
    "one convolution for two outputs, two": (
        lambda b, x: dict.fromkeys(("p", "q"), b.conv(x, 4)),
        lambda b, x: {"p": b.conv(x, 4), "q": b.conv(x, 4)},
    ),
    "two residual branches, three": (residuals(2), residuals(3)),
    "x + x, x": (lambda b, x: conv(b, b.add(x, x)), conv),
    "x + x, x + x + x": (lambda b, x: conv(b, b.add(x, x)), lambda b, x: conv(b, b.add(x, x, x))),
    "one convolution twice, two": (
        lambda b, x: (lambda y: b.add(y, y))(b.conv(x, 4)),
        lambda b, x: b.add(b.conv(x, 4), b.conv(x, 4)),
    ),
    "a convolution of a sum, a sum of convolutions": (
        lambda b, x: b.conv(b.add(x, b.act(x, "relu")), 4),
        lambda b, x: b.add(b.conv(x, 4), b.conv(b.act(x, "relu"), 4)),
    ),
    "an activation of a sum, a sum of activations": (
        lambda b, x: b.act(b.add(x, b.conv(x, 4)), "relu"),
        lambda b, x: b.add(b.act(x, "relu"), b.act(b.conv(x, 4), "relu")),
    ),
    "two normalisations, one": (one("norm"), lambda b, x: b.conv(b.norm(b.norm(b.conv(x, 4))), 4)),
    "two normalisations shared, copied": (
        lambda b, x: (lambda y: b.add(b.act(y, "relu"), b.act(y, "tanh")))(b.norm(x)),
        lambda b, x: b.add(b.act(b.norm(x), "relu"), b.act(b.norm(x), "tanh")),
    ),
    "normalise then act, act then normalise": (
        lambda b, x: b.act(b.norm(b.conv(x, 4)), "relu"),
        lambda b, x: b.norm(b.act(b.conv(x, 4), "relu")),
    ),
    "pool then act, act then pool": (
        lambda b, x: b.act(b.pool(x, "avg", 3), "relu"),
        lambda b, x: b.pool(b.act(x, "relu"), "avg", 3),
    ),
    "skip from before an activation, after": (
        lambda b, x: b.add(x, b.conv(b.act(x, "relu"), 4)),
        lambda b, x: (lambda y: b.add(y, b.conv(y, 4)))(b.act(x, "relu")),
    ),
    "a product of equal factors, of two": (
        lambda b, x: (lambda y: b.mul(y, y))(b.conv(x, 4)),
        lambda b, x: b.mul(b.conv(x, 4), b.conv(x, 4)),
    ),
    "a product, a sum": (lambda b, x: b.mul(x, b.conv(x, 4)), lambda b, x: b.add(x, b.conv(x, 4))),
    "a gate that is closed, open": (
        lambda b, x: b.conv(b.mul(x, b.act(b.zero((4, 1, 1)), "sigmoid")), 4),
        lambda b, x: b.conv(x, 4),
    ),
    "an output and its parts": (
        lambda b, x: {"p": b.add(b.conv(x, 4), x), "q": x},
        lambda b, x: (lambda y: {"p": b.add(y, x), "q": y})(b.conv(x, 4)),
    ),
    "an 8-cycle, two 4-cycles": (cycles(8), cycles(4, 4)),
    "a 6-cycle, two triangles": (cycles(6), cycles(3, 3)),
    "a 9-cycle, three triangles": (cycles(9), cycles(3, 3, 3)),
    "a 9-cycle, a 5- and a 4-cycle": (cycles(9), cycles(5, 4)),
    "K3,3 and the prism": (
        regular([(i, j) for i in range(3) for j in range(3, 6)]),
        regular([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)]),
    ),
    "straight skips, crossing ones": (crossing(0, 1), crossing(1, 0)),
    "straight skips, two of three crossing": (crossing(0, 1, 2), crossing(1, 0, 2)),
    "two crossing skips of three, all in a ring": (crossing(1, 0, 2), crossing(1, 2, 0)),
    "skips in two rings of two, in one of four": (crossing(1, 0, 3, 2), crossing(1, 2, 3, 0)),
    "skips in two rings of three, in one of six": (crossing(1, 2, 0, 4, 5, 3), crossing(1, 2, 3, 4, 5, 0)),
    "skips from one branch, from all": (crossing(0, 0, 0), crossing(0, 1, 2)),
    "blocks in another order, grouped convolution": (
        joined((0, 1), lambda b, y, x: b.conv(y, 4, groups=2), (2, 2)),
        joined((1, 0), lambda b, y, x: b.conv(y, 4, groups=2), (2, 2)),
    ),
    "blocks in another order, grouped behind others": (
        joined((0, 1), lambda b, y, x: b.conv(b.act(b.norm(y), "relu"), 6, groups=2), (3, 3)),
        joined((1, 0), lambda b, y, x: b.conv(b.act(b.norm(y), "relu"), 6, groups=2), (3, 3)),
    ),
    "blocks in another order, dense and grouped": (
        joined((0, 1), lambda b, y, x: b.add(b.conv(y, 4), b.conv(y, 4, groups=2)), (2, 2)),
        joined((1, 0), lambda b, y, x: b.add(b.conv(y, 4), b.conv(y, 4, groups=2)), (2, 2)),
    ),
    "blocks in another order, output": (
        joined((0, 1), lambda b, y, x: y, (2, 2)),
        joined((1, 0), lambda b, y, x: y, (2, 2)),
    ),
    "blocks in another order, dense and output": (
        joined((0, 1), lambda b, y, x: b.add(b.act(y, "relu"), b.conv(y, 4)), (2, 2)),
        joined((1, 0), lambda b, y, x: b.add(b.act(y, "relu"), b.conv(y, 4)), (2, 2)),
    ),
    "blocks in another order, added to the input": (
        joined((0, 1), lambda b, y, x: b.conv(b.add(y, x), 4), (2, 2)),
        joined((1, 0), lambda b, y, x: b.conv(b.add(y, x), 4), (2, 2)),
    ),
    "blocks in another order, times the input": (
        joined((0, 1), lambda b, y, x: b.conv(b.mul(y, x), 4), (2, 2)),
        joined((1, 0), lambda b, y, x: b.conv(b.mul(y, x), 4), (2, 2)),
    ),
    "blocks in another order, sliced": (
        joined((0, 1), lambda b, y, x: b.conv(b.slice(y, 0, 0, 2), 4), (2, 2)),
        joined((1, 0), lambda b, y, x: b.conv(b.slice(y, 0, 0, 2), 4), (2, 2)),
    ),
    "blocks in another order, reshaped in pairs": (
        joined((0, 1), lambda b, y, x: b.conv(b.reshape(y, (2, 12, 6)), 4), (2, 2)),
        joined((1, 0), lambda b, y, x: b.conv(b.reshape(y, (2, 12, 6)), 4), (2, 2)),
    ),
    "blocks in another order, channels shuffled": (
        joined((0, 1), lambda b, y, x: b.conv(b.permute(y, (1, 0, 2)), 4, 3), (2, 2)),
        joined((1, 0), lambda b, y, x: b.conv(b.permute(y, (1, 0, 2)), 4, 3), (2, 2)),
    ),
    "blocks in another order, linear layer over another axis": (
        joined((0, 1), lambda b, y, x: b.linear(y, 3), (2, 2)),
        joined((1, 0), lambda b, y, x: b.linear(y, 3), (2, 2)),
    ),
    "rows in another order, dense convolution over channels": (
        lambda b, x: b.conv(b.concat([b.conv(x, 4), b.act(x, "relu")], 1), 4, 3),
        lambda b, x: b.conv(b.concat([b.act(x, "relu"), b.conv(x, 4)], 1), 4, 3),
    ),
    "blocks twice and once": (
        joined((0, 0, 1), lambda b, y, x: b.conv(y, 4), (2, 2)),
        joined((0, 1, 1), lambda b, y, x: b.conv(y, 4), (2, 2)),
    ),
    "one of two concatenations that are added in another order": (
        joined_twice((0, 1), (2, 3)),
        joined_twice((1, 0), (2, 3)),
    ),
    "blocks that are added do not line up": (
        joined_twice((0, 1), (2, 3), (1, 3, 3, 1)),
        joined_twice((1, 0), (2, 3), (1, 3, 3, 1)),
    ),
    "a dense layer on blocks, the sum of one on each": (
        joined((0, 1), lambda b, y, x: b.conv(y, 4), (2, 2)),
        lambda b, x: b.add(b.conv(b.conv(x, 2, 1), 4), b.conv(b.conv(x, 2, 3), 4)),
    ),
    "a grouped convolution, one on each slice": (
        lambda b, x: b.conv(x, 4, groups=2),
        lambda b, x: b.concat([b.conv(b.slice(x, 0, 0, 2), 2), b.conv(b.slice(x, 0, 2, 4), 2)]),
    ),
    "matrix products of two orders": (
        lambda b, x: (lambda p, q: b.matmul(p, q))(b.conv(x, 4), b.act(x, "relu")),
        lambda b, x: (lambda p, q: b.matmul(q, p))(b.conv(x, 4), b.act(x, "relu")),
    ),
}
_ODD = {"kernel": 3, "padding": 2, "dilation": 2}
NEAR_MISSES |= {
    f"convolution, {name}": (
        layered(lambda b, x, o=mine: conv(b, x, **o)),
        layered(lambda b, x, o=other: conv(b, x, **o)),
    )
    for name, mine, other in [
        ("width", {}, {"out": 8}),
        ("kernel", {}, {"kernel": 5}),
        ("kernel of one axis", {"kernel": (1, 3)}, {"kernel": (3, 1)}),
        ("stride", {}, {"stride": 2}),
        ("stride of one axis", {"stride": (1, 2)}, {"stride": (2, 1)}),
        ("padding, same shape", {"padding": [(0, 2), (1, 1)]}, {"padding": [(2, 0), (1, 1)]}),
        ("padding", {"padding": 0}, {"padding": 1}),
        ("dilation", _ODD, {**_ODD, "dilation": 1, "kernel": 5}),
        ("dilation, same shape", {"padding": 2, "dilation": 2}, {"padding": 1}),
        ("groups", {}, {"groups": 2}),
        ("depthwise", {"groups": 2}, {"groups": 4}),
        ("bias", {}, {"bias": True}),
    ]
}
NEAR_MISSES |= {
    f"{mine[0]}, {name}": (one(*mine), one(*other))
    for name, mine, other in [
        ("or none", ("scale", 1.0), ("act", "relu")),
        ("kind of activation", ("act", "relu"), ("act", "relu6")),
        ("kind of activation again", ("act", "silu"), ("act", "gelu")),
        ("factor", ("scale", 0.5), ("scale", 0.25)),
        ("sign", ("scale", 1.0), ("scale", -1.0)),
        ("kind", ("pool", "avg", 3), ("pool", "max", 3)),
        ("kernel", ("pool", "avg", 3), ("pool", "avg", 5)),
        ("kind of global", ("global_pool", "avg"), ("global_pool", "max")),
        ("mode", ("resize", (9, 9), "nearest"), ("resize", (9, 9), "bilinear")),
        ("ranges", ("slice", 0, 0, 2), ("slice", 0, 2, 4)),
        ("ranges of rows", ("slice", 1, 0, 5), ("slice", 1, 1, 6)),
        ("axes", ("permute", (0, 2, 1)), ("permute", (0, 1, 2))),
        ("axis", ("softmax", 0), ("softmax", 1)),
        ("shapes", ("reshape", (4, 4, 9)), ("reshape", (4, 9, 4))),
        ("kind of normalisation", ("norm", "batch"), ("norm", "layer")),
    ]
}
NEAR_MISSES |= {
    "norm, eps": (one("norm"), one("norm", eps=1e-3)),
    "norm, momentum": (one("norm"), one("norm", momentum=0.01)),
    "norm, axis of layers": (one("norm", "layer", axis=0), one("norm", "layer", axis=1)),
    "pool, counted padding": (one("pool", "avg", 3), one("pool", "avg", 3, count_padding=True)),
    "pool, stride": (one("pool", "avg", 3), one("pool", "avg", 3, 2)),
    "pool, padding": (one("pool", "max", 3, padding=[(0, 2), (1, 1)]), one("pool", "max", 3, padding=[(2, 0), (1, 1)])),
    "linear, bias": (one("linear", 4), one("linear", 4, bias=False)),
    "linear, width": (one("linear", 4), one("linear", 5)),
    "outputs, names": (
        lambda b, x: {"p": b.conv(x, 4), "q": b.conv(x, 4, 3)},
        lambda b, x: {"q": b.conv(x, 4), "p": b.conv(x, 4, 3)},
    ),
    "outputs, names of like ones": (
        lambda b, x: (lambda y: {"p": y, "q": b.conv(y, 4)})(b.conv(x, 4)),
        lambda b, x: (lambda y: {"q": y, "p": b.conv(y, 4)})(b.conv(x, 4)),
    ),
    "outputs, one name more": (
        lambda b, x: {"p": b.conv(x, 4)},
        lambda b, x: dict.fromkeys(("p", "q"), b.conv(x, 4)),
    ),
}
