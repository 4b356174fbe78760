"""Small modules to probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nas.hashing.probe import (
    ProbeKey,
    probe_module,
)

IMAGE = (4, 4, 4)


class Net(nn.Module):
    """Layers by name, and what is computed with them."""

    def __init__(self, compute: Callable[[Any, Tensor], Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.compute = compute

    def forward(self, x: Tensor) -> Any:
        return self.compute(self, x)


def convolution(out: int = 4, kernel: int = 3, width: int = 4, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(width, out, kernel, padding=kernel // 2, **more)


def module_key(module: nn.Module, shape: tuple[int, ...] = IMAGE, **more: Any) -> ProbeKey:
    return probe_module(module, [shape], **more)
