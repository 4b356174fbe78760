"""The range of every activation of a program without running it: normal distributions carried from node to node.

Each tensor is taken for independent draws from one normal distribution, cut to an interval. That is what random weights
make of random images, within a factor; what training makes is not, so trained networks are calibrated with samples.
"""

from __future__ import annotations

from collections.abc import Callable
from math import hypot, prod, sqrt
from typing import NamedTuple

import numpy

from search_spaces.export.tflite.program import WEIGHT_AXIS, Operator, Program, Tensor
from search_spaces.export.tflite.ranges import Ranges
from search_spaces.export.weights import Array

REACH = 4.0  # standard deviations that a range holds
_POINTS, _POINT_WEIGHTS = numpy.polynomial.hermite_e.hermegauss(48)
_POINT_WEIGHTS = _POINT_WEIGHTS / _POINT_WEIGHTS.sum()


class Spread(NamedTuple):
    """Mean, standard deviation, and the interval that values are in, all but a few."""

    mean: float
    std: float
    low: float
    high: float


def _around(mean: float, std: float) -> Spread:
    return Spread(mean, std, mean - REACH * std, mean + REACH * std)


def through(function: Callable[[Array], Array], x: Spread) -> Spread:
    """``function`` of a normal value, by Gauss-Hermite quadrature; its interval from a grid."""
    y = function(numpy.clip(x.mean + x.std * _POINTS, x.low, x.high))
    mean = float(y @ _POINT_WEIGHTS)
    std = sqrt(max(float((y - mean) ** 2 @ _POINT_WEIGHTS), 0.0))
    grid = function(numpy.linspace(x.low, x.high, 65))
    return Spread(mean, std, float(grid.min()), float(grid.max()))


def _sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + numpy.exp(-numpy.clip(x, -80, 80)))
    return y


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "RELU": lambda x: numpy.maximum(x, 0),
    "RELU6": lambda x: numpy.clip(x, 0, 6),
    "HARD_SWISH": lambda x: x * numpy.clip(x + 3, 0, 6) / 6,
    "LOGISTIC": _sigmoid,
    "TANH": numpy.tanh,
    "LEAKY_RELU": lambda x: numpy.where(x > 0, x, 0.1 * x),
    "GELU": lambda x: x * _sigmoid(1.702 * x),  # near enough for a range
}
_SHAPED = {
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


def _weighted(x: Spread, weight: Array, bias: Array | None, axis: int) -> Spread:
    others = tuple([i for i in range(weight.ndim) if i != axis])
    sums = weight.sum(axis=others)
    squares = numpy.einsum(weight, list(range(weight.ndim)), weight, list(range(weight.ndim)), [axis])
    means = x.mean * sums + (0 if bias is None else bias)
    variances = x.std**2 * squares
    std = float(numpy.sqrt(variances.mean() + means.var()))
    reach = REACH * numpy.sqrt(variances)
    return Spread(float(means.mean()), std, float((means - reach).min()), float((means + reach).max()))


def _product(a: Spread, b: Spread) -> Spread:
    corners = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high]
    second = (a.std**2 + a.mean**2) * (b.std**2 + b.mean**2)
    mean = a.mean * b.mean
    made = _around(mean, sqrt(max(second - mean**2, 0.0)))
    return Spread(mean, made.std, min(corners), max(corners))


def _of_constant(tensor: Tensor) -> Spread:
    data = tensor.data
    assert data is not None
    return Spread(float(data.mean()), float(data.std()), float(data.min()), float(data.max()))


def _sum(a: Spread, b: Spread, sign: float = 1.0) -> Spread:
    below, above = (b.mean - b.low, b.high - b.mean) if sign > 0 else (b.high - b.mean, b.mean - b.low)
    mean = a.mean + sign * b.mean
    low, high = mean - hypot(a.mean - a.low, below), mean + hypot(a.high - a.mean, above)
    return Spread(mean, hypot(a.std, b.std), low, high)


def _mean(x: Spread, count: int) -> Spread:
    """A mean over independent values; its interval stays wider, because channels have means of their own."""
    return Spread(x.mean, x.std / sqrt(min(count, 16)), x.low, x.high)


def _mixed(parts: list[tuple[Spread, int]]) -> Spread:
    total = sum([n for _, n in parts])
    mean = sum([s.mean * n for s, n in parts]) / total
    second = sum([(s.std**2 + s.mean**2) * n for s, n in parts]) / total
    low, high = min(s.low for s, _ in parts), max(s.high for s, _ in parts)
    return Spread(mean, sqrt(max(second - mean**2, 0.0)), low, high)


def _matrix_product(a: Spread, b: Spread, length: int) -> Spread:
    one = _product(a, b)
    return _around(one.mean * length, one.std * sqrt(length))


def _real(program: Program, operator: Operator) -> tuple[int, ...]:
    """The operands that are numbers to compute with, and not weights or a shape."""
    alone = operator.code in WEIGHT_AXIS or operator.code in _SHAPED or operator.code == "MEAN"
    return operator.inputs[:1] if alone else operator.inputs


def _made(program: Program, operator: Operator, known: dict[int, Spread]) -> Spread:
    tensors, code = program.tensors, operator.code
    first, *others = [known[i] if i in known else _of_constant(tensors[i]) for i in _real(program, operator)]
    if code in WEIGHT_AXIS:
        weight, bias = [None if i < 0 else tensors[i].data for i in operator.inputs[1:3]]
        assert weight is not None
        return _weighted(first, weight, bias, WEIGHT_AXIS[code])
    if code in FUNCTIONS:
        return through(FUNCTIONS[code], first)
    if code in _SHAPED:
        return first
    if code == "RSQRT":  # of a variance: that of one place is seldom below a sixteenth of what it is on average
        inverse = 1 / sqrt(max(first.mean, 1e-12))
        return Spread(inverse, inverse / 4, 0.0, 4 * inverse)
    if code == "AVERAGE_POOL_2D":
        return _mean(first, operator.options["filterHeight"] * operator.options["filterWidth"])
    if code == "MEAN":
        return _mean(first, tensors[operator.inputs[0]].shape[-1])
    if code == "CONCATENATION":
        sizes = [prod(tensors[i].shape) for i in operator.inputs]
        return _mixed(list(zip([first, *others], sizes, strict=True)))
    if code == "SOFTMAX":
        places = tensors[operator.inputs[0]].shape[-1]
        return Spread(1 / places, 1 / places, 0.0, 1.0)
    (second,) = others
    if code == "BATCH_MATMUL":
        shape = tensors[operator.inputs[0]].shape
        inner = shape[-2] if operator.options["adjX"] else shape[-1]
        return _matrix_product(first, second, inner)
    if code == "MUL":
        if operator.inputs[0] == operator.inputs[1]:
            return through(numpy.square, first)
        gate = program.maker(operator.inputs[1])
        if gate is not None and gate.code == "LOGISTIC" and gate.inputs == operator.inputs[:1]:
            return through(lambda x: x * _sigmoid(x), first)
        if gate is not None and gate.code == "RSQRT":  # layer normalisation
            return _around(0.0, 1.0)
        return _product(first, second)
    return _sum(first, second, -1.0 if code == "SUB" else 1.0)


def analytic_ranges(program: Program) -> Ranges:
    """Ranges under standard normal inputs, four standard deviations wide where nothing cuts them."""
    known: dict[int, Spread] = {}
    for i in program.inputs:
        known[i] = _around(0.0, 1.0)
    for operator in program.operators:
        made = _made(program, operator, known)
        fused = operator.options.get("fusedActivationFunction", "NONE")
        known[operator.outputs[0]] = made if fused == "NONE" else through(FUNCTIONS[fused], made)
    return {i: (known[i].low, known[i].high) for i, t in enumerate(program.tensors) if t.data is None}
