"""The range of every activation of a program without running it: normal distributions carried from node to node.

Each tensor is taken for independent draws from one normal distribution, cut to an interval. That is what random weights
make of random images, within a factor; what training makes is not, so trained networks are calibrated with samples.
"""

from __future__ import annotations

from collections.abc import Callable
from math import hypot, prod, sqrt
from typing import NamedTuple

import numpy as np

from search_spaces.export.tflite.program import WEIGHT_AXIS, TfliteOperator, TfliteProgram, TfliteTensor
from search_spaces.export.tflite.ranges import Ranges
from search_spaces.export.weights import Array

RANGE_STD_DEVIATIONS = 4.0  # standard deviations that a range holds
_POINTS, _POINT_WEIGHTS = np.polynomial.hermite_e.hermegauss(48)
_POINT_WEIGHTS = _POINT_WEIGHTS / _POINT_WEIGHTS.sum()


class ActivationDistribution(NamedTuple):
    """Mean, standard deviation, and the interval that values are in, all but a few."""

    mean: float
    std: float
    low: float
    high: float


def _normal_distribution(mean: float, std: float) -> ActivationDistribution:
    return ActivationDistribution(mean, std, mean - RANGE_STD_DEVIATIONS * std, mean + RANGE_STD_DEVIATIONS * std)


def propagate(function: Callable[[Array], Array], x: ActivationDistribution) -> ActivationDistribution:
    """``function`` of a normal value, by Gauss-Hermite quadrature; its interval from a grid."""
    y = function(np.clip(x.mean + x.std * _POINTS, x.low, x.high))
    mean = float(y @ _POINT_WEIGHTS)
    std = sqrt(max(float((y - mean) ** 2 @ _POINT_WEIGHTS), 0.0))
    grid = function(np.linspace(x.low, x.high, 65))
    return ActivationDistribution(mean, std, float(grid.min()), float(grid.max()))


def _sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-np.clip(x, -80, 80)))
    return y


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "HARD_SWISH": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "LOGISTIC": _sigmoid,
    "TANH": np.tanh,
    "LEAKY_RELU": lambda x: np.where(x > 0, x, 0.1 * x),
    "GELU": lambda x: x * _sigmoid(1.702 * x),  # near enough for a range
}
_RANGE_PRESERVING = {
    "RESHAPE",
    "TRANSPOSE",
    "SLICE",
    "QUANTIZE",
    "PAD",
    "PADV2",
    "MAX_POOL_2D",
    "RESIZE_NEAREST_NEIGHBOR",
    "RESIZE_BILINEAR",
}


def _weighted(x: ActivationDistribution, weight: Array, bias: Array | None, axis: int) -> ActivationDistribution:
    others = tuple([i for i in range(weight.ndim) if i != axis])
    sums = weight.sum(axis=others)
    squares = np.einsum(weight, list(range(weight.ndim)), weight, list(range(weight.ndim)), [axis])
    means = x.mean * sums + (0 if bias is None else bias)
    variances = x.std**2 * squares
    std = float(np.sqrt(variances.mean() + means.var()))
    half_width = RANGE_STD_DEVIATIONS * np.sqrt(variances)
    return ActivationDistribution(
        float(means.mean()), std, float((means - half_width).min()), float((means + half_width).max())
    )


def _product(a: ActivationDistribution, b: ActivationDistribution) -> ActivationDistribution:
    corners = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high]
    second = (a.std**2 + a.mean**2) * (b.std**2 + b.mean**2)
    mean = a.mean * b.mean
    result = _normal_distribution(mean, sqrt(max(second - mean**2, 0.0)))
    return ActivationDistribution(mean, result.std, min(corners), max(corners))


def _of_constant(tensor: TfliteTensor) -> ActivationDistribution:
    data = tensor.data
    assert data is not None
    return ActivationDistribution(float(data.mean()), float(data.std()), float(data.min()), float(data.max()))


def _sum(a: ActivationDistribution, b: ActivationDistribution, sign: float = 1.0) -> ActivationDistribution:
    below, above = (b.mean - b.low, b.high - b.mean) if sign > 0 else (b.high - b.mean, b.mean - b.low)
    mean = a.mean + sign * b.mean
    low, high = mean - hypot(a.mean - a.low, below), mean + hypot(a.high - a.mean, above)
    return ActivationDistribution(mean, hypot(a.std, b.std), low, high)


def _mean(x: ActivationDistribution, count: int) -> ActivationDistribution:
    """A mean over independent values; its interval stays wider, because channels have means of their own."""
    return ActivationDistribution(x.mean, x.std / sqrt(min(count, 16)), x.low, x.high)


def _mixture(parts: list[tuple[ActivationDistribution, int]]) -> ActivationDistribution:
    total = sum([n for _, n in parts])
    mean = sum([s.mean * n for s, n in parts]) / total
    second = sum([(s.std**2 + s.mean**2) * n for s, n in parts]) / total
    low, high = min(s.low for s, _ in parts), max(s.high for s, _ in parts)
    return ActivationDistribution(mean, sqrt(max(second - mean**2, 0.0)), low, high)


def _matrix_product(a: ActivationDistribution, b: ActivationDistribution, length: int) -> ActivationDistribution:
    one = _product(a, b)
    return _normal_distribution(one.mean * length, one.std * sqrt(length))


def _real(program: TfliteProgram, operator: TfliteOperator) -> tuple[int, ...]:
    """The operands that are numbers to compute with, and not weights or a shape."""
    alone = operator.code in WEIGHT_AXIS or operator.code in _RANGE_PRESERVING or operator.code == "MEAN"
    return operator.inputs[:1] if alone else operator.inputs


def _result_distribution(
    program: TfliteProgram, operator: TfliteOperator, distributions: dict[int, ActivationDistribution]
) -> ActivationDistribution:
    tensors, code = program.tensors, operator.code
    first, *others = [
        distributions[i] if i in distributions else _of_constant(tensors[i]) for i in _real(program, operator)
    ]
    if code in WEIGHT_AXIS:
        weight, bias = [None if i < 0 else tensors[i].data for i in operator.inputs[1:3]]
        assert weight is not None
        return _weighted(first, weight, bias, WEIGHT_AXIS[code])
    if code in FUNCTIONS:
        return propagate(FUNCTIONS[code], first)
    if code in _RANGE_PRESERVING:
        return first
    if code == "RSQRT":  # of a variance: that of one position is seldom below a sixteenth of what it is on average
        inverse = 1 / sqrt(max(first.mean, 1e-12))
        return ActivationDistribution(inverse, inverse / 4, 0.0, 4 * inverse)
    if code == "AVERAGE_POOL_2D":
        return _mean(first, operator.options["filterHeight"] * operator.options["filterWidth"])
    if code == "MEAN":
        return _mean(first, tensors[operator.inputs[0]].shape[-1])
    if code == "CONCATENATION":
        sizes = [prod(tensors[i].shape) for i in operator.inputs]
        return _mixture(list(zip([first, *others], sizes, strict=True)))
    if code == "SOFTMAX":
        length = tensors[operator.inputs[0]].shape[-1]
        return ActivationDistribution(1 / length, 1 / length, 0.0, 1.0)
    (second,) = others
    if code == "BATCH_MATMUL":
        shape = tensors[operator.inputs[0]].shape
        inner = shape[-2] if operator.options["adjX"] else shape[-1]
        return _matrix_product(first, second, inner)
    if code == "MUL":
        if operator.inputs[0] == operator.inputs[1]:
            return propagate(np.square, first)
        gate = program.producer(operator.inputs[1])
        if gate is not None and gate.code == "LOGISTIC" and gate.inputs == operator.inputs[:1]:
            return propagate(lambda x: x * _sigmoid(x), first)
        if gate is not None and gate.code == "RSQRT":  # layer normalisation
            return _normal_distribution(0.0, 1.0)
        return _product(first, second)
    return _sum(first, second, -1.0 if code == "SUB" else 1.0)


def analytic_ranges(program: TfliteProgram) -> Ranges:
    """Ranges under standard normal inputs, four standard deviations wide where nothing cuts them."""
    distributions: dict[int, ActivationDistribution] = {}
    for i in program.inputs:
        distributions[i] = _normal_distribution(0.0, 1.0)
    for operator in program.operators:
        result = _result_distribution(program, operator, distributions)
        fused = operator.options.get("fusedActivationFunction", "NONE")
        distributions[operator.outputs[0]] = result if fused == "NONE" else propagate(FUNCTIONS[fused], result)
    return {i: (distributions[i].low, distributions[i].high) for i, t in enumerate(program.tensors) if t.data is None}
