"""Scale and zero point of every activation, with those equal that LiteRT's specification wants equal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from search_spaces.export.tflite.operators import operator_row
from search_spaces.export.tflite.program import Quantisation, TfliteOperator, TfliteProgram, TfliteTensor
from search_spaces.export.tflite.ranges import Ranges

MIN_SCALE = 1e-18  # its square is still a float32
# A part of a concatenation that would use less than this much of its range is rescaled by an operator of its own.
MIN_SHARED_RANGE = 0.5


def per_tensor_quantisation(scale: float, zero_point: int) -> Quantisation:
    """Scale and zero point of a whole tensor."""
    return Quantisation(np.array([scale], np.float32), np.array([zero_point], np.int64))


def asymmetric_quantisation(low: float, high: float) -> Quantisation:
    """Scale and zero point of int8 values from ``low`` to ``high``, zero among them and exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, MIN_SCALE)
    return per_tensor_quantisation(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


@dataclass(slots=True)
class _ScaleGroup:
    """Tensors of one scale: the values they hold, zero among them, and the scale where it is given."""

    low: float
    high: float
    fixed: tuple[float, int] | None = None
    merged_into: _ScaleGroup | None = None

    def representative(self) -> _ScaleGroup:
        group = self
        while group.merged_into is not None:
            group = group.merged_into
        return group

    @property
    def width(self) -> float:
        return self.high - self.low

    def quantisation(self) -> Quantisation:
        return (
            asymmetric_quantisation(self.low, self.high) if self.fixed is None else per_tensor_quantisation(*self.fixed)
        )


def _make_group(low: float, high: float, fixed: tuple[float, int] | None = None) -> _ScaleGroup:
    return _ScaleGroup(min(low, 0.0), max(high, 0.0), fixed)


def _constant_group(tensor: TfliteTensor) -> _ScaleGroup:
    assert tensor.data is not None
    return _make_group(float(tensor.data.min()), float(tensor.data.max()))


def _concatenation_group(
    program: TfliteProgram, operator: TfliteOperator, groups: dict[int, _ScaleGroup]
) -> tuple[_ScaleGroup, list[int]]:
    """The group of a concatenation's result, and the operands that are not of it and must be rescaled."""
    parts = {
        i: groups[i].representative() if i in groups else _constant_group(program.tensors[i]) for i in operator.inputs
    }
    low, high = min(p.low for p in parts.values()), max(p.high for p in parts.values())
    fixed = {p.fixed for p in parts.values()}
    if len(fixed) == 1 and None not in fixed:
        return _merge_groups(list(parts.values()), low, high, fixed.pop()), []
    members, to_rescale = [], []
    for i, part in parts.items():
        if part.fixed is None and part.width >= MIN_SHARED_RANGE * (high - low):
            members.append(part)
        elif program.tensors[i].data is None:
            to_rescale.append(i)
    return _merge_groups(members, low, high, None), to_rescale


def _merge_groups(parts: list[_ScaleGroup], low: float, high: float, fixed: tuple[float, int] | None) -> _ScaleGroup:
    result = _make_group(low, high, fixed)
    for part in parts:
        if part.representative() is not result:
            part.representative().merged_into = result
    return result


def assign_scales(program: TfliteProgram, ranges: Ranges) -> tuple[TfliteProgram, dict[int, Quantisation]]:
    """The program with QUANTIZE where scales must differ but may not, and every activation's scale.

    ``ranges`` are the values of every activation.
    """
    tensors, operators = list(program.tensors), []
    groups = {i: _make_group(*ranges[i]) for i in program.inputs}
    for operator in program.operators:
        (result,) = operator.outputs
        row = operator_row(operator.code)
        if row.keeps_scale:
            source = operator.inputs[0]
            groups[result] = groups[source].representative() if source in groups else _constant_group(tensors[source])
        elif operator.code == "CONCATENATION":
            groups[result], to_rescale = _concatenation_group(program, operator, groups)
            rescaled = {}
            for i in to_rescale:
                rescaled[i] = len(tensors)
                tensors.append(TfliteTensor(tensors[i].shape, f"{tensors[i].name}_rescaled"))
                groups[rescaled[i]] = groups[result]
                operators.append(TfliteOperator("QUANTIZE", (i,), (rescaled[i],)))
            operator = replace(operator, inputs=tuple([rescaled.get(i, i) for i in operator.inputs]))
        else:
            groups[result] = _make_group(*ranges[result], row.fixed_scale)
        operators.append(operator)
    scales = {i: group.representative().quantisation() for i, group in groups.items()}
    return TfliteProgram(tensors, operators, program.inputs, program.outputs), scales
