"""A TFLite model in memory: tensors and operators in execution order, before anything is packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from search_spaces.export.weights import Array
from search_spaces.graph.operations import Shape

ABSENT_OPERAND = -1  # an operand that an operator does without


class Quantisation(NamedTuple):
    """``real = scale * (integer - zero_point)``; arrays of one value, or one for each index of ``axis``."""

    scale: Array
    zero_point: Array
    axis: int = 0


@dataclass(slots=True)
class TfliteTensor:
    """A tensor; ``data`` is there for constants. ``shape`` has the batch axis, of extent 1."""

    shape: Shape
    name: str = ""
    data: Array | None = None
    dtype: str = "float32"
    quantisation: Quantisation | None = None


@dataclass(slots=True)
class TfliteOperator:
    """One operator by its name in the schema (``CONV_2D``), operands and results by tensor index."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class TfliteProgram:
    """Tensors, operators in order, and which tensors go in and out."""

    tensors: list[TfliteTensor] = field(default_factory=list)
    operators: list[TfliteOperator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    producer_indices: dict[int, int] = field(default_factory=dict)  # tensor to operator
    _constants: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def tensor(self, shape: Shape, name: str = "") -> int:
        """A new tensor of activations."""
        self.tensors.append(TfliteTensor(shape, name))
        return len(self.tensors) - 1

    def constant(self, data: Array, name: str = "") -> int:
        """A new constant; float64 becomes float32, whole numbers int32."""
        whole = np.issubdtype(data.dtype, np.integer)
        data = data.astype(np.int32 if whole else np.float32, copy=False)
        self.tensors.append(TfliteTensor(data.shape, name, data, "int32" if whole else "float32"))
        return len(self.tensors) - 1

    def int_constant(self, values: Any) -> int:
        """A constant of small whole numbers (a shape, a permutation), one for equal ones."""
        data = np.asarray(values, dtype=np.int32)
        key = (data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = self.constant(data, f"int{len(self._constants)}")
        return self._constants[key]

    def emit(self, code: str, inputs: tuple[int, ...], shape: Shape, name: str = "", **options: Any) -> int:
        """Append an operator with one result of ``shape``; the result's tensor index."""
        result = self.tensor(shape, name)
        self.producer_indices[result] = len(self.operators)
        self.operators.append(TfliteOperator(code, inputs, (result,), options))
        return result

    def producer(self, tensor: int) -> TfliteOperator | None:
        """The operator that makes a tensor; ``None`` for inputs and constants."""
        index = self.producer_indices.get(tensor)
        return None if index is None else self.operators[index]

    def reshape(self, x: int, shape: Shape) -> int:
        """``x`` in another shape; reshapes of reshapes become one."""
        producer = self.producer(x)
        if producer is not None and producer.code == "RESHAPE":
            x = producer.inputs[0]
        if self.tensors[x].shape == shape:
            return x
        data = self.tensors[x].data
        if data is not None:
            return self.constant(data.reshape(shape), self.tensors[x].name)
        return self.emit("RESHAPE", (x, self.int_constant(shape)), shape)

    def transpose(self, x: int, axes: tuple[int, ...]) -> int:
        """Axis ``i`` of the result is axis ``axes[i]`` of ``x``. What moves no element is a reshape.

        Axes of extent 1 are dropped and axes that stay neighbours joined first: kernels know six axes, compilers
        fewer.
        """
        shape, data = self.tensors[x].shape, self.tensors[x].data
        if data is not None:
            return self.constant(data.transpose(axes), self.tensors[x].name)
        result = tuple([shape[a] for a in axes])
        groups: list[list[int]] = []
        for a in axes:
            if shape[a] == 1:
                continue
            if groups and _neighbours(shape, groups[-1][-1], a):
                groups[-1].append(a)
            else:
                groups.append([a])
        ranked = sorted(groups)
        if ranked == groups:
            return self.reshape(x, result)
        if len(shape) > 4 or len(groups) + 1 < len(shape):
            x = self.reshape(x, (1, *[prod([shape[a] for a in g]) for g in ranked]))
            permutation = (0, *[1 + ranked.index(g) for g in groups])
        else:
            permutation = axes
        if len(permutation) > 4:  # without the batch axis
            x = self.reshape(x, self.tensors[x].shape[1:])
            permutation = tuple([m - 1 for m in permutation[1:]])
        extents = self.tensors[x].shape
        y = self.emit("TRANSPOSE", (x, self.int_constant(permutation)), tuple([extents[m] for m in permutation]))
        return self.reshape(y, result)

    def without_dead_operators(self) -> TfliteProgram:
        """The same without operators and tensors that no output needs, tensors numbered by first use."""
        needed = set(self.outputs)
        live_operators = []
        for operator in reversed(self.operators):
            if not needed.isdisjoint(operator.outputs):
                needed.update(operator.inputs)
                live_operators.append(operator)
        live_operators.reverse()
        number: dict[int, int] = {ABSENT_OPERAND: ABSENT_OPERAND}
        program = TfliteProgram()
        for t in [*self.inputs, *[i for o in live_operators for i in (*o.inputs, *o.outputs)], *self.outputs]:
            if t not in number:
                number[t] = len(program.tensors)
                program.tensors.append(self.tensors[t])
        for operator in live_operators:
            inputs, outputs = (tuple([number[i] for i in side]) for side in (operator.inputs, operator.outputs))
            program.producer_indices.update(dict.fromkeys(outputs, len(program.operators)))
            program.operators.append(TfliteOperator(operator.code, inputs, outputs, operator.options))
        program.inputs = [number[i] for i in self.inputs]
        program.outputs = [number[i] for i in self.outputs]
        return program


def _neighbours(shape: Shape, a: int, b: int) -> bool:
    """Whether axis ``b`` follows ``a`` in memory, with nothing but axes of extent 1 between."""
    return a < b and all(shape[i] == 1 for i in range(a + 1, b))
