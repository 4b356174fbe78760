"""Where a network is trained, in PyTorch's words: ``cpu``, ``cuda:1``."""

from __future__ import annotations

import torch
from torch import nn


class ComputeDevice:
    """A place to train. Raises ``ValueError`` for one that PyTorch does not have here."""

    def __init__(self, name: str) -> None:
        try:
            self.device = torch.device(name)
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"no compute device {name!r}: {reason}; give cpu, cuda or cuda:0") from None

    def take(self, module: nn.Module) -> None:
        """Move the module there, and count memory from here on."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        module.to(self.device)

    def peak_memory_mib(self) -> float | None:
        """The most memory that tensors took since ``take``; ``None`` where nobody counts it, as on a processor."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) / 2**20
