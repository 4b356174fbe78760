"""A float32 program as one of 8-bit integers, by LiteRT's quantisation specification.

https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec: activations are asymmetric int8
with one scale, weights symmetric int8 with a scale for each output channel, biases int32 with the product of both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.tflite.operators import operator_row
from search_spaces.export.tflite.program import Quantisation, TfliteOperator, TfliteProgram, TfliteTensor
from search_spaces.export.tflite.ranges import Ranges
from search_spaces.export.tflite.scales import (
    MIN_SCALE,
    assign_scales,
    asymmetric_quantisation,
    per_tensor_quantisation,
)
from search_spaces.export.weights import Array

MAX_QUANTISED_BIAS = 2.0**30


def quantise_constant(data: Array, to: Quantisation) -> Array:
    """A constant as int8."""
    scale, zero_point = float(to.scale[0]), int(to.zero_point[0])
    clipped = np.clip(data, (-128 - zero_point) * scale, (127 - zero_point) * scale)
    whole: Array = (np.rint(clipped / scale) + zero_point).astype(np.int8)
    return whole


def _quantise_weights(
    program: TfliteProgram, operator: TfliteOperator, axis: int, scales: dict[int, Quantisation]
) -> tuple[TfliteTensor, TfliteTensor]:
    """Weights and biases of a convolution or linear layer as integers; output channels are on ``axis``."""
    x, w, b = operator.inputs
    weight = program.tensors[w].data
    assert weight is not None
    others = tuple([i for i in range(weight.ndim) if i != axis])
    largest = np.maximum(weight.max(axis=others), -weight.min(axis=others)).astype(np.float64)
    if not np.isfinite(largest).all():
        raise ModelFileError(f"int8: {program.tensors[w].name} holds numbers that are not finite; check the weights")
    bias = np.zeros(largest.shape) if b < 0 else np.asarray(program.tensors[b].data, np.float64)
    input_scale = float(scales[x].scale[0])
    # A channel of tiny weights and a large bias: coarser weights, so that the bias fits.
    scale = np.maximum(largest / 127, np.abs(bias) / (MAX_QUANTISED_BIAS * input_scale))
    scale = np.maximum(scale, MIN_SCALE).astype(np.float32)
    shaped = (1 / scale).reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    whole = weight * shaped
    np.rint(whole, out=whole)
    zeros = np.zeros(scale.shape, np.int64)
    bias_scale = (scale.astype(np.float64) * input_scale).astype(np.float32)
    whole_bias = np.rint(bias / bias_scale.astype(np.float64)).astype(np.int32)
    name = program.tensors[w].name
    return (
        TfliteTensor(weight.shape, name, whole.astype(np.int8), "int8", Quantisation(scale, zeros, axis)),
        TfliteTensor(scale.shape, f"{name}_bias", whole_bias, "int32", Quantisation(bias_scale, zeros, 0)),
    )


def _constant_scale(operator: TfliteOperator, data: Array, scales: dict[int, Quantisation]) -> Quantisation:
    """Scale of a constant operand. One that a sum's result cannot show is zero, in a scale that kernels know."""
    result = scales[operator.outputs[0]]
    if operator.code in ("CONCATENATION", "PADV2"):
        return result
    to = asymmetric_quantisation(float(data.min()), float(data.max()))
    invisible = operator.code == "ADD" and to.scale[0] < result.scale[0] / 512
    return per_tensor_quantisation(float(result.scale[0]), 0) if invisible else to


def quantise(program: TfliteProgram, ranges: Ranges) -> TfliteProgram:
    """The program with int8 inputs, outputs and everything between. ``ranges`` are those of its activations."""
    program, scales = assign_scales(program, ranges)
    tensors = list(program.tensors)
    for i, tensor in enumerate(program.tensors):
        if tensor.data is None:
            tensors[i] = replace(tensor, dtype="int8", quantisation=scales[i])
    operators = []
    for operator in program.operators:
        inputs = list(operator.inputs)
        axis = operator_row(operator.code).weight_axis
        if axis is not None:
            weight, bias = _quantise_weights(program, operator, axis, scales)
            inputs[1:] = [len(tensors), len(tensors) + 1]
            tensors += [weight, bias]
        else:
            for index, i in enumerate(inputs):
                constant = program.tensors[i]
                if constant.data is not None and constant.dtype == "float32":
                    to = _constant_scale(operator, constant.data, scales)
                    inputs[index] = len(tensors)
                    data = quantise_constant(constant.data, to)
                    tensors.append(TfliteTensor(constant.shape, constant.name, data, "int8", to))
        operators.append(replace(operator, inputs=tuple(inputs)))
    return TfliteProgram(tensors, operators, program.inputs, program.outputs).without_dead_operators()
