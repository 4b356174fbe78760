"""The extents of every tensor of a recording as sums of width variables: one rule for each kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isclose, prod

from search_spaces.graph.operations import Shape
from search_spaces.module_spaces.widths import Axis, ExtentTerm, WidthVariables, constant, is_constant, scale_axis
from search_spaces.pytorch.from_module.recording import RecordedStep

Axes = tuple[Axis, ...]


@dataclass
class AxisTrace:
    """What changes with the widths. ``axes`` are of each step's result; the rest is by step, where there is any."""

    steps: Sequence[RecordedStep]
    widths: WidthVariables = field(default_factory=WidthVariables)
    axes: list[Axes] = field(default_factory=list)
    depthwise: set[int] = field(default_factory=set)  # convolutions that have one group for each channel they read
    ranges: dict[int, tuple[Axis, Axis]] = field(default_factory=dict)  # slices: what lies before, and until the end
    inverse_sqrt_scales: dict[int, Axis] = field(default_factory=dict)  # scales by the inverse square root of an extent

    def operand(self, index: int, which: int = 0) -> Axes:
        return self.axes[self.steps[index].operands[which]]

    def where(self, index: int) -> str:
        step = self.steps[index]
        return f"{step.op} in {step.owner or 'the module itself'}"


def trace(steps: Sequence[RecordedStep], equal: Sequence[tuple[int, int]] = ()) -> AxisTrace:
    """Trace all steps; those in each pair of ``equal`` have results of one shape always."""
    axis_trace = AxisTrace(steps)
    for index, step in enumerate(steps):
        axes = WIDTH_RULES.get(step.op, _keep_axes)(axis_trace, index)
        axis_trace.axes.append(
            tuple([a if not is_constant(a) else constant(n) for a, n in zip(axes, step.shape, strict=True)])
        )
    for a, b in equal:
        for one, other in zip(axis_trace.axes[a], axis_trace.axes[b], strict=True):
            axis_trace.widths.tie(one, other, f"{axis_trace.where(b)}, which may be left out")
    _find_inverse_sqrt_scales(axis_trace)
    return axis_trace


def _keep_axes(axis_trace: AxisTrace, index: int) -> Axes:
    return axis_trace.operand(index)


def _constants(axis_trace: AxisTrace, index: int) -> Axes:
    return tuple([constant(n) for n in axis_trace.steps[index].shape])


def _zero(axis_trace: AxisTrace, index: int) -> Axes:
    return tuple([axis_trace.widths.new(n, -1) for n in axis_trace.steps[index].shape])  # as large as what it meets


def _window_axes(axis_trace: AxisTrace, index: int) -> Axes:
    """Spatial axes behind a window: they do not change, or keep their extent."""
    before, step = axis_trace.operand(index)[1:], axis_trace.steps[index]
    axes_kept = []
    for axis, extent in zip(before, step.shape[1:], strict=True):
        if not is_constant(axis) and axis_trace.widths.extent(axis) != extent:
            axis_trace.widths.fix(axis, f"{axis_trace.where(index)}, whose windows run over it")
        axes_kept.append(
            axis if not is_constant(axis) and axis_trace.widths.extent(axis) == extent else constant(extent)
        )
    return tuple(axes_kept)


def _conv(axis_trace: AxisTrace, index: int) -> Axes:
    step, channels = axis_trace.steps[index], axis_trace.operand(index)[0]
    groups, out_channels = step.options["groups"], step.shape[0]
    in_channels = axis_trace.widths.extent(channels)
    if groups == in_channels > 1:
        axis_trace.depthwise.add(index)
        return (scale_axis(channels, Fraction(out_channels, in_channels)), *_window_axes(axis_trace, index))
    out = axis_trace.widths.new(out_channels, index)
    axis_trace.widths.require_integral(channels, groups)
    axis_trace.widths.require_integral(out, groups)
    return (out, *_window_axes(axis_trace, index))


def _linear(axis_trace: AxisTrace, index: int) -> Axes:
    return (*axis_trace.operand(index)[:-1], axis_trace.widths.new(axis_trace.steps[index].shape[-1], index))


def _pool(axis_trace: AxisTrace, index: int) -> Axes:
    return (axis_trace.operand(index)[0], *_window_axes(axis_trace, index))


def _global_pool(axis_trace: AxisTrace, index: int) -> Axes:
    return (axis_trace.operand(index)[0], *[constant(1) for _ in axis_trace.operand(index)[1:]])


def _add(axis_trace: AxisTrace, index: int) -> Axes:
    first, *others = [axis_trace.operand(index, i) for i in range(len(axis_trace.steps[index].operands))]
    for other in others:
        _tie_all(axis_trace, index, first, other)
    return first


def _tie_all(axis_trace: AxisTrace, index: int, first: Axes, other: Axes) -> None:
    for a, b in zip(first, other, strict=True):
        axis_trace.widths.tie(a, b, f"{axis_trace.where(index)}, where it meets what does not change with it")


def _mul(axis_trace: AxisTrace, index: int) -> Axes:
    axes = []
    for a, b in zip(axis_trace.operand(index, 0), axis_trace.operand(index, 1), strict=True):
        extents = axis_trace.widths.extent(a), axis_trace.widths.extent(b)
        if extents[0] == extents[1]:
            _tie_all(axis_trace, index, (a,), (b,))
        axes.append(a if extents[0] >= extents[1] else b)
    return tuple(axes)


def _concat(axis_trace: AxisTrace, index: int) -> Axes:
    step = axis_trace.steps[index]
    parts = [axis_trace.operand(index, i) for i in range(len(step.operands))]
    along = step.options.get("axis", 0) % len(step.shape)
    axes = list(parts[0])
    for other in parts[1:]:
        for i, axis in enumerate(other):
            if i == along:
                axes[i] = axes[i] + axis
            else:
                _tie_all(axis_trace, index, (axes[i],), (axis,))
    return tuple(axes)


def _matmul(axis_trace: AxisTrace, index: int) -> Axes:
    a, b = axis_trace.operand(index, 0), axis_trace.operand(index, 1)
    _tie_all(axis_trace, index, (*a[:-2], a[-1]), (*b[:-2], b[-2]))
    return (*a[:-1], b[-1])


def _permute(axis_trace: AxisTrace, index: int) -> Axes:
    return tuple([axis_trace.operand(index)[i] for i in axis_trace.steps[index].options["axes"]])


def _slice(axis_trace: AxisTrace, index: int) -> Axes:
    """Whole parts of an axis, or a fraction of one part."""
    options, axes = axis_trace.steps[index].options, list(axis_trace.operand(index))
    along, start, stop = options["axis"] % len(axes), options["start"], options["stop"]
    widths, axis = axis_trace.widths, axes[along]
    before = _prefix_terms(widths, axis, start)
    until = _prefix_terms(widths, axis, stop)
    if before is None or until is None:
        widths.fix(axis, f"{axis_trace.where(index)}, which cuts through it")
        before, until = constant(start), constant(stop)
        axes[along] = constant(stop - start)
    else:
        between = [ExtentTerm(f - (before[i].factor if i < len(before) else 0), v) for i, (f, v) in enumerate(until)]
        axes[along] = tuple([part for part in between if part.factor > 0])
        widths.require_integral(before + axes[along])
    axis_trace.ranges[index] = (before, until)
    return tuple(axes)


def _prefix_terms(widths: WidthVariables, axis: Axis, index: int) -> Axis | None:
    """The parts before ``index``, the last perhaps in part; ``None`` where only some of several parts could say it."""
    parts: list[ExtentTerm] = []
    for part in axis:
        extent = widths.extent((part,))
        if index <= 0:
            break
        fraction = Fraction(min(index, extent), extent)
        if fraction != 1 and len(axis) > 1:
            return None
        parts.append(ExtentTerm(part.factor * fraction, part.variable))
        index -= extent
    return tuple(parts)


def _reshape(axis_trace: AxisTrace, index: int) -> Axes:
    """Axes that were joined change as their product; of those that one is cut into, the longest changes with it."""
    step, before = axis_trace.steps[index], axis_trace.operand(index)
    old = axis_trace.steps[step.operands[0]].shape
    axes = [constant(n) for n in step.shape]
    for merged_axes, split_axes in _groups(old, step.shape):
        changing = [i for i in merged_axes if not is_constant(before[i])]
        if len(changing) > 1 or (changing and not split_axes):
            axis_trace.widths.fix(
                sum([before[i] for i in changing], ()), f"{axis_trace.where(index)}, which mixes two widths"
            )
        elif changing:
            axis = before[changing[0]]
            carrier = max(split_axes, key=lambda i: (step.shape[i], i))
            axes[carrier] = scale_axis(axis, Fraction(step.shape[carrier], old[changing[0]]))
            axis_trace.widths.require_integral(axes[carrier])
    return tuple(axes)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes of equal products."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        merged_axes, split_axes = [i][: len(old) - i], [j][: len(new) - j]
        i, j = i + len(merged_axes), j + len(split_axes)
        while (a := prod([old[k] for k in merged_axes])) != (b := prod([new[k] for k in split_axes])):
            if a < b:
                merged_axes.append(i)
                i += 1
            else:
                split_axes.append(j)
                j += 1
        groups.append((merged_axes, split_axes))
    return groups


def _find_inverse_sqrt_scales(axis_trace: AxisTrace) -> None:
    """Scales by one over the square root of what a matrix product sums over, as attention has it."""
    readers: dict[int, list[int]] = {}
    for index, step in enumerate(axis_trace.steps):
        for i in step.operands:
            readers.setdefault(i, []).append(index)
    for index, step in enumerate(axis_trace.steps):
        if step.op != "scale":
            continue
        axis = _contracted_axis(axis_trace, readers, index)
        if not is_constant(axis) and isclose(
            step.options["factor"], axis_trace.widths.extent(axis) ** -0.5, rel_tol=1e-6
        ):
            axis_trace.inverse_sqrt_scales[index] = axis


def _contracted_axis(axis_trace: AxisTrace, readers: dict[int, list[int]], index: int) -> Axis:
    """What the matrix product before or behind a scale sums over; a constant where there is none."""
    (source,) = axis_trace.steps[index].operands
    if axis_trace.steps[source].op == "matmul":
        return axis_trace.operand(source)[-1]
    order = list(range(len(axis_trace.axes[index])))
    at = index
    while len(readers.get(at, ())) == 1:
        reader = readers[at][0]
        step = axis_trace.steps[reader]
        if step.op == "permute":
            order = [order[i] for i in step.options["axes"]]
        elif step.op == "matmul":
            return axis_trace.axes[index][order[-1 if step.operands[0] == at else -2]]
        else:
            break
        at = reader
    return constant(1)


WIDTH_RULES: dict[str, Callable[[AxisTrace, int], Axes]] = {
    "input": _constants,
    "zero": _zero,
    "conv": _conv,
    "linear": _linear,
    "add": _add,
    "mul": _mul,
    "concat": _concat,
    "pool": _pool,
    "global_pool": _global_pool,
    "resize": _pool,
    "matmul": _matmul,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
}
"""The axes of the result, of every operation that has other ones than its one operand."""
