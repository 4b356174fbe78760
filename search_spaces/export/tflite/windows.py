"""Pooling and resizing."""

from __future__ import annotations

import numpy as np

from search_spaces.export.names import value_name
from search_spaces.export.tflite.state import CHANNELS_LAST, LoweringState, StoredTensor, UnsupportedInTflite
from search_spaces.export.tflite.weighted import Pads, pad_image, padding_mode
from search_spaces.export.weights import Array
from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import ACTIVATIONS, Shape

LOWEST_FLOAT = -3.4e38
POOL_OPERATORS = {"max": "MAX_POOL_2D", "avg": "AVERAGE_POOL_2D"}


def _pool2d(
    state: LoweringState, x: int, kind: str, kernel: Shape, stride: Shape, mode: str, size: Shape, name: str
) -> int:
    shape = (1, *size, state.program.tensors[x].shape[3])
    options = {"padding": mode, "strideH": stride[0], "strideW": stride[1], "filterHeight": kernel[0]}
    return state.program.emit(
        POOL_OPERATORS[kind], (x,), shape, name, **options, filterWidth=kernel[1], fusedActivationFunction="NONE"
    )


def _padding_correction(size: Shape, kernel: Shape, stride: Shape, pads: Pads) -> Array:
    """For every window its extent over how much of it is image, for averages that do not count padding."""
    counts = []
    for n, k, s, (before, after) in zip(size, kernel, stride, pads, strict=True):
        inside = np.pad(np.ones(n), (before, after))
        starts = range(0, len(inside) - k + 1, s)
        counts.append(np.array([k / inside[i : i + k].sum() for i in starts]))
    return np.outer(*counts)


def _pool(state: LoweringState, index: int, node: Node) -> None:
    kind, kernel, stride, pads, count_padding = node.attrs
    (source,) = node.inputs
    if len(kernel) == 3:
        raise UnsupportedInTflite("TFLite has no pooling over three spatial axes")
    if len(kernel) == 1:
        length, channels = state.shape(source)[1], state.shape(source)[0]
        x = state.program.reshape(state.get(source, (1, 0)), (1, 1, length, channels))
        kernel, stride, pads = (1, *kernel), (1, *stride), ((0, 0), *pads)
        size: Shape = (1, node.shape[1])
    else:
        x, size = state.get(source, CHANNELS_LAST), node.shape[1:]
    extent = state.program.tensors[x].shape[1:3]
    mode = None if count_padding else padding_mode(extent, kernel, stride, pads)
    explicit = mode is None
    if mode is None:
        before = state.graph.nodes[source]
        zeros = kind == "avg" or (before.op == "act" and ACTIVATIONS[before.attrs[0]].nonnegative)
        x, mode = pad_image(state, x, pads, 0.0 if zeros else LOWEST_FLOAT), "VALID"
    y = _pool2d(state, x, kind, kernel, stride, mode, size, value_name(state.graph, index))
    if explicit and kind == "avg" and not count_padding:
        factor = _padding_correction(extent, kernel, stride, pads).reshape(1, *size, 1)
        operands = (y, state.program.constant(factor))
        y = state.program.emit("MUL", operands, state.program.tensors[y].shape, fusedActivationFunction="NONE")
    if len(node.shape) == 2:
        state.stored[index] = StoredTensor(state.program.reshape(y, (1, size[1], node.shape[0])), (1, 0))
    else:
        state.stored[index] = StoredTensor(y, CHANNELS_LAST)


def _global_pool(state: LoweringState, index: int, node: Node) -> None:
    (source,) = node.inputs
    shape = state.shape(source)
    if len(shape) not in (2, 3):
        raise UnsupportedInTflite("TFLite has no pooling over three spatial axes")
    if len(shape) == 3:
        x, size = state.get(source, CHANNELS_LAST), shape[1:]
    else:
        size = (1, shape[1])
        x = state.program.reshape(state.get(source, (1, 0)), (1, *size, shape[0]))
    y = _pool2d(state, x, node.attrs[0], size, (1, 1), "VALID", (1, 1), value_name(state.graph, index))
    if len(shape) == 3:
        state.stored[index] = StoredTensor(y, CHANNELS_LAST)
    else:
        state.stored[index] = StoredTensor(state.program.reshape(y, (1, 1, shape[0])), (1, 0))


def _resize(state: LoweringState, index: int, node: Node) -> None:
    size, mode = node.attrs
    (source,) = node.inputs
    if len(size) == 3:
        raise UnsupportedInTflite("TFLite has no resizing of three spatial axes")
    program = state.program
    if len(size) == 2:
        x = state.get(source, CHANNELS_LAST)
    else:
        channels, length = state.shape(source)
        x, size = program.reshape(state.get(source, (1, 0)), (1, 1, length, channels)), (1, *size)
    code = "RESIZE_BILINEAR" if mode == "bilinear" else "RESIZE_NEAREST_NEIGHBOR"
    operands = (x, program.int_constant(size))
    shape = (1, *size, node.shape[0])
    half = mode == "bilinear"
    y = program.emit(code, operands, shape, value_name(state.graph, index), alignCorners=False, halfPixelCenters=half)
    if len(node.shape) == 3:
        state.stored[index] = StoredTensor(y, CHANNELS_LAST)
    else:
        state.stored[index] = StoredTensor(program.reshape(y, (1, node.shape[1], node.shape[0])), (1, 0))


LOWERING_RULES = {"pool": _pool, "global_pool": _global_pool, "resize": _resize}
