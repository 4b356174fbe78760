"""A recording rebuilt: with other widths, kernels and activations, with modules left out or replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, GraphError
from search_spaces.module_spaces.axis_tracing import AxisTrace
from search_spaces.module_spaces.regions import Region
from search_spaces.module_spaces.replacements import Replacement
from search_spaces.module_spaces.widths import Axis, WidthVariables, evaluate_extent, is_constant
from search_spaces.pytorch.from_module.recording import RecordedStep, Recording


@dataclass
class NetworkChanges:
    """What one candidate has other than the module."""

    sizes: list[int]  # by the variable that stands for its class
    removed_steps: set[int] = field(default_factory=set)  # steps of modules that are left out or replaced
    replacements: dict[int, tuple[str, Region, Replacement | None]] = field(default_factory=dict)  # by the region's end
    kernels: dict[int, tuple[int, ...]] = field(default_factory=dict)
    activations: dict[int, str] = field(default_factory=dict)

    def drop(self, path: str, region: Region, replacement: Replacement | None = None) -> None:
        """Leave a module out, or replace it by a block."""
        self.removed_steps |= region.steps
        self.replacements[region.end] = (path, region, replacement)


class VariableNetwork:
    """Builds candidates of one recording: what its widths decide is worked out once."""

    def __init__(self, recording: Recording, axis_trace: AxisTrace) -> None:
        self.recording = recording
        self.steps = recording.steps
        self.axis_trace = axis_trace
        self.widths: WidthVariables = axis_trace.widths
        self.axes = [tuple([self.widths.rooted(axis) for axis in axes]) for axes in axis_trace.axes]
        self.ranges = {p: (self.widths.rooted(a), self.widths.rooted(b)) for p, (a, b) in axis_trace.ranges.items()}
        self.inverse_sqrt_scales = {p: self.widths.rooted(axis) for p, axis in axis_trace.inverse_sqrt_scales.items()}
        self.multiples = self.widths.multiples()
        self.open = [not all(is_constant(axis) for axis in axes) for axes in self.axes]

    def graph(self, changes: NetworkChanges) -> Graph:
        """Raises ``GraphError`` for what cannot be."""
        builder = Builder()
        tensors: dict[int, Tensor] = {}
        for index, step in enumerate(self.steps):
            if index in changes.replacements:
                tensors[index] = self._build_replacement(builder, tensors, index, changes)
            elif index not in changes.removed_steps:
                tensors[index] = self._rebuild_step(builder, step, index, [tensors[i] for i in step.operands], changes)
        return builder.build({name: tensors[i] for name, i in self.recording.outputs.items()})

    def shape(self, index: int, sizes: Sequence[int]) -> tuple[int, ...]:
        """The shape of a step's result for these sizes."""
        return tuple([evaluate_extent(axis, sizes) for axis in self.axes[index]])

    def _build_replacement(
        self, builder: Builder, tensors: Mapping[int, Tensor], index: int, changes: NetworkChanges
    ) -> Tensor:
        path, region, replacement = changes.replacements[index]
        builder.section(path)
        x = tensors[region.source]
        if replacement is None:
            return x
        shape = self.shape(index, changes.sizes)
        (stride,) = strides(x.shape, shape)
        y = replacement(builder, x, shape[0], stride)
        if not isinstance(y, Tensor) or y.shape != shape:
            result = y.shape if isinstance(y, Tensor) else type(y).__name__
            name = getattr(replacement, "__name__", "block").lstrip("_")
            raise GraphError(f"{path}: {name} returns {result} where the module has {shape}")
        return y

    def _rebuild_step(
        self, builder: Builder, step: RecordedStep, index: int, operands: Sequence[Tensor], changes: NetworkChanges
    ) -> Tensor:
        builder.section(step.owner)
        options = dict(step.options)
        if index in changes.activations:
            options["fn"] = changes.activations[index]
        if index in changes.kernels:
            options |= with_kernel(step, changes.kernels[index])
        if (
            self.open[index]
            or index in self.ranges
            or index in self.inverse_sqrt_scales
            or index in self.axis_trace.depthwise
        ):
            resize = _RESIZED_OPTIONS.get(step.op)
            options |= {} if resize is None else resize(self, index, operands, changes.sizes)
        if step.op == "concat":
            return builder.concat(operands, **options)
        constructor = getattr(builder, step.op, None)
        if constructor is None:
            return builder.operation(step.op, operands, tuple([options[name] for name in OPS[step.op].attrs]))
        tensor: Tensor = constructor(*operands, **options)
        return tensor


def _evaluate_or_zero(axis: Axis, sizes: Sequence[int]) -> int:
    return evaluate_extent(axis, sizes) if any(part.factor for part in axis) else 0


# -- the options of a step that depend on widths -----------------------------------------------------------------------


def _conv_options(
    network: VariableNetwork, index: int, operands: Sequence[Tensor], sizes: Sequence[int]
) -> dict[str, Any]:
    resized: dict[str, Any] = {"out_channels": evaluate_extent(network.axes[index][0], sizes)}
    return resized | ({"groups": operands[0].channels} if index in network.axis_trace.depthwise else {})


def _linear_options(
    network: VariableNetwork, index: int, operands: Sequence[Tensor], sizes: Sequence[int]
) -> dict[str, Any]:
    return {"out_features": evaluate_extent(network.axes[index][-1], sizes)}


def _stated_shape(
    network: VariableNetwork, index: int, operands: Sequence[Tensor], sizes: Sequence[int]
) -> dict[str, Any]:
    return {"shape": network.shape(index, sizes)}


def _slice_range(
    network: VariableNetwork, index: int, operands: Sequence[Tensor], sizes: Sequence[int]
) -> dict[str, Any]:
    start, stop = network.ranges[index]
    return {"start": _evaluate_or_zero(start, sizes), "stop": _evaluate_or_zero(stop, sizes)}


def _inverse_sqrt_factor(
    network: VariableNetwork, index: int, operands: Sequence[Tensor], sizes: Sequence[int]
) -> dict[str, Any]:
    axis = network.inverse_sqrt_scales.get(index)
    if axis is None or (extent := evaluate_extent(axis, sizes)) == network.widths.extent(axis):
        return {}
    return {"factor": extent**-0.5}


_RESIZED_OPTIONS: dict[str, Callable[[VariableNetwork, int, Sequence[Tensor], Sequence[int]], dict[str, Any]]] = {
    "conv": _conv_options,
    "linear": _linear_options,
    "reshape": _stated_shape,
    "zero": _stated_shape,
    "slice": _slice_range,
    "scale": _inverse_sqrt_factor,
}


def strides(before: Sequence[int], after: Sequence[int]) -> set[int]:
    """By which strides, one for all spatial axes, a map comes to be another; empty where no one does."""
    candidates = {-(-n // m) for n, m in zip(before[1:], after[1:], strict=True)}
    fits = len(candidates) == 1 and all(
        -(-n // s) == m for n, m in zip(before[1:], after[1:], strict=True) for s in candidates
    )
    return candidates if fits else set()


def with_kernel(step: RecordedStep, kernel: Sequence[int]) -> dict[str, Any]:
    """A convolution's kernel and the padding that keeps its shapes; ``GraphError`` where there is none."""
    own, rank = step.options["kernel"], len(step.shape) - 1
    own = tuple(own) if isinstance(own, Sequence) else (own,) * rank
    dilation = step.options.get("dilation", 1)
    dilation = tuple(dilation) if isinstance(dilation, Sequence) else (dilation,) * rank
    pads = []
    for (before, after), k, new, d in zip(step.options["padding"], own, kernel, dilation, strict=True):
        more, odd = divmod(d * (new - k), 2)
        if odd or before + more < 0 or after + more < 0:
            raise GraphError(f"no padding keeps the shape with a kernel of {new} where the module has {k}")
        pads.append((before + more, after + more))
    return {"kernel": tuple(kernel), "padding": tuple(pads)}
