"""Scale and zero point of every activation, with those equal that LiteRT's specification wants equal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy

from search_spaces.export.tflite.program import Operator, Program, Quantisation, Tensor
from search_spaces.export.tflite.ranges import Ranges

SMALLEST_SCALE = 1e-18  # its square is still a float32
# Operators whose result has the very scale of their first operand, and no value beyond that one's.
MOVES = frozenset(
    (
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
        "PAD",
        "PADV2",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "TRANSPOSE",
    )
)
# Results that the specification gives a scale and a zero point.
FIXED = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}
# A part of a concatenation that would use less than this much of its range is rescaled by an operator of its own.
WORTH_SHARING = 0.5


def one_scale(scale: float, zero_point: int) -> Quantisation:
    """Scale and zero point of a whole tensor."""
    return Quantisation(numpy.array([scale], numpy.float32), numpy.array([zero_point], numpy.int64))


def asymmetric(low: float, high: float) -> Quantisation:
    """Scale and zero point of int8 values from ``low`` to ``high``, zero among them and exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, SMALLEST_SCALE)
    return one_scale(scale, int(numpy.clip(round(-128 - low / scale), -128, 127)))


@dataclass(slots=True)
class _Group:
    """Tensors of one scale: the values they hold, zero among them, and the scale where it is given."""

    low: float
    high: float
    fixed: tuple[float, int] | None = None
    joined: _Group | None = None

    def final(self) -> _Group:
        group = self
        while group.joined is not None:
            group = group.joined
        return group

    @property
    def width(self) -> float:
        return self.high - self.low

    def quantisation(self) -> Quantisation:
        return asymmetric(self.low, self.high) if self.fixed is None else one_scale(*self.fixed)


def _group(low: float, high: float, fixed: tuple[float, int] | None = None) -> _Group:
    return _Group(min(low, 0.0), max(high, 0.0), fixed)


def _of_constant(tensor: Tensor) -> _Group:
    assert tensor.data is not None
    return _group(float(tensor.data.min()), float(tensor.data.max()))


def _concatenated(program: Program, operator: Operator, groups: dict[int, _Group]) -> tuple[_Group, list[int]]:
    """The group of a concatenation's result, and the operands that are not of it and must be rescaled."""
    parts = {i: groups[i].final() if i in groups else _of_constant(program.tensors[i]) for i in operator.inputs}
    low, high = min(p.low for p in parts.values()), max(p.high for p in parts.values())
    fixed = {p.fixed for p in parts.values()}
    if len(fixed) == 1 and None not in fixed:
        return _shared(list(parts.values()), low, high, fixed.pop()), []
    joining, apart = [], []
    for i, part in parts.items():
        if part.fixed is None and part.width >= WORTH_SHARING * (high - low):
            joining.append(part)
        elif program.tensors[i].data is None:
            apart.append(i)
    return _shared(joining, low, high, None), apart


def _shared(parts: list[_Group], low: float, high: float, fixed: tuple[float, int] | None) -> _Group:
    made = _group(low, high, fixed)
    for part in parts:
        if part.final() is not made:
            part.final().joined = made
    return made


def with_scales(program: Program, ranges: Ranges) -> tuple[Program, dict[int, Quantisation]]:
    """The program with QUANTIZE where scales must differ but may not, and every activation's scale.

    ``ranges`` are the values of every activation.
    """
    tensors, operators = list(program.tensors), []
    groups = {i: _group(*ranges[i]) for i in program.inputs}
    for operator in program.operators:
        (made,) = operator.outputs
        if operator.code in MOVES:
            moved = operator.inputs[0]
            groups[made] = groups[moved].final() if moved in groups else _of_constant(tensors[moved])
        elif operator.code == "CONCATENATION":
            groups[made], apart = _concatenated(program, operator, groups)
            rescaled = {}
            for i in apart:
                rescaled[i] = len(tensors)
                tensors.append(Tensor(tensors[i].shape, f"{tensors[i].name}_rescaled"))
                groups[rescaled[i]] = groups[made]
                operators.append(Operator("QUANTIZE", (i,), (rescaled[i],)))
            operator = replace(operator, inputs=tuple([rescaled.get(i, i) for i in operator.inputs]))
        else:
            groups[made] = _group(*ranges[made], FIXED.get(operator.code))
        operators.append(operator)
    scales = {i: group.final().quantisation() for i, group in groups.items()}
    return Program(tensors, operators, program.inputs, program.outputs), scales
