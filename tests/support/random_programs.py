"""Random networks over the builder's whole vocabulary, for properties that must hold for every one.

A program is a tuple of steps. Steps choose their operands by shape alone, so a program builds the same network
whether its calls run as blocks or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from hypothesis import strategies as st

from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import ACTIVATIONS

IMAGE = (4, 6, 6)
Program = tuple[tuple[Any, ...], tuple[int, ...]]

# Frequent steps are those whose rules meet each other.
KINDS = [
    *("conv", "conv", "conv1", "conv_any", "act", "act", "act", "act_any", "add", "add", "add", "add3"),
    *("concat", "concat", "concat_any", "zero", "norm", "reshape", "reshape", "flatten", "pool", "pool1"),
    *("global_pool", "resize", "resize_back", "mul", "gate", "slice", "scale", "permute", "matmul", "softmax"),
    *("linear", "layer_norm", "layer_scale"),
]


def _step(b: Builder, pool: list[Tensor], step: tuple[str, int, int, int]) -> Tensor | None:
    """One primitive; ``None`` where no operand fits."""
    kind, first, second, p = step
    x = pool[-1 - first % len(pool)]
    images = [t for t in pool if len(t.shape) == 3]
    same_shape = [t for t in pool if t.shape == x.shape]
    y = same_shape[-1 - second % len(same_shape)]
    image = images[-1 - first % len(images)] if images else None
    if kind == "act":
        return b.act(x, ("relu", "relu6", "relu", "relu6", "tanh", "identity")[p % 6])
    if kind == "act_any":
        return b.act(x, tuple(ACTIVATIONS)[p % len(ACTIVATIONS)])
    if kind == "add":
        return b.add(x, y)
    if kind == "add3":
        return b.add(y, x, same_shape[p % len(same_shape)])
    if kind == "mul":
        return b.mul(y, x)
    if kind == "norm":
        return b.norm(x) if len(x.shape) <= 4 else None
    if kind == "layer_scale":
        return b.layer_scale(x, (1e-6, 0.5)[p % 2])
    if kind == "layer_norm":
        return b.norm(x, "layer", axis=p % len(x.shape))
    if kind == "concat_any":
        return b.concat([x, y], axis=p % len(x.shape)) if prod(x.shape) < 1000 else None
    if kind == "zero":
        return b.zero(x.shape if p % 2 else IMAGE)
    if kind == "scale":
        return b.scale(x, (0.0, 1.0, 0.5, -2.0)[p % 4])
    if kind == "slice":
        axis = p % len(x.shape)
        return b.slice(x, axis, second % x.shape[axis] if p % 2 else 0, x.shape[axis])
    if kind == "permute":
        rank = len(x.shape)
        return b.permute(x, tuple(range(rank)) if p % 3 == 0 else tuple((i + 1) % rank for i in range(rank)))
    if kind == "softmax":
        return b.softmax(x, p % len(x.shape) - len(x.shape))
    if kind == "linear":
        return b.linear(x, (4, 6)[p % 2], bias=p % 3 > 0)
    if kind == "flatten":
        return b.reshape(x, (prod(x.shape),))
    if kind == "reshape":
        shapes = [s for s in (IMAGE, (4, 36), (36, 4), (144,), (8, 3, 6), (4, 6, 2, 3)) if prod(s) == prod(x.shape)]
        return b.reshape(x, shapes[p % len(shapes)]) if shapes else None
    if kind == "matmul":
        flat = [t for t in pool if len(t.shape) == 2]
        if not flat:
            return None
        x = flat[-1 - first % len(flat)]
        fits = [t for t in flat if t.shape[0] == x.shape[1]]
        return b.matmul(x, fits[second % len(fits)]) if fits else b.matmul(x, b.permute(x, (1, 0)))
    if image is None:
        return None
    if kind == "conv":
        return b.conv(image, 4, (1, 3)[p % 2])
    if kind == "conv1":
        return b.conv(image, 4)
    if kind == "conv_any":
        groups = (1, 2, image.channels)[p % 3] if image.channels % 2 == 0 else 1
        stride = 2 if p % 2 and min(image.shape[1:]) > 1 else 1
        padding = "same" if p < 6 else (2, 1)
        return b.conv(
            image, 2 * groups, (3, 2), stride, groups=groups, dilation=1 + p % 2, padding=padding, bias=p % 5 == 0
        )
    if kind == "concat":
        spatial = [t for t in images if t.shape[1:] == image.shape[1:]]
        parts = [image, spatial[second % len(spatial)], *([b.zero(image.shape)] if p % 3 == 0 else [])]
        return b.concat(parts[::-1] if p % 2 else parts) if sum(t.channels for t in parts) < 64 else None
    if kind == "pool":
        stride = 2 if p % 2 and min(image.shape[1:]) > 1 else 1
        return b.pool(image, ("max", "avg")[p // 2 % 2], (3, 2), stride, count_padding=p % 3 == 0)
    if kind == "pool1":
        return b.pool(image, "avg", 1)
    if kind == "global_pool":
        return b.global_pool(image, ("avg", "max")[p % 2])
    if kind == "resize":
        return b.resize(image, (5, 7) if p % 2 else (6, 6), ("nearest", "bilinear")[p // 2 % 2])
    if kind == "resize_back":
        return b.resize(image, (6, 6))
    assert kind == "gate"
    return b.mul(image, b.act(b.conv(b.global_pool(image), image.channels, bias=True), "sigmoid"))


def _body(
    b: Builder, xs: tuple[Tensor, ...], steps: tuple[Any, ...], outputs: tuple[int, ...], cut: bool
) -> tuple[Tensor, ...]:
    pool = list(xs)
    for step in steps:
        if step[0] == "call":
            _, picks, inner, ends, as_block = step
            operands = tuple(pool[-1 - i % len(pool)] for i in picks)
            run = _block if cut and as_block else _body
            pool.extend(run(b, operands, inner, ends, cut))
        else:
            tensor = _step(b, pool, step)
            if tensor is not None:
                pool.append(tensor)
    return tuple(pool[-1 - i % len(pool)] for i in outputs)


@block
def _block(
    b: Builder, xs: tuple[Tensor, ...], steps: tuple[Any, ...], outputs: tuple[int, ...], cut: bool
) -> tuple[Tensor, ...]:
    return _body(b, xs, steps, outputs, cut)


def outputs_of(b: Any, inputs: Sequence[Any], program: Program, cut: bool = False) -> tuple[Any, ...]:
    """The outputs of a program on these inputs, with a builder or with anything that has its methods."""
    steps, outputs = program
    return _body(b, tuple(inputs), steps, outputs, cut)


def run(program: Program, cut: bool = False) -> Graph:
    """The network of a program; with ``cut``, the calls that it marks run as blocks."""
    b = Builder()
    ends = outputs_of(b, [b.input(IMAGE), b.input(IMAGE)], program, cut)
    return b.build({f"out{i}": tensor for i, tensor in enumerate(ends)})


_number = st.integers(0, 11)


@st.composite
def programs(draw: st.DrawFn, calls: bool = True, kinds: Sequence[str] = KINDS) -> Program:
    """Programs: a few bodies, called often and from each other, so that blocks repeat and nest."""
    bodies: list[Program] = []

    def steps(most: int) -> tuple[Any, ...]:
        step: st.SearchStrategy[Any] = st.tuples(st.sampled_from(kinds), _number, _number, _number)
        if bodies:
            step = step | st.builds(
                lambda picks, body, as_block: ("call", picks, *body, as_block),
                st.lists(_number, min_size=1, max_size=3).map(tuple),
                st.sampled_from(bodies),
                st.sampled_from([True, True, False]),
            )
        return tuple(draw(st.lists(step, min_size=1, max_size=most)))

    ends = st.lists(_number, min_size=1, max_size=3).map(tuple)
    for _ in range(draw(st.integers(1, 3)) if calls else 0):
        bodies.append((steps(6), draw(ends)))
    return steps(12), draw(ends)
