"""The arguments of a builder's constructors, checked and resolved to the attributes that a node holds."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from operator import index

from search_spaces.graph.operations import GraphError, Shape

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
Ints = int | Sequence[int]


def as_int(name: str, value: object) -> int:
    """``value`` as a plain ``int``: a graph holds one kind of number, so that equal ones look equal everywhere."""
    try:
        return int(index(value))  # type: ignore[arg-type]
    except TypeError:
        raise GraphError(f"{name} must be a whole number, not {value!r}") from None


def as_float(name: str, value: object) -> float:
    """``value`` as a plain ``float``."""
    try:
        if isinstance(value, Real):
            return float(value) + 0.0  # minus zero is zero
    except OverflowError:
        pass
    raise GraphError(f"{name} must be a number, not {value!r}")


def as_bool(name: str, value: object) -> bool:
    """``value``, which must be ``True`` or ``False`` itself."""
    if value is not True and value is not False:
        raise GraphError(f"{name} must be true or false, not {value!r}")
    return value


def as_ints(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """A tuple of plain ``int``."""
    try:
        return tuple([as_int(name, v) for v in values])
    except TypeError:
        raise GraphError(f"{name} must be a sequence of whole numbers, not {values!r}") from None


def axis_index(name: str, axis: object, rank: int) -> int:
    """An axis counted from the front; negative ones count from the end."""
    axis = as_int(name, axis)
    return axis + rank if axis < 0 else axis


def per_axis(name: str, value: Ints, rank: int) -> tuple[int, ...]:
    """One number for every spatial axis, each at least 1."""
    # A number is told first, for whether something is a sequence takes longer to find
    several = not isinstance(value, int) and isinstance(value, Sequence)
    values = as_ints(name, value) if several else (as_int(name, value),) * rank  # type: ignore[arg-type]
    if len(values) != rank:
        raise GraphError(f"{name} has {len(values)} values for {rank} spatial axes: {value!r}")
    for v in values:
        if v < 1:
            raise GraphError(f"{name} must be at least 1 on every axis, not {value!r}")
    return values


def same_padding(extent: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: ``ceil(extent / stride)`` outputs, the odd element of padding behind."""
    total = max((-(-extent // stride) - 1) * stride + dilation * (kernel - 1) + 1 - extent, 0)
    return total // 2, total - total // 2


def resolve_padding(
    padding: Padding, size: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> tuple[tuple[int, int], ...]:
    """``padding`` as (before, after) for every spatial axis."""
    if padding == "same":
        return tuple([same_padding(*axis) for axis in zip(size, kernel, stride, dilation, strict=True)])
    if padding == "valid":
        return ((0, 0),) * len(size)
    if isinstance(padding, str):
        raise GraphError(f"padding must be 'same', 'valid', a number or (before, after) pairs, not {padding!r}")
    if isinstance(padding, int) or not isinstance(padding, Sequence):
        return ((as_int("padding", padding),) * 2,) * len(size)
    sides = [as_ints("padding", p if isinstance(p, Sequence) else (p, p)) for p in padding]  # type: ignore[arg-type]
    if len(sides) != len(size) or any([len(pair) != 2 for pair in sides]):
        raise GraphError(f"padding must be one (before, after) pair for each of {len(size)} axes, not {padding!r}")
    return tuple([(before, after) for before, after in sides])
