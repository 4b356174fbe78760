"""What an operation asks of a neural processor with one array of multipliers and weights streamed from outside.

The array multiplies one block of outputs, ``width`` by ``height`` places of ``depth`` channels, with eight input
channels a cycle. A block that is not full takes as long as a full one, and so does a step of the input: 32 channels of
one kernel place, or 8 channels of 4 places, whichever fills the array better; a depthwise convolution steps over 4
places. Weights arrive meanwhile, and the slower of the two counts. Blocks and steps are those of Arm's Ethos-U55 and
U65 as its compiler Vela 5.2.0 counts them (ethosu/vela/npu_performance.py); its search for tilings, the cascading of
layers and the prefetching of weights are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hardware_models.device_file.operation_kinds import operation_kind
from hardware_models.linear.features import OperationFeatures, operation_features
from search_spaces.graph.arguments import same_padding
from search_spaces.graph.fragment import Node, NodeCounts
from search_spaces.graph.operations import OPS, Shape

DEMAND_NAMES = ("operations", "million cycles", "million elements moved", "million weights")
"""What ``node_demand`` counts, in the order of its numbers."""

_STEP_CYCLES = 4  # of one block of outputs for one step of the input
_FUSES_RELU = ("add", "conv", "global_pool", "layer_scale", "linear", "mul", "norm", "pool")
_LONGEST_WINDOW = 256
_LONGEST_PADDED_AVERAGE = 8


@dataclass(frozen=True)
class MacArray:
    """The array and the way of weights to it. ``width * height * depth * 8 * cores`` multiply-adds a cycle."""

    width: int
    height: int
    depth: int
    cores: int
    weight_bytes_per_cycle: float

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-adds a cycle where every block is full."""
        return self.width * self.height * self.depth * 8 * self.cores


def _steps(in_channels: int, positions: int) -> int:
    """Steps over the input of a dense convolution: by depth or by parts of the kernel."""
    by_depth, by_parts = positions * -(-in_channels // 32), -(-positions // 4) * -(-in_channels // 8)
    # Eight channels of four places take what 32 channels of one do; up to 8 channels only parts are offered
    return by_parts if in_channels <= 8 else min(by_depth, by_parts)


def array_cycles(node: Node, shapes: tuple[Shape, ...], array: MacArray) -> float:
    """Cycles of the array for a convolution, a linear layer or a factor a channel; 0 for all else."""
    operation = OPS[node.op]
    if operation.weighs_inputs and operation.product is not None:
        groups, _, _, _, positions, axis = operation.product(shapes, node.attrs, node.shape)
        in_channels, out_channels = shapes[0][axis], node.shape[axis]
        size = [extent for i, extent in enumerate(node.shape) if i != axis]
    elif operation.parameters is not None and operation.fuses and len(node.shape) == 3:
        positions, in_channels, out_channels = 1, shapes[0][0], node.shape[0]
        groups, size = out_channels, list(node.shape[1:])  # written as a depthwise convolution of one place
    else:
        return 0.0
    height, width = size if len(size) == 2 else (1, prod(size))
    blocks = -(-width // array.width) * -(-height // array.height)
    blocks = max(blocks, array.depth)  # fewer wait for their weights
    if groups == in_channels and groups > 1:
        return _STEP_CYCLES * blocks * -(-out_channels // array.depth) * -(-positions // 4) / array.cores
    depth_blocks = groups * -(-(out_channels // groups) // array.depth)
    return _STEP_CYCLES * blocks * depth_blocks * _steps(in_channels // groups, positions) / array.cores


def runs_on_cpu(node: Node, shapes: tuple[Shape, ...]) -> bool:
    """Whether Vela 5.2.0 leaves a node to the processor beside the array, or TFLite cannot hold it."""
    if node.op not in ("conv", "global_pool", "pool", "resize"):
        return False
    size = shapes[0][1:]
    if len(size) > 2:
        return True
    if node.op == "resize":
        return _resized_on_cpu(size, node.shape[1:], node.attrs[1])
    if node.op == "global_pool":
        return max(size) > _LONGEST_WINDOW
    if node.op == "pool":
        kind, kernel, stride, pads, count_padding = node.attrs
        axes = zip(size, kernel, stride, strict=True)
        same = any(map(any, pads)) and tuple([same_padding(n, k, s, 1) for n, k, s in axes]) == pads
        if kind == "avg" and same and not count_padding:
            return bool(max(kernel) > _LONGEST_PADDED_AVERAGE)
        return bool(max(kernel) > _LONGEST_WINDOW)
    return False


def _resized_on_cpu(before: Shape, after: Shape, mode: str) -> bool:
    if prod(before) == 1:
        return False
    if len(before) == 1:
        before, after = (1, *before), (1, *after)
    factors = {a / b for a, b in zip(after, before, strict=True)}
    return len(factors) > 1 or not factors <= ({2.0} if mode == "bilinear" else {2.0, 4.0, 8.0})


def node_demand(
    node: Node, figures: NodeCounts, shapes: tuple[Shape, ...], producer: str, array: MacArray
) -> OperationFeatures | None:
    """A node as a model prices it, counted in ``DEMAND_NAMES``; ``None`` where it is part of the one before or is
    nothing.

    ``producer`` is the operation that makes its first operand, or empty.
    """
    row = OPS[node.op]
    folds = row.folds_into_weights(node.attrs)
    if folds and producer in OPS and OPS[producer].weighs_inputs:
        return None
    if row.activation and producer in _FUSES_RELU and operation_kind(node) in ("act:relu", "act:relu6"):
        return None
    operation = operation_features(node, figures, shapes)
    if operation is None:
        return None
    kind = "conv:depthwise" if folds and len(node.shape) == 3 else operation.kind
    operation_count, _, moved, weights = operation.counts
    slower = max(array_cycles(node, shapes, array), figures.params / array.weight_bytes_per_cycle)
    return OperationFeatures(kind, (operation_count, slower / 1e6, moved, weights), operation.text)
