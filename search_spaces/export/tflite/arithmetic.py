"""Activations, sums, products and constant factors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from search_spaces.export.tflite.data_movement import SHARE_TENSORS
from search_spaces.export.tflite.state import LoweringState, StoredTensor, UnsupportedInTflite, stored_shape
from search_spaces.graph.fragment import Node

FUSED_ACTIVATIONS = {"relu": "RELU", "relu6": "RELU6"}
"""What an operator can do to its own result."""


def _try_fuse(state: LoweringState, index: int, source: int, fn: str) -> bool:
    """Whether the operator before can do the activation itself, and now does."""
    stored = state.stored[source]
    producer = state.program.producer(stored.tensor)
    alone = state.sole_reader(source, "act") == index
    if not alone or producer is None or producer.options.get("fusedActivationFunction") != "NONE":
        return False
    if state.graph.nodes[source].op in SHARE_TENSORS:
        return False
    producer.options["fusedActivationFunction"] = FUSED_ACTIVATIONS[fn]
    state.stored[index] = stored
    return True


ActivationRule = Callable[[LoweringState, int, int, StoredTensor], None]


def _single_operator(code: str, **options: object) -> ActivationRule:
    def rule(state: LoweringState, index: int, x: int, stored: StoredTensor) -> None:
        state.emit(index, code, (x,), stored.order, **options)

    return rule


def _hsigmoid(state: LoweringState, index: int, x: int, stored: StoredTensor) -> None:
    program, shape = state.program, state.program.tensors[x].shape
    three, sixth = [program.constant(np.full((1,) * len(shape), v, np.float32)) for v in (3.0, 1 / 6)]
    y = program.emit("ADD", (x, three), shape, fusedActivationFunction="RELU6")
    state.emit(index, "MUL", (y, sixth), stored.order, fusedActivationFunction="NONE")


def _silu(state: LoweringState, index: int, x: int, stored: StoredTensor) -> None:
    y = state.program.emit("LOGISTIC", (x,), state.program.tensors[x].shape)
    state.emit(index, "MUL", (x, y), stored.order, fusedActivationFunction="NONE")


ACTIVATION_RULES: dict[str, ActivationRule] = {
    "relu": _single_operator("RELU"),
    "relu6": _single_operator("RELU6"),
    "hswish": _single_operator("HARD_SWISH"),
    "hsigmoid": _hsigmoid,
    "sigmoid": _single_operator("LOGISTIC"),
    "silu": _silu,
    "gelu": _single_operator("GELU", approximate=False),
    "tanh": _single_operator("TANH"),
    "leaky_relu": _single_operator("LEAKY_RELU", alpha=0.1),
}


def _act(state: LoweringState, index: int, node: Node) -> None:
    (fn,), (source,) = node.attrs, node.inputs
    if fn in FUSED_ACTIVATIONS and _try_fuse(state, index, source, fn):
        return
    if fn not in ACTIVATION_RULES:
        raise UnsupportedInTflite(f"activation {fn!r} has no row in {__name__}.ACTIVATION_RULES")
    stored = state.stored[source]
    ACTIVATION_RULES[fn](state, index, stored.tensor, stored)


def _add(state: LoweringState, index: int, node: Node) -> None:
    orders = [state.order(i) for i in node.inputs]
    order = max(orders, key=orders.count)
    operands = [state.get(i, order) for i in node.inputs]
    shape = stored_shape(node.shape, order)
    total = operands[0]
    for operand in operands[1:-1]:
        total = state.program.emit("ADD", (total, operand), shape, fusedActivationFunction="NONE")
    state.emit(index, "ADD", (total, operands[-1]), order, fusedActivationFunction="NONE")


def _mul(state: LoweringState, index: int, node: Node) -> None:
    larger = max(node.inputs, key=lambda i: np.prod(state.shape(i), dtype=float))
    order = state.order(larger)
    a, b = sorted(node.inputs, key=lambda i: i != larger)  # what broadcasts comes second
    state.emit(index, "MUL", (state.get(a, order), state.get(b, order)), order, fusedActivationFunction="NONE")


def _scale(state: LoweringState, index: int, node: Node) -> None:
    stored, factor = state.stored[node.inputs[0]], node.attrs[0]
    if factor > 0 and state.sole_reader(index, "softmax") is not None:
        state.stored[index] = stored  # becomes the softmax's beta
        return
    rank = len(state.program.tensors[stored.tensor].shape)
    y = state.program.constant(np.full((1,) * rank, factor, np.float32))
    state.emit(index, "MUL", (stored.tensor, y), stored.order, fusedActivationFunction="NONE")


LOWERING_RULES = {"act": _act, "add": _add, "mul": _mul, "scale": _scale}
