"""A float32 program as one with QuantizeLinear and DequantizeLinear around what runs in 8-bit integers (QDQ).

Activations are asymmetric int8, weights of convolutions and linear layers symmetric int8 with a scale for each output
channel, biases int32 with the product of both scales, as ONNX Runtime's own tool writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.onnx.program import OnnxOperator, OnnxProgram
from search_spaces.export.onnx.serialise import serialise
from search_spaces.export.weights import Array

Ranges = dict[str, tuple[float, float]]  # by value
MIN_SCALE = 1e-18  # its square is still a float32
MAX_QUANTISED_BIAS = 2.0**30
WEIGHT_CHANNEL_AXIS = {"Conv": 0, "Gemm": 0}  # the axis of their weights' output channels
SCALE_PRESERVING = ("Reshape", "Transpose", "Slice", "MaxPool", "Identity")  # the result has the scale of the operand
FUSED_ACTIVATIONS = ("Relu", "Clip")  # run with the layer before, without a scale between


def measured_ranges(program: OnnxProgram, samples: Sequence[Sequence[Array]]) -> Ranges:
    """Run ``samples`` (each the graph's inputs, without a batch axis) through the float program with ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        raise ModelFileError("onnx: calibration needs the package onnxruntime; pip install onnxruntime") from None
    if not samples:
        raise ModelFileError("calibration: needs at least one sample")
    extra_outputs = tuple([o.output for o in program.operators if o.output not in program.outputs])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        serialise(program, extra_outputs), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    ranges: Ranges = {}
    for sample in samples:
        if [np.shape(x) for x in sample] != list(program.graph.input_shapes):
            sample_shapes = [np.shape(x) for x in sample]
            raise ModelFileError(
                f"calibration: a sample must hold {list(program.graph.input_shapes)}, not {sample_shapes}"
            )
        feed = {n: np.asarray(x, np.float32)[None] for n, x in zip(program.inputs, sample, strict=True)}
        for name, values in [*feed.items(), *zip(names, session.run(None, feed), strict=True)]:
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(low + high):
                raise ModelFileError(f"calibration: {name} is not finite; check the weights and the samples")
            previous = ranges.get(name, (low, high))
            ranges[name] = (min(low, previous[0]), max(high, previous[1]))
    return ranges


def _scale(low: float, high: float) -> tuple[float, int]:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, MIN_SCALE)
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


class _Quantiser:
    """Rewrites one program; ``scales`` are those of its values so far."""

    def __init__(self, program: OnnxProgram, ranges: Ranges) -> None:
        self.program = program
        self.ranges = ranges
        self.scales: dict[str, tuple[float, int]] = {}
        self.names: dict[str, str] = {}  # a float value to its quantised and dequantised self
        self.operators: list[OnnxOperator] = []
        self.constants: dict[str, Array] = dict(program.constants)
        self.readers: dict[str, list[OnnxOperator]] = {}
        for operator in program.operators:
            for name in operator.inputs:
                self.readers.setdefault(name, []).append(operator)

    def add_quantise_pair(self, name: str, scale: tuple[float, int]) -> None:
        """Quantise and dequantise a value for all that reads it."""
        self.scales[name] = scale
        pair = (f"{name}_scale", f"{name}_zero")
        self.constants[pair[0]] = np.array(scale[0], np.float32)
        self.constants[pair[1]] = np.array(scale[1], np.int8)
        self.operators.append(OnnxOperator("QuantizeLinear", (name, *pair), f"{name}_int8", {}))
        self.operators.append(OnnxOperator("DequantizeLinear", (f"{name}_int8", *pair), f"{name}_q", {}))
        self.names[name] = f"{name}_q"

    def dequantised_constant(self, name: str, integer_data: Array, scale: Array, axis: int) -> str:
        """An integer constant with a scale for each index of ``axis``, dequantised; the name of the result."""
        self.constants[f"{name}_int"] = integer_data
        self.constants[f"{name}_scale"] = scale
        self.constants[f"{name}_zero"] = np.zeros(scale.shape, integer_data.dtype)
        operands = (f"{name}_int", f"{name}_scale", f"{name}_zero")
        self.operators.append(OnnxOperator("DequantizeLinear", operands, f"{name}_q", {"axis": axis}))
        return f"{name}_q"

    def weighted(self, operator: OnnxOperator) -> tuple[str, ...]:
        """Weights and bias of a convolution or linear layer as integers; its operands."""
        x, w, *b = operator.inputs
        weight, axis = self.program.constants[w], WEIGHT_CHANNEL_AXIS[operator.kind]
        others = tuple([i for i in range(weight.ndim) if i != axis])
        largest = np.abs(weight).max(axis=others).astype(np.float64)
        if not np.isfinite(largest).all():
            raise ModelFileError(f"int8: {w} holds numbers that are not finite; check the weights")
        input_scale = self.scales[x][0]
        bias = self.program.constants[b[0]].astype(np.float64) if b else np.zeros(largest.shape)
        scale = np.maximum(largest / 127, np.abs(bias) / (MAX_QUANTISED_BIAS * input_scale))
        scale = np.maximum(scale, MIN_SCALE).astype(np.float32)
        shaped = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        operands = [
            self.names[x],
            self.dequantised_constant(w, np.rint(weight / shaped).astype(np.int8), scale, axis),
        ]
        if b:
            bias_scale = (scale.astype(np.float64) * input_scale).astype(np.float32)
            integer_data = np.rint(bias / bias_scale.astype(np.float64)).astype(np.int32)
            operands.append(self.dequantised_constant(b[0], integer_data, bias_scale, 0))
        return tuple(operands)

    def operand(self, operator: OnnxOperator, index: int) -> str:
        """One operand, quantised where it is a float value; constants that are added or multiplied too."""
        name = operator.inputs[index]
        if name in self.names:
            return self.names[name]
        constant = self.program.constants.get(name)
        if constant is None or constant.dtype != np.float32 or operator.kind in ("Clip", "LayerNormalization"):
            return name
        self.add_quantise_pair(name, _scale(float(constant.min()), float(constant.max())))
        return self.names[name]

    def fuses_activation(self, operator: OnnxOperator) -> bool:
        """Whether a ReLU alone reads the result of a layer and runs with it."""
        readers = self.readers.get(operator.output, [])
        weighted = operator.kind in (*WEIGHT_CHANNEL_AXIS, "Add")
        return weighted and len(readers) == 1 and readers[0].kind in FUSED_ACTIVATIONS

    def run(self) -> OnnxProgram:
        program = self.program
        for name in program.inputs:
            self.add_quantise_pair(name, _scale(*self.ranges[name]))
        for operator in program.operators:
            if operator.output in program.outputs:  # the dequantised value goes out
                inputs = tuple([self.names.get(i, i) for i in operator.inputs])
                self.operators.append(operator._replace(inputs=inputs))
                continue
            if operator.kind in WEIGHT_CHANNEL_AXIS:
                inputs = self.weighted(operator)
            else:
                inputs = tuple([self.operand(operator, index) for index in range(len(operator.inputs))])
            self.operators.append(operator._replace(inputs=inputs))
            if self.fuses_activation(operator):
                continue
            first = operator.inputs[0]
            same = operator.kind in SCALE_PRESERVING and first in self.scales
            self.add_quantise_pair(
                operator.output, self.scales[first] if same else _scale(*self.ranges[operator.output])
            )
        return replace(program, operators=self.operators, constants=self.constants)


def quantise(program: OnnxProgram, ranges: Ranges) -> OnnxProgram:
    """The program with QuantizeLinear and DequantizeLinear around its operators; inputs and outputs stay float32."""
    return _Quantiser(program, ranges).run()
