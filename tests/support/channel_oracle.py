"""What an operation does with the parts of what it reads along one axis, measured by running it in PyTorch.

The hash promises to see through some operations to the order of a concatenation's parts (``PROMISED``, table 3.3 of
its design); whether an operation with its attributes keeps the promise is measured: inputs are permuted, changed
in one part or set to zero, and the outputs are compared.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import nn

from search_spaces.graph.builder import Builder
from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import Attrs, Shape
from search_spaces.pytorch.module import to_module

# Operations that a concatenation's parts may pass through, and whether along any axis or along the channels alone.
# Of the two normalisations it is the one over the batch.
PROMISED: dict[str, str] = {
    "act": "any axis",
    "scale": "any axis",
    "conv": "channels",
    "norm": "channels",
    "layer_scale": "channels",
    "pool": "channels",
    "global_pool": "channels",
    "resize": "channels",
}
PARTS_CHANGED = 6
TOLERANCE = 1e-9


class Response(NamedTuple):
    """How an operation responds to its operand along one axis.

    ``separate``: a part of the result changes with the same part of the operand alone. ``alike``: parts in another
    order, the parameters of each along with it, give the result's parts in that order. ``mixed_by_weights``: parts in
    another order give the same result where the second axis of the weight is put into that order. ``keeps_zero``:
    zeros give zeros, and nothing is trained.
    """

    separate: bool
    alike: bool
    mixed_by_weights: bool
    keeps_zero: bool


def response(node: Node, operand: Node, axis: int) -> Response:
    """How ``node``, which reads ``operand`` alone, responds along ``axis``."""
    return _respond(node.op, node.attrs, operand.shape, axis)


def passes_parts(node: Node, operand: Node, axis: int) -> bool:
    """Whether ``node`` is promised to let parts along ``axis`` pass, and treats them alike and each on its own."""
    if node.op not in PROMISED or (PROMISED[node.op] == "channels" and axis != 0):
        return False
    if node.op == "norm" and node.attr("kind") != "batch":
        return False
    behaviour = response(node, operand, axis)
    return behaviour.separate and behaviour.alike


def mixes_parts(node: Node, operand: Node, axis: int) -> bool:
    """Whether ``node`` reads ``axis`` with a weight for every part, so that their order does not matter."""
    return node.op in ("conv", "linear") and response(node, operand, axis).mixed_by_weights


@cache
def _respond(op: str, attrs: Attrs, shape: Shape, axis: int) -> Response:
    b = Builder("bias")  # in which a bias is kept
    x = b.input(shape)
    module = to_module(b.build(b.rebuild(Node(op, attrs, (0,), shape), [x]))).double().eval()
    extent = shape[axis]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in _tensors(module):
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5)
        inputs = torch.randn((1, *shape), generator=generator, dtype=torch.float64)
        result = module(inputs)
        keeps_zero = not list(module.parameters()) and not module(torch.zeros_like(inputs)).any()
        orders = [random.Random(seed).sample(range(extent), extent) for seed in range(2)]
        orders.append([*range(1, extent), 0])
        same_extent = result.dim() > axis + 1 and result.shape[axis + 1] == extent
        return Response(
            separate=same_extent and _is_separate(module, inputs, result, axis + 1),
            alike=same_extent and all(_is_alike(module, inputs, result, axis + 1, order) for order in orders),
            mixed_by_weights=all(_is_mixed(module, inputs, result, axis + 1, order) for order in orders),
            keeps_zero=keeps_zero,
        )


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    """Parameters and running statistics."""
    return [*module.parameters(), *[t for t in module.buffers() if t.is_floating_point()]]


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < TOLERANCE)


def _is_separate(module: nn.Module, inputs: torch.Tensor, result: torch.Tensor, axis: int) -> bool:
    extent = inputs.shape[axis]
    for part in random.Random(0).sample(range(extent), min(extent, PARTS_CHANGED)):
        changed = inputs.clone()
        changed.select(axis, part).add_(1 + torch.rand(inputs.select(axis, part).shape, dtype=torch.float64))
        others = [i for i in range(extent) if i != part]
        if others and not _close(
            module(changed).index_select(axis, torch.tensor(others)), result.index_select(axis, torch.tensor(others))
        ):
            return False
    return True


def _is_alike(module: nn.Module, inputs: torch.Tensor, result: torch.Tensor, axis: int, order: Sequence[int]) -> bool:
    index = torch.tensor(order)
    saved = [t.clone() for t in _tensors(module)]
    for tensor in _tensors(module):
        if tensor.shape[0] == len(order):
            tensor.copy_(tensor.index_select(0, index))
    alike = _close(module(inputs.index_select(axis, index)), result.index_select(axis, index))
    for tensor, before in zip(_tensors(module), saved, strict=True):
        tensor.copy_(before)
    return alike


def _is_mixed(module: nn.Module, inputs: torch.Tensor, result: torch.Tensor, axis: int, order: Sequence[int]) -> bool:
    index = torch.tensor(order)
    weights = [t for t in module.parameters() if t.dim() > 1 and t.shape[1] == len(order)]
    saved = [t.clone() for t in weights]
    for tensor in weights:
        tensor.copy_(tensor.index_select(1, index))
    mixed = bool(weights) and _close(module(inputs.index_select(axis, index)), result)
    for tensor, before in zip(weights, saved, strict=True):
        tensor.copy_(before)
    return mixed
