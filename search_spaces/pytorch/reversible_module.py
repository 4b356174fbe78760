"""Trains a stack of reversible blocks without storing what is inside (RevNet, arXiv 1707.04585, algorithm 1).

Only the stack's output is kept. On the way back each block's input is computed from its output, ``x2 = y2 - g(y1)`` and
``x1 = y1 - f(x2)``, and one part at a time is computed again with its gradient. That costs one more forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CouplingModules = tuple[nn.Module, nn.Module]


@contextmanager
def _frozen_running_statistics(part: nn.Module) -> Iterator[None]:
    """Batch statistics normalise as in training, but no running statistic is updated: forward has done so."""
    normalisations = [m for m in part.modules() if m.training and getattr(m, "track_running_stats", False)]
    try:
        for module in normalisations:
            module.track_running_stats = False  # type: ignore[assignment]
        yield
    finally:
        for module in normalisations:
            module.track_running_stats = True  # type: ignore[assignment]


def _trainable_parameters(part: nn.Module) -> list[nn.Parameter]:
    return [p for p in part.parameters() if p.requires_grad]


def _invert_and_backpropagate(
    part: nn.Module, operand: Tensor, total: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """``total - part(operand)``, and of ``part``'s output's ``gradient`` those of its operand and parameters."""
    with torch.enable_grad(), _frozen_running_statistics(part):
        operand = operand.detach().requires_grad_()
        output = part(operand)
    parameters = _trainable_parameters(part)
    gradients = torch.autograd.grad(output, [operand, *parameters], gradient.to(output.dtype), allow_unused=True)
    operand_gradient = torch.zeros_like(operand) if gradients[0] is None else gradients[0]
    return total - output.detach(), operand_gradient, list(gradients[1:])


class _ReversibleFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blocks: Sequence[CouplingModules], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.blocks = blocks
        device = x.device.type
        # Without its cache: releases of PyTorch differ in whether weights cast here, without a gradient, stay in it.
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), False
        y1, y2 = x.chunk(2, dim=1)
        with torch.autocast(*ctx.autocast):
            for f, g in blocks:
                y1 = y1 + f(y2)
                y2 = y2 + g(y1)
            y = torch.cat((y1, y2), dim=1)
        ctx.save_for_backward(y, *parameters)  # parameters for the check that nobody has changed them since
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y1, y2 = ctx.saved_tensors[0].chunk(2, dim=1)
        d1, d2 = gradient.chunk(2, dim=1)
        gradients: list[list[Tensor | None]] = []
        with torch.autocast(*ctx.autocast):
            for f, g in reversed(ctx.blocks):
                y2, operand_gradient, of_g = _invert_and_backpropagate(g, y1, y2, d2)
                d1 = d1 + operand_gradient
                y1, operand_gradient, of_f = _invert_and_backpropagate(f, y2, y1, d1)
                d2 = d2 + operand_gradient
                gradients += [of_g, of_f]
        return None, torch.cat((d1, d2), dim=1), *chain.from_iterable(reversed(gradients))


def run_reversible(blocks: Sequence[CouplingModules], x: Tensor) -> Tensor:
    """The stack of couplings ``(f, g)`` on ``x``, ``(batch, channels, ...)``; gradients as of plain code.

    Every part takes half the channels, keeps the shape and leaves its input as it is. It must compute the same again:
    no dropout, and nothing that changes between the passes but running statistics of normalisations, which move once.
    A gradient of the gradient is not to be had.
    """
    if x.dim() < 2 or x.shape[1] % 2:
        raise ValueError(f"a reversible stack halves the channels; it takes (batch, even, ...), not {tuple(x.shape)}")
    blocks = [(f, g) for f, g in blocks]
    parameters = [p for part in chain.from_iterable(blocks) for p in _trainable_parameters(part)]
    output: Tensor = _ReversibleFunction.apply(blocks, x, *parameters)  # type: ignore[no-untyped-call]
    return output


class ReversibleStack(nn.Module):
    """Couplings as one module that runs by ``run_reversible``; ``parts`` holds f and g of each block in turn."""

    def __init__(self, blocks: Sequence[CouplingModules]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(chain.from_iterable(blocks))

    def forward(self, x: Tensor) -> Tensor:
        return run_reversible(list(zip(self.parts[::2], self.parts[1::2], strict=True)), x)
