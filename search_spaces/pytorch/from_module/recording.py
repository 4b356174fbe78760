"""What a module asks of a builder, step by step, and which of its named modules asks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, Shape
from search_spaces.pytorch.from_module.call import Call, Operation
from search_spaces.pytorch.from_module.reader import Reader
from search_spaces.pytorch.from_module.torch_export import exported, input_shapes


@dataclass(frozen=True)
class Step:
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

    steps: tuple[Step, ...]
    outputs: Mapping[str, int]
    graph: Graph


def record(module: nn.Module, inputs: Sequence[tuple[int, ...]] | tuple[int, ...]) -> Recording:
    """As ``graph_from_module``, and how the graph came about. Raises ``UnsupportedModule``."""
    tape = Tape()
    graph = _Recorder(module, exported(module, input_shapes(inputs)), tape).graph()
    return Recording(tuple(tape.steps), tape.outputs, graph)


class _Recorder(Reader):
    def value_of(self, read: Operation, call: Call) -> Any:
        assert isinstance(self.program.b, Tape)
        stack = list((call.node.meta.get("nn_module_stack") or {}).values())
        self.program.b.owner = stack[-1][0] if stack else ""
        return super().value_of(read, call)


class _Noted(Tensor):
    """A tensor, and the step that returned it: two steps may return one tensor of the normal form."""

    __slots__ = ("step",)
    step: int


class Tape(Builder):
    """A builder that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.outputs: dict[str, int] = {}
        self.owner = ""
        self.inside = False  # a constructor that calls another is one step

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        named = {"output": outputs} if isinstance(outputs, Tensor) else outputs
        self.outputs = {name: step_of(tensor) for name, tensor in named.items()}
        return super().build(outputs)

    def note(self, op: str, tensors: Sequence[Tensor], options: Mapping[str, Any], made: Tensor) -> Tensor:
        noted = _Noted(self, made.index, made.node, made.operands)
        noted.step = len(self.steps)
        self.steps.append(Step(op, tuple([step_of(t) for t in tensors]), options, self.owner, made.shape))
        return noted


def step_of(tensor: Tensor) -> int:
    """The step that returned a tensor of a tape."""
    assert isinstance(tensor, _Noted)
    return tensor.step


def _noting(op: str) -> Callable[..., Tensor]:
    method = getattr(Builder, op)
    signature = inspect.signature(method)

    def constructor(self: Tape, *args: Any, **kwargs: Any) -> Tensor:
        if self.inside:
            inner: Tensor = method(self, *args, **kwargs)
            return inner
        self.inside = True
        try:
            made: Tensor = method(self, *args, **kwargs)
        finally:
            self.inside = False
        tensors: list[Tensor] = []
        options: dict[str, Any] = {}
        for name, value in list(signature.bind(self, *args, **kwargs).arguments.items())[1:]:
            several = value if name == "operands" else [value]
            if name == "operands" or isinstance(value, Tensor):
                tensors += several
            else:
                options[name] = value
        return self.note(op, tensors, options, made)

    return constructor


for _op in OPS:
    setattr(Tape, _op, _noting(_op))
