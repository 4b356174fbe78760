"""From a graph to a ``torch.nn.Module`` that computes it, one layer for each operation with parameters."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

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


_LAYERS: dict[str, Callable[[Node, tuple[Shape, ...]], nn.Module]] = {
    "conv": _conv,
    "linear": lambda node, shapes: nn.Linear(shapes[0][-1], node.attrs[0], bias=node.attrs[1]),
    "norm": _norm,
    "layer_scale": lambda node, shapes: _LayerScale(shapes[0][0], node.attrs[0]),
}


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


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "act": lambda node, x: ACTIVATION_FUNCTIONS[node.attrs[0]](x),
    "add": _sum,
    "mul": lambda node, a, b: a * b,
    "concat": lambda node, *operands: torch.cat(operands, dim=node.attrs[0] + 1),
    "pool": _pool,
    "global_pool": _global_pool,
    "resize": _resize,
    "matmul": lambda node, a, b: torch.matmul(a, b),
    "softmax": lambda node, x: torch.softmax(x, dim=node.attrs[0] + 1),
    "reshape": lambda node, x: x.reshape(x.shape[0], *node.attrs[0]),
    "permute": lambda node, x: x.permute(0, *(a + 1 for a in node.attrs[0])),
    "slice": lambda node, x: x.narrow(node.attrs[0] + 1, node.attrs[1], node.attrs[2] - node.attrs[1]),
    "scale": lambda node, x: x * node.attrs[0],
}


class GraphModule(nn.Module):
    """Computes a graph. ``layers[str(i)]`` is the layer of node ``i``, for the nodes that have parameters.

    ``forward`` takes the graph's inputs in order, each ``(batch, *shape)``, and returns a dict of outputs by name, or
    the tensor alone where the graph has one output.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        nodes = graph.nodes
        self.layers = nn.ModuleDict()
        last: dict[int, int] = {}
        for index, node in enumerate(nodes):
            for i in node.inputs:
                last[i] = index
            if node.op in _LAYERS:
                self.layers[str(index)] = _LAYERS[node.op](node, tuple(nodes[i].shape for i in node.inputs))
        for _, index in graph.outputs:
            last[index] = len(nodes)
        # What each node is the last to read, so that running needs no more memory than the graph says.
        self._released_after: list[list[int]] = [[] for _ in nodes]
        for index, end in last.items():
            if end < len(nodes):
                self._released_after[end].append(index)

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        expected = self.graph.input_shapes
        if len(inputs) != len(expected):
            raise ValueError(f"the network takes {len(expected)} input(s), not {len(inputs)}")
        for value, shape in zip(inputs, expected, strict=True):
            if tuple(value.shape[1:]) != shape:
                raise ValueError(f"the network takes (batch, {', '.join(map(str, shape))}), not {tuple(value.shape)}")
        values: dict[int, Tensor] = {}
        position = 0
        for index, node in enumerate(self.graph.nodes):
            if node.op == "input":
                values[index] = inputs[position]
                position += 1
                continue
            if node.op == "zero":
                values[index] = inputs[0].new_zeros((inputs[0].shape[0], *node.shape))
                continue
            operands = [values[i] for i in node.inputs]
            if node.op in _LAYERS:
                values[index] = self.layers[str(index)](*operands)
            else:
                values[index] = _FUNCTIONS[node.op](node, *operands)
            for i in self._released_after[index]:
                del values[i]
        if len(self.graph.outputs) == 1:
            return values[self.graph.outputs[0][1]]
        return {name: values[index] for name, index in self.graph.outputs}


def _initialise(module: GraphModule, seed: int) -> None:
    """He's normal initialisation (arXiv 1502.01852, eq. 10) of convolutions, Glorot's of linear layers; zero biases.

    Each layer draws from its own generator, so that the layers before it do not shift its weights.
    """
    nodes = module.graph.nodes
    with torch.no_grad():
        for position, (index, layer) in enumerate(module.layers.items()):
            if nodes[int(index)].op in ("norm", "layer_scale"):
                continue
            generator = torch.Generator().manual_seed((seed * 1_000_003 + position) % (1 << 63))
            for name, parameter in layer.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                    continue
                fan_in = prod(parameter.shape[1:])
                scale = 2 / fan_in if nodes[int(index)].op == "conv" else 2 / (fan_in + parameter.shape[0])
                parameter.normal_(0.0, sqrt(scale), generator=generator)


def to_module(graph: Graph, seed: int = 0) -> GraphModule:
    """An ``nn.Module`` that computes ``graph``, with weights drawn from ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):  # layers draw default weights as they are made; leave no trace of that
        module = GraphModule(graph)
    _initialise(module, seed)
    return module
