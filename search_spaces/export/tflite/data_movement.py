"""What computes nothing: inputs and constants, reshape, permutation, slice and concatenation."""

from __future__ import annotations

from math import prod

import numpy as np

from search_spaces.export.tflite.state import LoweringState, Order, StoredTensor, natural_order, stored_shape
from search_spaces.graph.fragment import Node
from search_spaces.graph.operations import Shape


def reshape_groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of both shapes that hold the same elements: what a reshape splits or merges."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [], []
        if i < len(before):
            old.append(i)
            i += 1
        if j < len(after):
            new.append(j)
            j += 1
        while (a := prod([before[k] for k in old])) != (b := prod([after[k] for k in new])):
            if a < b:
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
        if runs and not (old and new):  # what is left over is of extent 1
            runs[-1][0].extend(old)
            runs[-1][1].extend(new)
        else:
            runs.append((old, new))
    return runs


def _input(state: LoweringState, index: int, node: Node) -> None:
    program, order = state.program, natural_order(node.shape)
    name = f"input{len(program.inputs)}" if len(state.graph.input_shapes) > 1 else "input"
    x = program.tensor(stored_shape(node.shape, order), name)
    program.inputs.append(x)
    state.stored[index] = StoredTensor(x, order)


def _zero(state: LoweringState, index: int, node: Node) -> None:
    order = tuple(range(len(node.shape)))
    state.stored[index] = StoredTensor(state.program.constant(np.zeros((1, *node.shape), np.float32)), order)


def _reshape(state: LoweringState, index: int, node: Node) -> None:
    """Splits and merges axes where they lie; transposes only where those that merge are apart or out of order."""
    (source,) = node.inputs
    order = state.order(source)
    runs = sorted(reshape_groups(state.shape(source), node.shape), key=lambda run: min(order.index(a) for a in run[0]))
    source_order: Order = tuple([a for old, _ in runs for a in old])
    result_order: Order = tuple([a for _, new in runs for a in new])
    x = state.program.reshape(state.get(source, source_order), (1, *[node.shape[a] for a in result_order]))
    state.stored[index] = StoredTensor(x, result_order)


def _permute(state: LoweringState, index: int, node: Node) -> None:
    tensor, order = state.stored[node.inputs[0]]
    axes = node.attrs[0]
    state.stored[index] = StoredTensor(tensor, tuple([axes.index(a) for a in order]))


def _slice(state: LoweringState, index: int, node: Node) -> None:
    axis, start, stop = node.attrs
    tensor, order = state.stored[node.inputs[0]]
    shape = state.program.tensors[tensor].shape
    position = 1 + order.index(axis)
    begin = [start if i == position else 0 for i in range(len(shape))]
    size = [stop - start if i == position else n for i, n in enumerate(shape)]
    operands = (tensor, state.program.int_constant(begin), state.program.int_constant(size))
    state.emit(index, "SLICE", operands, order)


def _concat(state: LoweringState, index: int, node: Node) -> None:
    # A constant zero is as good in any order; images are better channels last, as the next convolution wants them.
    orders = [state.order(i) for i in node.inputs if state.graph.nodes[i].op != "zero"]
    natural = natural_order(node.shape)
    order = natural if natural in orders else orders[0]
    operands = tuple([state.get(i, order) for i in node.inputs])
    state.emit(index, "CONCATENATION", operands, order, axis=1 + order.index(node.attrs[0]))


LOWERING_RULES = {
    "input": _input,
    "zero": _zero,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "concat": _concat,
}
SHARE_TENSORS = ("reshape", "permute")
"""Operations whose result may be in the very tensor of their operand, which others may read."""
