"""A TFLite model in memory: tensors and operators in execution order, before anything is packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy

from search_spaces.export.weights import Array
from search_spaces.graph.operations import Shape

WEIGHT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}  # where weights have their output channels
ABSENT = -1  # an operand that an operator does without


class Quantisation(NamedTuple):
    """``real = scale * (integer - zero_point)``; arrays of one value, or one for each index of ``axis``."""

    scale: Array
    zero_point: Array
    axis: int = 0


@dataclass(slots=True)
class Tensor:
    """A tensor; ``data`` is there for constants. ``shape`` has the batch axis, of extent 1."""

    shape: Shape
    name: str = ""
    data: Array | None = None
    dtype: str = "float32"
    quantisation: Quantisation | None = None


@dataclass(slots=True)
class Operator:
    """One operator by its name in the schema (``CONV_2D``), operands and results by tensor index."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Program:
    """Tensors, operators in order, and which tensors go in and out."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    made_by: dict[int, int] = field(default_factory=dict)  # tensor to operator
    _constants: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def tensor(self, shape: Shape, name: str = "") -> int:
        """A new tensor of activations."""
        self.tensors.append(Tensor(shape, name))
        return len(self.tensors) - 1

    def constant(self, data: Array, name: str = "") -> int:
        """A new constant; float64 becomes float32, whole numbers int32."""
        whole = numpy.issubdtype(data.dtype, numpy.integer)
        data = data.astype(numpy.int32 if whole else numpy.float32, copy=False)
        self.tensors.append(Tensor(data.shape, name, data, "int32" if whole else "float32"))
        return len(self.tensors) - 1

    def whole_numbers(self, values: Any) -> int:
        """A constant of small whole numbers (a shape, a permutation), one for equal ones."""
        data = numpy.asarray(values, dtype=numpy.int32)
        key = (data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = self.constant(data, f"int{len(self._constants)}")
        return self._constants[key]

    def emit(self, code: str, inputs: tuple[int, ...], shape: Shape, name: str = "", **options: Any) -> int:
        """Append an operator with one result of ``shape``; the result's tensor index."""
        result = self.tensor(shape, name)
        self.made_by[result] = len(self.operators)
        self.operators.append(Operator(code, inputs, (result,), options))
        return result

    def maker(self, tensor: int) -> Operator | None:
        """The operator that makes a tensor; ``None`` for inputs and constants."""
        place = self.made_by.get(tensor)
        return None if place is None else self.operators[place]

    def reshape(self, x: int, shape: Shape) -> int:
        """``x`` in another shape; reshapes of reshapes become one."""
        maker = self.maker(x)
        if maker is not None and maker.code == "RESHAPE":
            x = maker.inputs[0]
        if self.tensors[x].shape == shape:
            return x
        data = self.tensors[x].data
        if data is not None:
            return self.constant(data.reshape(shape), self.tensors[x].name)
        return self.emit("RESHAPE", (x, self.whole_numbers(shape)), shape)

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
            moved = (0, *[1 + ranked.index(g) for g in groups])
        else:
            moved = axes
        if len(moved) > 4:  # without the batch axis
            x = self.reshape(x, self.tensors[x].shape[1:])
            moved = tuple([m - 1 for m in moved[1:]])
        extents = self.tensors[x].shape
        y = self.emit("TRANSPOSE", (x, self.whole_numbers(moved)), tuple([extents[m] for m in moved]))
        return self.reshape(y, result)

    def swept(self) -> Program:
        """The same without operators and tensors that no output needs, tensors numbered by first use."""
        needed = set(self.outputs)
        kept = []
        for operator in reversed(self.operators):
            if not needed.isdisjoint(operator.outputs):
                needed.update(operator.inputs)
                kept.append(operator)
        kept.reverse()
        number: dict[int, int] = {ABSENT: ABSENT}
        program = Program()
        for t in [*self.inputs, *[i for o in kept for i in (*o.inputs, *o.outputs)], *self.outputs]:
            if t not in number:
                number[t] = len(program.tensors)
                program.tensors.append(self.tensors[t])
        for operator in kept:
            inputs, outputs = (tuple([number[i] for i in side]) for side in (operator.inputs, operator.outputs))
            program.made_by.update(dict.fromkeys(outputs, len(program.operators)))
            program.operators.append(Operator(operator.code, inputs, outputs, operator.options))
        program.inputs = [number[i] for i in self.inputs]
        program.outputs = [number[i] for i in self.outputs]
        return program


def _neighbours(shape: Shape, a: int, b: int) -> bool:
    """Whether axis ``b`` follows ``a`` in memory, with nothing but axes of extent 1 between."""
    return a < b and all(shape[i] == 1 for i in range(a + 1, b))
