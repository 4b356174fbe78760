"""Every operation in PyTorch: a layer where it has arrays of its own, else a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import GraphError, Shape

ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hswish": F.hardswish,
    "hsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
}
_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS: dict[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLS: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("max", 1): F.max_pool1d,
    ("max", 2): F.max_pool2d,
    ("max", 3): F.max_pool3d,
    ("avg", 1): F.avg_pool1d,
    ("avg", 2): F.avg_pool2d,
    ("avg", 3): F.avg_pool3d,
}


def _torch_pads(padding: tuple[tuple[int, int], ...]) -> list[int]:
    """``F.pad``'s order: last axis first."""
    return [p for pair in reversed(padding) for p in pair]


class _PaddedConv(nn.Module):
    """A convolution whose padding differs before and behind, as TensorFlow's SAME does on a stride."""

    def __init__(self, conv: nn.Module, padding: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.conv = conv
        self.pads = _torch_pads(padding)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, self.pads))
        return result


class _LayerNorm(nn.Module):
    """Layer normalisation over one axis of the unbatched shape."""

    def __init__(self, width: int, axis: int, eps: float) -> None:
        super().__init__()
        self.axis = axis + 1
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(x.movedim(self.axis, -1)).movedim(-1, self.axis)
        return result


class _LayerScale(nn.Module):
    """A trained factor for each channel."""

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, *[1] * (x.dim() - 2))


def _conv(node: Node, shapes: tuple[Shape, ...]) -> nn.Module:
    out_channels, kernel, stride, padding, dilation, groups, bias = node.attrs
    even = all(before == after for before, after in padding)
    conv = _CONVOLUTIONS[len(kernel)](
        shapes[0][0],
        out_channels,
        kernel,
        stride,
        padding=tuple(p[0] for p in padding) if even else 0,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    return conv if even else _PaddedConv(conv, padding)


def _norm(node: Node, shapes: tuple[Shape, ...]) -> nn.Module:
    kind, eps, momentum, axis = node.attrs
    if kind == "layer":
        return _LayerNorm(shapes[0][axis], axis, eps)
    norm: nn.Module = _BATCH_NORMS[len(shapes[0]) - 1](shapes[0][0], eps=eps, momentum=momentum)
    return norm


def _pool(node: Node, x: Tensor) -> Tensor:
    kind, kernel, stride, padding, count_padding = node.attrs
    pool = _POOLS[kind, len(kernel)]
    pads = _torch_pads(padding)
    if kind == "max":
        return pool(F.pad(x, pads, value=float("-inf")) if any(pads) else x, kernel, stride)
    mean = pool(F.pad(x, pads), kernel, stride)
    if count_padding or not any(pads):
        return mean
    ones = torch.ones_like(x[:1, :1])
    return mean / pool(F.pad(ones, pads), kernel, stride)


def _global_pool(node: Node, x: Tensor) -> Tensor:
    axes = tuple(range(2, x.dim()))
    return x.mean(axes, keepdim=True) if node.attrs[0] == "avg" else x.amax(axes, keepdim=True)


def _resize(node: Node, x: Tensor) -> Tensor:
    size, mode = node.attrs
    return F.interpolate(x, size=size, mode=mode, align_corners=False if mode == "bilinear" else None)


def _sum(node: Node, *operands: Tensor) -> Tensor:
    total = operands[0]
    for operand in operands[1:]:
        total = total + operand
    return total


def _zero(node: Node, source: Tensor) -> Tensor:
    return source.new_zeros((source.shape[0], *node.shape))


@dataclass(frozen=True)
class PytorchOperation:
    """One operation in PyTorch: ``layer`` or ``function``.

    ``layer(node, operand shapes)`` makes a module of its arrays that takes the operands; its parameters and buffers end
    in the names that the operation's row has. ``function(node, *operands)`` computes it. Tensors have a batch axis; a
    constant is given the network's first input in place of operands.
    """

    layer: Callable[[Node, tuple[Shape, ...]], nn.Module] | None = None
    function: Callable[..., Tensor] | None = None


PYTORCH_OPERATIONS: dict[str, PytorchOperation] = {
    "input": PytorchOperation(function=lambda node, value: value),
    "zero": PytorchOperation(function=_zero),
    "conv": PytorchOperation(_conv),
    "linear": PytorchOperation(lambda node, shapes: nn.Linear(shapes[0][-1], node.attrs[0], bias=node.attrs[1])),
    "norm": PytorchOperation(_norm),
    "layer_scale": PytorchOperation(lambda node, shapes: _LayerScale(shapes[0][0], node.attrs[0])),
    "act": PytorchOperation(function=lambda node, x: ACTIVATION_FUNCTIONS[node.attrs[0]](x)),
    "add": PytorchOperation(function=_sum),
    "mul": PytorchOperation(function=lambda node, a, b: a * b),
    "concat": PytorchOperation(function=lambda node, *operands: torch.cat(operands, dim=node.attrs[0] + 1)),
    "pool": PytorchOperation(function=_pool),
    "global_pool": PytorchOperation(function=_global_pool),
    "resize": PytorchOperation(function=_resize),
    "matmul": PytorchOperation(function=lambda node, a, b: torch.matmul(a, b)),
    "softmax": PytorchOperation(function=lambda node, x: torch.softmax(x, dim=node.attrs[0] + 1)),
    "reshape": PytorchOperation(function=lambda node, x: x.reshape(x.shape[0], *node.attrs[0])),
    "permute": PytorchOperation(function=lambda node, x: x.permute(0, *(a + 1 for a in node.attrs[0]))),
    "slice": PytorchOperation(
        function=lambda node, x: x.narrow(node.attrs[0] + 1, node.attrs[1], node.attrs[2] - node.attrs[1])
    ),
    "scale": PytorchOperation(function=lambda node, x: x * node.attrs[0]),
}


def pytorch_operation(op: str) -> PytorchOperation:
    """The operation's row. Raises ``GraphError`` where it has none."""
    row = PYTORCH_OPERATIONS.get(op)
    if row is None:
        raise GraphError(f"operation {op!r} has no lowering for pytorch; add a row to {__name__}.PYTORCH_OPERATIONS")
    return row
