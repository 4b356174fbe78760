"""``torch.export`` of a module, on batches of any size; the module is left as it was."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from search_spaces.graph.operations import Shape
from search_spaces.pytorch.from_module.operands import UnsupportedModule


def parse_input_shapes(inputs: Sequence[tuple[int, ...]] | tuple[int, ...]) -> list[Shape]:
    several: Any = [inputs] if inputs and all(isinstance(n, int) for n in inputs) else inputs
    shapes = [tuple(shape) if isinstance(shape, Sequence) else () for shape in several]
    if not shapes or not all(shape and all(isinstance(n, int) and n > 0 for n in shape) for shape in shapes):
        raise UnsupportedModule(f"inputs must be shapes such as (3, 224, 224), one or several, not {inputs!r}")
    return shapes


def exported(module: nn.Module, shapes: Sequence[Shape]) -> ExportedProgram:
    """The module's operations on batches of any size, as PyTorch's own layers call them."""
    reference_parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    examples = tuple(
        torch.zeros((2, *shape), dtype=reference_parameter.dtype, device=reference_parameter.device) for shape in shapes
    )
    dynamic: ShapesCollection = ShapesCollection()  # type: ignore[no-untyped-call]
    for example in examples:
        dynamic[example] = {0: Dim("batch")}
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise UnsupportedModule("a module compiled by torch.jit cannot be traced; give the module it was made of")
    saved_attributes = [(part, dict(part.__dict__), dict(part._buffers)) for part in module.modules()]
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export", UserWarning)
            return torch.export.export(
                module,
                examples,
                dynamic_shapes=dynamic.dynamic_shapes(module, examples),  # type: ignore[no-untyped-call]
                strict=False,
            )
    except Exception as error:  # PyTorch names no common class, and forward() may raise anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnsupportedModule(
            f"torch.export cannot trace {type(module).__name__} for any batch size:"
            f" {type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        ) from error
    finally:  # forward() may have kept some of what it was traced with
        for part, attributes, buffers in saved_attributes:
            part.__dict__.clear()
            part.__dict__.update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)
