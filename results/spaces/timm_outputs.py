"""Networks of timm with random weights, and what they compute: `python timm_outputs.py FOLDER NAME SIZE ...`

Runs in an environment of its own that has timm, torch and safetensors, beside the project's. torchvision is not needed:
a stand-in takes its place, for networks do not use it. Writes NAME.safetensors, the state, and NAME.io.safetensors, an
input and the output in evaluation. Every scale, shift and running statistic is away from its initial value.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar


class _StandInType(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _StandInModule(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandInType(name, (), {})


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds any module of torchvision, with any names in it."""

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        is_torchvision = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_torchvision else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def main(folder: Path, networks: Sequence[tuple[str, int]]) -> None:
    """Write the files of each network, at an image size."""
    sys.meta_path.insert(0, _StandInFinder())
    import timm
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    for name, size in networks:
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=False).double().eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for key, tensor in model.state_dict().items():
                if key.endswith("running_var"):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
                elif tensor.dtype.is_floating_point and tensor.dim() == 1:
                    tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
            x = torch.randn(2, 3, size, size, generator=generator, dtype=torch.float64)
            y = model(x)
        save_file(
            {key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / f"{name}.safetensors"
        )
        save_file({"x": x, "y": y}, folder / f"{name}.io.safetensors")


if __name__ == "__main__":
    pairs = list(zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True))
    main(Path(sys.argv[1]), pairs)
