"""The extents of every tensor of a recording as sums of width variables: one rule for each kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isclose, prod

from search_spaces.graph.operations import OPS, Shape
from search_spaces.module_spaces.widths import Axis, Part, Widths, constant, is_constant, scaled
from search_spaces.pytorch.from_module.recording import Step

Axes = tuple[Axis, ...]


@dataclass
class Traced:
    """What changes with the widths. ``axes`` are of each step's result; the rest is by step, where there is any."""

    steps: Sequence[Step]
    widths: Widths = field(default_factory=Widths)
    axes: list[Axes] = field(default_factory=list)
    depthwise: set[int] = field(default_factory=set)  # convolutions that have one group for each channel they read
    ranges: dict[int, tuple[Axis, Axis]] = field(default_factory=dict)  # slices: what lies before, and until the end
    roots: dict[int, Axis] = field(default_factory=dict)  # scales by the inverse square root of an extent

    def operand(self, place: int, which: int = 0) -> Axes:
        return self.axes[self.steps[place].operands[which]]

    def where(self, place: int) -> str:
        step = self.steps[place]
        return f"{step.op} in {step.owner or 'the module itself'}"


def trace(steps: Sequence[Step], equal: Sequence[tuple[int, int]] = ()) -> Traced:
    """Trace all steps; those in each pair of ``equal`` have results of one shape always."""
    traced = Traced(steps)
    for place, step in enumerate(steps):
        axes = _RULES.get(step.op, _same)(traced, place)
        traced.axes.append(
            tuple([a if not is_constant(a) else constant(n) for a, n in zip(axes, step.shape, strict=True)])
        )
    for a, b in equal:
        for one, other in zip(traced.axes[a], traced.axes[b], strict=True):
            traced.widths.tie(one, other, f"{traced.where(b)}, which may be left out")
    _find_roots(traced)
    return traced


def _same(traced: Traced, place: int) -> Axes:
    return traced.operand(place)


def _constants(traced: Traced, place: int) -> Axes:
    return tuple([constant(n) for n in traced.steps[place].shape])


def _zero(traced: Traced, place: int) -> Axes:
    return tuple([traced.widths.new(n, -1) for n in traced.steps[place].shape])  # as large as what it meets


def _windowed(traced: Traced, place: int) -> Axes:
    """Spatial axes behind a window: they do not change, or keep their extent."""
    before, step = traced.operand(place)[1:], traced.steps[place]
    kept = []
    for axis, extent in zip(before, step.shape[1:], strict=True):
        if not is_constant(axis) and traced.widths.extent(axis) != extent:
            traced.widths.hold(axis, f"{traced.where(place)}, whose windows run over it")
        kept.append(axis if not is_constant(axis) and traced.widths.extent(axis) == extent else constant(extent))
    return tuple(kept)


def _conv(traced: Traced, place: int) -> Axes:
    step, channels = traced.steps[place], traced.operand(place)[0]
    groups, out_channels = step.options["groups"], step.shape[0]
    in_channels = traced.widths.extent(channels)
    if groups == in_channels > 1:
        traced.depthwise.add(place)
        return (scaled(channels, Fraction(out_channels, in_channels)), *_windowed(traced, place))
    made = traced.widths.new(out_channels, place)
    traced.widths.whole(channels, groups)
    traced.widths.whole(made, groups)
    return (made, *_windowed(traced, place))


def _linear(traced: Traced, place: int) -> Axes:
    return (*traced.operand(place)[:-1], traced.widths.new(traced.steps[place].shape[-1], place))


def _pool(traced: Traced, place: int) -> Axes:
    return (traced.operand(place)[0], *_windowed(traced, place))


def _global_pool(traced: Traced, place: int) -> Axes:
    return (traced.operand(place)[0], *[constant(1) for _ in traced.operand(place)[1:]])


def _add(traced: Traced, place: int) -> Axes:
    first, *others = [traced.operand(place, i) for i in range(len(traced.steps[place].operands))]
    for other in others:
        _tie_all(traced, place, first, other)
    return first


def _tie_all(traced: Traced, place: int, first: Axes, other: Axes) -> None:
    for a, b in zip(first, other, strict=True):
        traced.widths.tie(a, b, f"{traced.where(place)}, where it meets what does not change with it")


def _mul(traced: Traced, place: int) -> Axes:
    axes = []
    for a, b in zip(traced.operand(place, 0), traced.operand(place, 1), strict=True):
        extents = traced.widths.extent(a), traced.widths.extent(b)
        if extents[0] == extents[1]:
            _tie_all(traced, place, (a,), (b,))
        axes.append(a if extents[0] >= extents[1] else b)
    return tuple(axes)


def _concat(traced: Traced, place: int) -> Axes:
    step = traced.steps[place]
    parts = [traced.operand(place, i) for i in range(len(step.operands))]
    along = step.options.get("axis", 0) % len(step.shape)
    axes = list(parts[0])
    for other in parts[1:]:
        for i, axis in enumerate(other):
            if i == along:
                axes[i] = axes[i] + axis
            else:
                _tie_all(traced, place, (axes[i],), (axis,))
    return tuple(axes)


def _matmul(traced: Traced, place: int) -> Axes:
    a, b = traced.operand(place, 0), traced.operand(place, 1)
    _tie_all(traced, place, (*a[:-2], a[-1]), (*b[:-2], b[-2]))
    return (*a[:-1], b[-1])


def _permute(traced: Traced, place: int) -> Axes:
    return tuple([traced.operand(place)[i] for i in traced.steps[place].options["axes"]])


def _slice(traced: Traced, place: int) -> Axes:
    """Whole parts of an axis, or a share of one part."""
    options, axes = traced.steps[place].options, list(traced.operand(place))
    along, start, stop = options["axis"] % len(axes), options["start"], options["stop"]
    widths, axis = traced.widths, axes[along]
    before = _up_to(widths, axis, start)
    until = _up_to(widths, axis, stop)
    if before is None or until is None:
        widths.hold(axis, f"{traced.where(place)}, which cuts through it")
        before, until = constant(start), constant(stop)
        axes[along] = constant(stop - start)
    else:
        between = [Part(f - (before[i].factor if i < len(before) else 0), v) for i, (f, v) in enumerate(until)]
        axes[along] = tuple([part for part in between if part.factor > 0])
        widths.whole(before + axes[along])
    traced.ranges[place] = (before, until)
    return tuple(axes)


def _up_to(widths: Widths, axis: Axis, place: int) -> Axis | None:
    """The parts before ``place``, the last perhaps in part; ``None`` where only some of several parts could say it."""
    parts: list[Part] = []
    for part in axis:
        extent = widths.extent((part,))
        if place <= 0:
            break
        share = Fraction(min(place, extent), extent)
        if share != 1 and len(axis) > 1:
            return None
        parts.append(Part(part.factor * share, part.variable))
        place -= extent
    return tuple(parts)


def _reshape(traced: Traced, place: int) -> Axes:
    """Axes that were joined change as their product; of those that one is cut into, the longest changes with it."""
    step, before = traced.steps[place], traced.operand(place)
    old = traced.steps[step.operands[0]].shape
    made = [constant(n) for n in step.shape]
    for joined, cut in _groups(old, step.shape):
        changing = [i for i in joined if not is_constant(before[i])]
        if len(changing) > 1 or (changing and not cut):
            traced.widths.hold(sum([before[i] for i in changing], ()), f"{traced.where(place)}, which mixes two widths")
        elif changing:
            axis = before[changing[0]]
            carrier = max(cut, key=lambda i: (step.shape[i], i))
            share = Fraction(step.shape[carrier], old[changing[0]])
            made[carrier] = scaled(axis, share)
            traced.widths.whole(made[carrier])
    return tuple(made)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes of equal products."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        joined, cut = [i][: len(old) - i], [j][: len(new) - j]
        i, j = i + len(joined), j + len(cut)
        while (a := prod([old[k] for k in joined])) != (b := prod([new[k] for k in cut])):
            if a < b:
                joined.append(i)
                i += 1
            else:
                cut.append(j)
                j += 1
        groups.append((joined, cut))
    return groups


def _find_roots(traced: Traced) -> None:
    """Scales by one over the square root of what a matrix product sums over, as attention has it."""
    readers: dict[int, list[int]] = {}
    for place, step in enumerate(traced.steps):
        for i in step.operands:
            readers.setdefault(i, []).append(place)
    for place, step in enumerate(traced.steps):
        if step.op != "scale":
            continue
        axis = _summed(traced, readers, place)
        if not is_constant(axis) and isclose(step.options["factor"], traced.widths.extent(axis) ** -0.5, rel_tol=1e-6):
            traced.roots[place] = axis


def _summed(traced: Traced, readers: dict[int, list[int]], place: int) -> Axis:
    """What the matrix product before or behind a scale sums over; a constant where there is none."""
    (source,) = traced.steps[place].operands
    if traced.steps[source].op == "matmul":
        return traced.operand(source)[-1]
    order = list(range(len(traced.axes[place])))
    at = place
    while len(readers.get(at, ())) == 1:
        reader = readers[at][0]
        step = traced.steps[reader]
        if step.op == "permute":
            order = [order[i] for i in step.options["axes"]]
        elif step.op == "matmul":
            return traced.axes[place][order[-1 if step.operands[0] == at else -2]]
        else:
            break
        at = reader
    return constant(1)


_RULES: dict[str, Callable[[Traced, int], Axes]] = {
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
assert set(_RULES) <= set(OPS)
