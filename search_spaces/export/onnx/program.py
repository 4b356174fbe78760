"""An ONNX model in memory: operators and constants in execution order, and which value holds which node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from search_spaces.export.names import value_name
from search_spaces.export.weights import Array, Weights, consumers
from search_spaces.graph.graph import Graph


class UnsupportedInOnnx(Exception):
    """Why one node has no form in ONNX; becomes ``Unsupported``."""


class OnnxOperator(NamedTuple):
    """One operator by its ONNX name, operands and results by value name; an empty name is an operand left out."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass(slots=True)
class OnnxProgram:
    """Operators and constants so far. ``values[i]`` is the name of the value of graph node ``i``."""

    graph: Graph
    weights: Weights
    readers: list[list[int]] = field(init=False)
    operators: list[OnnxOperator] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)
    _int_constants: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readers = consumers(self.graph)

    def constant(self, name: str, data: Array) -> str:
        """A constant of its own; float64 becomes float32. Its name."""
        self.constants[name] = data.astype(np.float32, copy=False) if data.dtype.kind == "f" else data
        return name

    def int_constant(self, values: Any) -> str:
        """An int64 constant (a shape, a range), one for equal ones; its name."""
        data = np.asarray(values, dtype=np.int64)
        key = (data.shape, data.tobytes())
        if key not in self._int_constants:
            self._int_constants[key] = self.constant(f"int{len(self._int_constants)}", data)
        return self._int_constants[key]

    def emit(self, kind: str, inputs: tuple[str, ...], output: str, **attributes: Any) -> str:
        """Append an operator; the name of its result."""
        self.operators.append(OnnxOperator(kind, inputs, output, attributes))
        return output

    def emit_node(self, index: int, kind: str, inputs: tuple[str, ...], **attributes: Any) -> None:
        """Append the operator that makes the value of graph node ``index``."""
        self.values[index] = self.emit(kind, inputs, value_name(self.graph, index), **attributes)

    def operands(self, index: int) -> tuple[str, ...]:
        """Names of the values that node ``index`` reads."""
        return tuple([self.values[i] for i in self.graph.nodes[index].inputs])
