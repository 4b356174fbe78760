"""Rules of shape: what each operation makes of the shapes of its operands, and the arrays that it trains.

A rule takes the operands' shapes, without a batch axis and channels first, and the attributes; it raises ``GraphError``
for what cannot be. Nothing but the table in ``operations`` calls one by name.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, prod
from typing import Any

Shape = tuple[int, ...]
Attrs = tuple[Any, ...]


class GraphError(ValueError):
    """A network that cannot exist: shapes that do not fit, a width below one, a stride beyond its input."""


# No runtime has a longer axis or more elements; and numbers stay short enough to print and to divide.
MAX_INT_ATTRIBUTE = 2**31 - 1
MAX_TENSOR_ELEMENTS = 2**63 - 1


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT_ATTRIBUTE


def check_positive(op: str, name: str, value: object) -> int:
    if not is_int(value) or value < 1:  # type: ignore[operator]
        raise GraphError(f"{op}: {name} must be a whole number from 1 to {MAX_INT_ATTRIBUTE}, not {value!r}")
    return value  # type: ignore[return-value]


def check_ints(op: str, name: str, value: object, length: int, minimum: int) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) != length or not all(is_int(v) for v in value):
        raise GraphError(f"{op}: {name} must hold {length} whole number(s) up to {MAX_INT_ATTRIBUTE}, not {value!r}")
    if any(v < minimum for v in value):
        raise GraphError(f"{op}: {name} must be at least {minimum} on every axis, not {value!r}")
    return value


def check_arity(op: str, inputs: tuple[Shape, ...], count: int) -> None:
    if len(inputs) != count:
        raise GraphError(f"{op}: takes {count} operand(s), not {len(inputs)}")


def check_axis(op: str, rank: int, axis: object) -> int:
    if not is_int(axis) or not 0 <= axis < rank:  # type: ignore[operator]
        raise GraphError(f"{op}: axis {axis!r} does not exist in a tensor of {rank} axes")
    return axis  # type: ignore[return-value]


def shape_attribute(op: str) -> Callable[[tuple[Shape, ...], Attrs], Shape]:
    def shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
        check_arity(op, inputs, 0)
        (stated_shape,) = attrs
        if not isinstance(stated_shape, tuple) or not stated_shape:
            raise GraphError(f"{op}: shape must be a tuple such as (3, 224, 224), not {stated_shape!r}")
        return check_ints(op, "shape", stated_shape, len(stated_shape), 1)

    return shape


def check_padding(op: str, padding: object, rank: int) -> tuple[tuple[int, int], ...]:
    if not isinstance(padding, tuple) or len(padding) != rank:
        raise GraphError(f"{op}: padding must be {rank} pairs (before, after), not {padding!r}")
    for pair in padding:
        check_ints(op, "padding", pair, 2, 0)
    return padding


def window_extents(
    op: str, size: Shape, kernel: Shape, stride: Shape, padding: tuple[tuple[int, int], ...], dilation: Shape
) -> Shape:
    """Output extents of a sliding window over ``size``."""
    extents = []
    for extent, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True):
        if s > extent:
            raise GraphError(
                f"{op}: stride {s} is beyond the input, which is {'x'.join(map(str, size))} here;"
                " use a larger image or fewer strided layers"
            )
        slack = extent + before + after - d * (k - 1) - 1
        if slack < 0:
            raise GraphError(f"{op}: kernel {k} (dilation {d}) does not fit an input of {extent} with its padding")
        extents.append(slack // s + 1)
    return tuple(extents)


def spatial_axes(op: str, x: Shape) -> int:
    if not 2 <= len(x) <= 4:
        raise GraphError(f"{op}: needs channels and one to three spatial axes, its input is {x}")
    return len(x) - 1


def conv_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("conv", inputs, 1)
    (x,) = inputs
    out_channels, kernel, stride, padding, dilation, groups, bias = attrs
    rank = spatial_axes("conv", x)
    check_positive("conv", "out_channels", out_channels)
    check_ints("conv", "kernel", kernel, rank, 1)
    check_ints("conv", "stride", stride, rank, 1)
    check_ints("conv", "dilation", dilation, rank, 1)
    check_positive("conv", "groups", groups)
    if x[0] % groups or out_channels % groups:
        raise GraphError(f"conv: {groups} groups divide neither {x[0]} input nor {out_channels} output channels evenly")
    if not isinstance(bias, bool):
        raise GraphError(f"conv: bias must be true or false, not {bias!r}")
    return (
        out_channels,
        *window_extents("conv", x[1:], kernel, stride, check_padding("conv", padding, rank), dilation),
    )


def conv_parameters(inputs: tuple[Shape, ...], attrs: Attrs) -> list[tuple[str, Shape]]:
    out_channels, kernel, _, _, _, groups, bias = attrs
    weight = ("weight", (out_channels, inputs[0][0] // groups, *kernel))
    return [weight, ("bias", (out_channels,))] if bias else [weight]


def linear_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("linear", inputs, 1)
    out_features, bias = attrs
    if not isinstance(bias, bool):
        raise GraphError(f"linear: bias must be true or false, not {bias!r}")
    return (*inputs[0][:-1], check_positive("linear", "out_features", out_features))


def linear_parameters(inputs: tuple[Shape, ...], attrs: Attrs) -> list[tuple[str, Shape]]:
    out_features, bias = attrs
    weight = ("weight", (out_features, inputs[0][-1]))
    return [weight, ("bias", (out_features,))] if bias else [weight]


def norm_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("norm", inputs, 1)
    kind, eps, momentum, axis = attrs
    if kind not in ("batch", "layer"):
        raise GraphError(f"norm: kind must be 'batch' or 'layer', not {kind!r}")
    for name, value in (("eps", eps), ("momentum", momentum)):
        if not isinstance(value, float) or not isfinite(value) or value < 0:
            raise GraphError(f"norm: {name} must be a number of at least 0, not {value!r}")
    check_axis("norm", len(inputs[0]), axis)
    if kind == "batch" and axis != 0:
        raise GraphError("norm: batch normalisation is over the channels, axis 0")
    if kind == "batch" and len(inputs[0]) > 4:
        raise GraphError(f"norm: batch normalisation takes up to three spatial axes, its input is {inputs[0]}")
    return inputs[0]


def norm_parameters(inputs: tuple[Shape, ...], attrs: Attrs) -> list[tuple[str, Shape]]:
    width = (inputs[0][attrs[3]],)
    return [("weight", width), ("bias", width)]


def norm_buffers(inputs: tuple[Shape, ...], attrs: Attrs) -> list[tuple[str, Shape]]:
    width = (inputs[0][0],)
    return [("running_mean", width), ("running_var", width)] if attrs[0] == "batch" else []


def layer_scale_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("layer_scale", inputs, 1)
    if not isinstance(attrs[0], float) or not isfinite(attrs[0]):
        raise GraphError(f"layer_scale: initial must be a finite number, not {attrs[0]!r}")
    return inputs[0]


def add_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    if len(inputs) < 2:
        raise GraphError("add: needs at least two operands")
    if any(shape != inputs[0] for shape in inputs):
        raise GraphError(f"add: operands differ in shape: {', '.join(map(str, inputs))}")
    return inputs[0]


def mul_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("mul", inputs, 2)
    a, b = inputs
    if len(a) != len(b) or any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise GraphError(f"mul: shapes {a} and {b} do not broadcast")
    return tuple(max(m, n) for m, n in zip(a, b, strict=True))


def concat_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    if len(inputs) < 2:
        raise GraphError("concat: needs at least two operands")
    first = inputs[0]
    axis = check_axis("concat", len(first), attrs[0])
    for shape in inputs:
        if len(shape) != len(first) or any(
            i != axis and m != n for i, (m, n) in enumerate(zip(shape, first, strict=True))
        ):
            raise GraphError(f"concat: operands differ off axis {axis}: {', '.join(map(str, inputs))}")
    return tuple(sum(s[axis] for s in inputs) if i == axis else n for i, n in enumerate(first))


def pool_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("pool", inputs, 1)
    (x,) = inputs
    kind, kernel, stride, padding, count_padding = attrs
    rank = spatial_axes("pool", x)
    if kind not in ("max", "avg"):
        raise GraphError(f"pool: kind must be 'max' or 'avg', not {kind!r}")
    if not isinstance(count_padding, bool):
        raise GraphError(f"pool: count_padding must be true or false, not {count_padding!r}")
    check_ints("pool", "kernel", kernel, rank, 1)
    check_ints("pool", "stride", stride, rank, 1)
    pads = check_padding("pool", padding, rank)
    if any(max(pair) >= k for pair, k in zip(pads, kernel, strict=True)):
        raise GraphError(f"pool: padding {pads} leaves windows of {kernel} with nothing but padding")
    return (x[0], *window_extents("pool", x[1:], kernel, stride, pads, (1,) * rank))


def global_pool_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("global_pool", inputs, 1)
    if attrs[0] not in ("max", "avg"):
        raise GraphError(f"global_pool: kind must be 'max' or 'avg', not {attrs[0]!r}")
    return (inputs[0][0], *(1 for _ in inputs[0][1:]))


def resize_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("resize", inputs, 1)
    size, mode = attrs
    if mode not in ("nearest", "bilinear"):
        raise GraphError(f"resize: mode must be 'nearest' or 'bilinear', not {mode!r}")
    if mode == "bilinear" and len(inputs[0]) != 3:
        raise GraphError("resize: bilinear needs an image, (channels, height, width)")
    return (inputs[0][0], *check_ints("resize", "size", size, spatial_axes("resize", inputs[0]), 1))


def matmul_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("matmul", inputs, 2)
    a, b = inputs
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2] or a[-1] != b[-2]:
        raise GraphError(f"matmul: {a} x {b} is no matrix product")
    return (*a[:-1], b[-1])


def softmax_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("softmax", inputs, 1)
    check_axis("softmax", len(inputs[0]), attrs[0])
    return inputs[0]


def reshape_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("reshape", inputs, 1)
    (shape,) = attrs
    if not isinstance(shape, tuple) or not shape:
        raise GraphError(f"reshape: shape must be a tuple, not {shape!r}")
    check_ints("reshape", "shape", shape, len(shape), 1)
    if prod(shape) != prod(inputs[0]):
        raise GraphError(f"reshape: {shape} does not hold the {prod(inputs[0])} elements of {inputs[0]}")
    return shape


def permute_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("permute", inputs, 1)
    axes = check_ints("permute", "axes", attrs[0], len(inputs[0]), 0)
    if sorted(axes) != list(range(len(axes))):
        raise GraphError(f"permute: axes {axes} are no permutation")
    return tuple(inputs[0][a] for a in axes)


def slice_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("slice", inputs, 1)
    axis, start, stop = attrs
    check_axis("slice", len(inputs[0]), axis)
    if not (is_int(start) and is_int(stop) and 0 <= start < stop <= inputs[0][axis]):
        raise GraphError(f"slice: {start}:{stop} is no range of axis {axis} of {inputs[0]}")
    return tuple(stop - start if i == axis else n for i, n in enumerate(inputs[0]))


def layer_scale_parameters(inputs: tuple[Shape, ...], attrs: Attrs) -> list[tuple[str, Shape]]:
    return [("weight", (inputs[0][0],))]


def scale_shape(inputs: tuple[Shape, ...], attrs: Attrs) -> Shape:
    check_arity("scale", inputs, 1)
    if not isinstance(attrs[0], float) or not isfinite(attrs[0]):
        raise GraphError(f"scale: factor must be a finite number, not {attrs[0]!r}")
    return inputs[0]
