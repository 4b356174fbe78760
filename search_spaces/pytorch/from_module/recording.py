"""What a module asks of a builder, step by step, and which of its named modules asks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, Attrs, Shape
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler
from search_spaces.pytorch.from_module.reader import ExportedProgramReader, module_path
from search_spaces.pytorch.from_module.torch_export import exported, parse_input_shapes


@dataclass(frozen=True)
class RecordedStep:
    """One call of a builder's constructor. ``operands`` are earlier steps, ``owner`` the path of the named module."""

    op: str
    operands: tuple[int, ...]
    options: Mapping[str, Any]
    owner: str
    shape: Shape


@dataclass(frozen=True)
class Recording:
    """A module's steps in order, as it wrote them: no rule of the normal form has removed or joined any.

    ``outputs`` are steps by name, ``graph`` is what the steps build.
    """

    steps: tuple[RecordedStep, ...]
    outputs: Mapping[str, int]
    graph: Graph


def record(module: nn.Module, inputs: Sequence[tuple[int, ...]] | tuple[int, ...]) -> Recording:
    """As ``graph_from_module``, and how the graph came about. Raises ``UnsupportedModule``."""
    tape = Tape()
    graph = _Recorder(module, exported(module, parse_input_shapes(inputs)), tape).graph()
    return Recording(tuple(tape.steps), tape.outputs, graph)


class _Recorder(ExportedProgramReader):
    def value_of(self, handler: AtenHandler, call: AtenCall) -> Any:
        assert isinstance(self.program.b, Tape)
        self.program.b.owner = module_path(call.node)
        return super().value_of(handler, call)


class _TapeTensor(Tensor):
    """A tensor, and the step that returned it: two steps may return one tensor of the normal form."""

    __slots__ = ("step",)
    step: int


class Tape(Builder):
    """A builder that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[RecordedStep] = []
        self.outputs: dict[str, int] = {}
        self.owner = ""
        self.in_constructor = False  # a constructor that calls another is one step

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        outputs_by_name = {"output": outputs} if isinstance(outputs, Tensor) else outputs
        self.outputs = {name: step_of(tensor) for name, tensor in outputs_by_name.items()}
        return super().build(outputs)

    def operation(self, op: str, operands: Sequence[Tensor], attrs: Attrs = ()) -> Tensor:
        if self.in_constructor:
            return super().operation(op, operands, attrs)
        self.in_constructor = True
        try:
            tensor = super().operation(op, operands, attrs)
        finally:
            self.in_constructor = False
        return self.record_step(op, operands, dict(zip(OPS[op].attrs, attrs, strict=True)), tensor)

    def record_step(self, op: str, tensors: Sequence[Tensor], options: Mapping[str, Any], tensor: Tensor) -> Tensor:
        recorded = _TapeTensor(self, tensor.index, tensor.node, tensor.operands)
        recorded.step = len(self.steps)
        self.steps.append(RecordedStep(op, tuple([step_of(t) for t in tensors]), options, self.owner, tensor.shape))
        return recorded


def step_of(tensor: Tensor) -> int:
    """The step that returned a tensor of a tape."""
    assert isinstance(tensor, _TapeTensor)
    return tensor.step


def _recording_constructor(op: str) -> Callable[..., Tensor]:
    method = getattr(Builder, op)
    signature = inspect.signature(method)

    def constructor(self: Tape, *args: Any, **kwargs: Any) -> Tensor:
        if self.in_constructor:
            inner: Tensor = method(self, *args, **kwargs)
            return inner
        self.in_constructor = True
        try:
            tensor: Tensor = method(self, *args, **kwargs)
        finally:
            self.in_constructor = False
        tensors: list[Tensor] = []
        options: dict[str, Any] = {}
        for name, value in list(signature.bind(self, *args, **kwargs).arguments.items())[1:]:
            several = value if name == "operands" else [value]
            if name == "operands" or isinstance(value, Tensor):
                tensors += several
            else:
                options[name] = value
        return self.record_step(op, tensors, options, tensor)

    return constructor


for _op in OPS:
    if hasattr(Builder, _op):
        setattr(Tape, _op, _recording_constructor(_op))
