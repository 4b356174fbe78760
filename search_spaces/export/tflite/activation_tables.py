"""The range of every activation of a program without running it: normal distributions carried from node to node.

Each tensor is taken for independent draws from one normal distribution, cut to an interval. That is what random weights
make of random images, within a factor; what training makes is not, so trained networks are calibrated with samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import hypot, prod, sqrt
from typing import NamedTuple

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.tflite.operators import operator_row
from search_spaces.export.tflite.program import TfliteOperator, TfliteProgram, TfliteTensor
from search_spaces.export.tflite.ranges import Ranges
from search_spaces.export.weights import Array
from search_spaces.graph.operations import Shape

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


@dataclass(frozen=True, slots=True)
class OperatorOperands:
    """What one operator of a program reads, as distributions: those of activations carried so far, and constants'."""

    program: TfliteProgram
    operator: TfliteOperator
    distributions: Mapping[int, ActivationDistribution]

    def __getitem__(self, position: int) -> ActivationDistribution:
        i = self.operator.inputs[position]
        return self.distributions[i] if i in self.distributions else _of_constant(self.program.tensors[i])

    def shape(self, position: int = 0) -> Shape:
        """Shape of an operand."""
        return self.program.tensors[self.operator.inputs[position]].shape


DistributionRule = Callable[[OperatorOperands], ActivationDistribution]


def _of_first(operands: OperatorOperands) -> ActivationDistribution:
    return operands[0]


def _of_function(code: str) -> DistributionRule:
    return lambda operands: propagate(FUNCTIONS[code], operands[0])


def _of_weights(operands: OperatorOperands) -> ActivationDistribution:
    operator, tensors = operands.operator, operands.program.tensors
    weight, bias = [None if i < 0 else tensors[i].data for i in operator.inputs[1:3]]
    axis = operator_row(operator.code).weight_axis
    assert weight is not None
    assert axis is not None
    return _weighted(operands[0], weight, bias, axis)


def _of_inverse_root(operands: OperatorOperands) -> ActivationDistribution:
    # of a variance: that of one position is seldom below a sixteenth of what it is on average
    inverse = 1 / sqrt(max(operands[0].mean, 1e-12))
    return ActivationDistribution(inverse, inverse / 4, 0.0, 4 * inverse)


def _of_average_pool(operands: OperatorOperands) -> ActivationDistribution:
    options = operands.operator.options
    return _mean(operands[0], options["filterHeight"] * options["filterWidth"])


def _of_concatenation(operands: OperatorOperands) -> ActivationDistribution:
    return _mixture([(operands[i], prod(operands.shape(i))) for i in range(len(operands.operator.inputs))])


def _of_softmax(operands: OperatorOperands) -> ActivationDistribution:
    length = operands.shape()[-1]
    return ActivationDistribution(1 / length, 1 / length, 0.0, 1.0)


def _of_matrix_product(operands: OperatorOperands) -> ActivationDistribution:
    inner = operands.shape()[-2] if operands.operator.options["adjX"] else operands.shape()[-1]
    return _matrix_product(operands[0], operands[1], inner)


def _of_product(operands: OperatorOperands) -> ActivationDistribution:
    a, b = operands.operator.inputs
    if a == b:
        return propagate(np.square, operands[0])
    gate = operands.program.producer(b)
    if gate is not None and gate.code == "LOGISTIC" and gate.inputs == (a,):
        return propagate(lambda x: x * _sigmoid(x), operands[0])
    if gate is not None and gate.code == "RSQRT":  # layer normalisation
        return _normal_distribution(0.0, 1.0)
    return _product(operands[0], operands[1])


DISTRIBUTION_RULES: dict[str, DistributionRule] = {
    **{code: _of_function(code) for code in FUNCTIONS},
    "ADD": lambda operands: _sum(operands[0], operands[1]),
    "AVERAGE_POOL_2D": _of_average_pool,
    "BATCH_MATMUL": _of_matrix_product,
    "CONCATENATION": _of_concatenation,
    "CONV_2D": _of_weights,
    "DEPTHWISE_CONV_2D": _of_weights,
    "FULLY_CONNECTED": _of_weights,
    "MAX_POOL_2D": _of_first,
    "MEAN": lambda operands: _mean(operands[0], operands.shape()[-1]),
    "MUL": _of_product,
    "PAD": _of_first,
    "PADV2": _of_first,
    "QUANTIZE": _of_first,
    "RESHAPE": _of_first,
    "RESIZE_BILINEAR": _of_first,
    "RESIZE_NEAREST_NEIGHBOR": _of_first,
    "RSQRT": _of_inverse_root,
    "SLICE": _of_first,
    "SOFTMAX": _of_softmax,
    "SUB": lambda operands: _sum(operands[0], operands[1], -1.0),
    "TRANSPOSE": _of_first,
}
"""How the result of every operator is distributed."""


def analytic_ranges(program: TfliteProgram) -> Ranges:
    """Ranges under standard normal inputs, four standard deviations wide where nothing cuts them."""
    distributions: dict[int, ActivationDistribution] = {}
    for i in program.inputs:
        distributions[i] = _normal_distribution(0.0, 1.0)
    for operator in program.operators:
        rule = DISTRIBUTION_RULES.get(operator.code)
        if rule is None:
            raise ModelFileError(f"int8: operator {operator.code!r} has no row in {__name__}.DISTRIBUTION_RULES")
        result = rule(OperatorOperands(program, operator, distributions))
        fused = operator.options.get("fusedActivationFunction", "NONE")
        distributions[operator.outputs[0]] = result if fused == "NONE" else propagate(FUNCTIONS[fused], result)
    return {i: (distributions[i].low, distributions[i].high) for i, t in enumerate(program.tensors) if t.data is None}
