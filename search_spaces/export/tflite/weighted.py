"""Convolutions, linear layers, and what acts on each channel: normalisation and LayerScale."""

from __future__ import annotations

from math import prod

import numpy as np

from search_spaces.export.names import value_name
from search_spaces.export.tflite.program import ABSENT_OPERAND
from search_spaces.export.tflite.state import CHANNELS_LAST, LoweringState, StoredTensor, UnsupportedInTflite
from search_spaces.export.weights import Array, fold_affine, norm_affine
from search_spaces.graph.arguments import same_padding
from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import Shape

Pads = tuple[tuple[int, int], ...]
ONE = (1, 1)


def padding_mode(size: Shape, kernel: Shape, stride: Shape, pads: Pads, dilation: Shape = ONE) -> str | None:
    """``SAME`` or ``VALID`` where TFLite's own padding is ``pads``; else ``None``."""
    if tuple([same_padding(*axis) for axis in zip(size, kernel, stride, dilation, strict=True)]) == pads:
        return "SAME"
    return None if any(map(any, pads)) else "VALID"


def pad_image(state: LoweringState, x: int, pads: Pads, fill: float = 0.0) -> int:
    """The image ``x``, channels last, with ``pads`` of ``fill`` around it."""
    program = state.program
    shape = program.tensors[x].shape
    sides = program.int_constant([(0, 0), *pads, (0, 0)])
    padded_shape = (shape[0], *[n + sum(p) for n, p in zip(shape[1:3], pads, strict=True)], shape[3])
    if fill == 0:
        return program.emit("PAD", (x, sides), padded_shape)
    return program.emit("PADV2", (x, sides, program.constant(np.array([fill], np.float32))), padded_shape)


def _conv(state: LoweringState, index: int, node: Node) -> None:
    out_channels, kernel, stride, pads, dilation, groups, _ = node.attrs
    if len(kernel) == 3:
        raise UnsupportedInTflite("TFLite's convolutions that compilers and int8 know have two spatial axes, not three")
    (source,) = node.inputs
    folded = fold_affine(state.graph, state.weights, state.readers, index)
    weight = folded.weight
    if len(kernel) == 1:  # as an image of height 1
        width = state.shape(source)[1]
        x = state.program.reshape(state.get(source, (1, 0)), (1, 1, width, state.shape(source)[0]))
        kernel, stride, dilation = (1, *kernel), (1, *stride), (1, *dilation)
        pads, weight = ((0, 0), *pads), weight[:, :, None]
        result = _conv2d(
            state, x, weight, folded.bias, kernel, stride, pads, dilation, groups, value_name(state.graph, index)
        )
        result = state.program.reshape(result, (1, node.shape[1], out_channels))
        stored = StoredTensor(result, (1, 0))
    else:
        x = state.get(source, CHANNELS_LAST)
        name = value_name(state.graph, index)
        stored = StoredTensor(
            _conv2d(state, x, weight, folded.bias, kernel, stride, pads, dilation, groups, name), CHANNELS_LAST
        )
    for folded_node in _folded_chain(state, index, folded.last):
        state.stored[folded_node] = stored


def _folded_chain(state: LoweringState, first: int, last: int) -> list[int]:
    """The chain of nodes, each the only reader of the one before, from ``first`` to ``last``."""
    chain = [first]
    while chain[-1] != last:
        chain.append(state.readers[chain[-1]][0])
    return chain


def _conv2d(
    state: LoweringState,
    x: int,
    weight: Array,
    bias: Array | None,
    kernel: Shape,
    stride: Shape,
    pads: Pads,
    dilation: Shape,
    groups: int,
    name: str,
) -> int:
    program = state.program
    out_channels, in_channels = weight.shape[0], program.tensors[x].shape[3]
    mode = padding_mode(program.tensors[x].shape[1:3], kernel, stride, pads, dilation)
    if mode is None:
        x, mode = pad_image(state, x, pads), "VALID"
    depthwise = groups == in_channels and (groups > 1 or weight.shape[0] == 1)
    shape = program.tensors[x].shape[1:3]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if mode == "SAME":
        size = [-(-n // s) for n, s in zip(shape, stride, strict=True)]
    else:
        size = [(n - span) // s + 1 for n, s, span in zip(shape, stride, spans, strict=True)]
    options = {
        "padding": mode,
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
        "fusedActivationFunction": "NONE",
    }
    if depthwise:
        code = "DEPTHWISE_CONV_2D"
        options["depthMultiplier"] = out_channels // in_channels
        data = weight.transpose(1, 2, 3, 0)
    else:
        code, data = "CONV_2D", weight.transpose(0, 2, 3, 1)
    bias = np.zeros(out_channels, np.float32) if bias is None else bias
    operands = (x, program.constant(data, f"{name}_weight"), program.constant(bias, f"{name}_bias"))
    return program.emit(code, operands, (1, *size, out_channels), name, **options)


def _linear(state: LoweringState, index: int, node: Node) -> None:
    (source,) = node.inputs
    folded = fold_affine(state.graph, state.weights, state.readers, index)
    program = state.program
    name = value_name(state.graph, index)
    bias = ABSENT_OPERAND if folded.bias is None else program.constant(folded.bias, f"{name}_bias")
    operands = (state.get_in_graph_order(source), program.constant(folded.weight, f"{name}_weight"), bias)
    result = program.emit(
        "FULLY_CONNECTED",
        operands,
        (1, *node.shape),
        name,
        fusedActivationFunction="NONE",
        keepNumDims=len(node.shape) > 1,
    )
    for folded_node in _folded_chain(state, index, folded.last):
        state.stored[folded_node] = StoredTensor(result, tuple(range(len(node.shape))))


def channelwise(state: LoweringState, index: int, source: int, factor: Array, shift: Array | None) -> None:
    """A factor and a shift of each channel: a depthwise 1x1 convolution of images, MUL and ADD of all else.

    One convolution has scales of its own for each channel and adds in 32 bits, where MUL and ADD round twice.
    """
    program, shape = state.program, state.shape(source)
    if len(shape) == 3:
        x = state.get(source, CHANNELS_LAST)
        weight = np.ascontiguousarray(factor).reshape(-1, 1, 1, 1)
        name = value_name(state.graph, index)
        result = _conv2d(state, x, weight, shift, ONE, ONE, ((0, 0), (0, 0)), ONE, shape[0], name)
        state.stored[index] = StoredTensor(result, CHANNELS_LAST)
        return
    order = state.order(source)
    along = [-1 if a == 0 else 1 for a in (None, *order)]
    y = program.constant(factor.reshape(along))
    result = state.emit(index, "MUL", (state.get(source, order), y), order, fusedActivationFunction="NONE")
    if shift is not None:
        y = program.constant(shift.reshape(along))
        state.emit(index, "ADD", (result, y), order, fusedActivationFunction="NONE")


def _norm(state: LoweringState, index: int, node: Node) -> None:
    (source,) = node.inputs
    arrays = state.weights[index]
    if node.attrs[0] == "batch":
        channelwise(state, index, source, *norm_affine(node, arrays))
        return
    axis = node.attrs[3]
    order = (*[a for a in state.order(source) if a != axis], axis)
    program = state.program
    x = state.get(source, order)
    stored = program.tensors[x].shape
    shape: Shape = (1, prod(stored[:-1]), stored[-1])  # compilers know means over depth of such alone
    x = program.reshape(x, shape)
    one = (*shape[:-1], 1)
    last = program.int_constant([len(shape) - 1])
    mean = program.emit("MEAN", (x, last), one, keepDims=True)
    centred = program.emit("SUB", (x, mean), shape, fusedActivationFunction="NONE")
    squared = program.emit("MUL", (centred, centred), shape, fusedActivationFunction="NONE")
    variance = program.emit("MEAN", (squared, last), one, keepDims=True)
    eps = program.constant(np.full((1,) * len(shape), node.attrs[1], np.float32))
    variance = program.emit("ADD", (variance, eps), one, fusedActivationFunction="NONE")
    inverse = program.emit("RSQRT", (variance,), one)
    normal = program.emit("MUL", (centred, inverse), shape, fusedActivationFunction="NONE")
    row = (*[1] * (len(shape) - 1), -1)
    scaled = (normal, program.constant(arrays["weight"].reshape(row)))
    result = program.emit("MUL", scaled, shape, fusedActivationFunction="NONE")
    shift = program.constant(arrays["bias"].reshape(row))
    result = program.emit("ADD", (result, shift), shape, value_name(state.graph, index), fusedActivationFunction="NONE")
    state.stored[index] = StoredTensor(program.reshape(result, stored), order)


LOWERING_RULES = {
    "conv": _conv,
    "linear": _linear,
    "norm": _norm,
    "layer_scale": lambda state, index, node: channelwise(
        state, index, node.inputs[0], state.weights[index]["weight"], None
    ),
}
