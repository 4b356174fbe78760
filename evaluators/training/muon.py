"""Muon: stochastic gradient descent whose steps are made orthogonal, matrix by matrix.

After Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon). Every direction of a weight matrix moves alike, so
that a deep network trained from scratch makes progress within tens of steps instead of hundreds. ``torch.optim.Muon``
takes matrices only, decays weights by default, and came after the oldest PyTorch supported here; this one takes
convolutions, depthwise ones too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Coefficients of the quintic iteration that takes singular values towards 1, from the source above
QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Orthogonal steps for the weights that a normalisation follows, plain Nesterov momentum for all others.

    An orthogonal step has the spectral norm ``learning_rate``, times sqrt(rows / columns) where that is above 1;
    depthwise filters are normalised one by one.
    """

    def __init__(self, module: nn.Module, *, learning_rate: float, momentum: float = 0.9, iterations: int = 2) -> None:
        scale_free, other = scale_free_weights(module)
        groups: list[dict[str, Any]] = [
            {"params": scale_free, "orthogonal": True},
            {"params": other, "orthogonal": False},
        ]
        self._iterations = iterations
        super().__init__([g for g in groups if g["params"]], {"lr": learning_rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. Closures are refused."""
        if closure is not None:
            raise ValueError("Muon takes no closure; call backward() first")
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in parameters]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            moments = [self.state[p]["momentum"] for p in parameters]
            if not parameters:
                continue
            torch._foreach_mul_(moments, group["momentum"])
            torch._foreach_add_(moments, gradients)
            steps = torch._foreach_add(gradients, moments, alpha=group["momentum"])
            if group["orthogonal"]:
                steps = tuple(_orthogonal(step, self._iterations) for step in steps)
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])


def scale_free_weights(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Weights whose scale does not matter, and all other parameters.

    A convolution or linear layer without a bias feeds a normalisation, which takes its scale out again.
    """
    scale_free = [
        layer.weight
        for layer in module.modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and layer.bias is None
    ]
    scale_free_ids = {id(weight) for weight in scale_free}
    return scale_free, [parameter for parameter in module.parameters() if id(parameter) not in scale_free_ids]


def _orthogonal(step: Tensor, iterations: int) -> Tensor:
    """The step with singular values near 1; one row an output channel."""
    matrix = step.flatten(1)
    rows, columns = matrix.shape
    if step.dim() > 2 and step.shape[1] == 1:
        return functional.normalize(matrix, dim=1).view_as(step)
    a, b, c = QUINTIC
    x = matrix / (torch.linalg.matrix_norm(matrix) + 1e-7)
    if rows > columns:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.T if rows > columns else x
    orthogonal: Tensor = x * max(1.0, rows / columns) ** 0.5
    return orthogonal.reshape(step.shape)
