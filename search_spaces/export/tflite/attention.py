"""Matrix products and softmax."""

from __future__ import annotations

from search_spaces.export.tflite.state import LoweringState, UnsupportedInTflite
from search_spaces.graph.fragment import Node


def _matrix(state: LoweringState, index: int) -> tuple[int, bool]:
    """The tensor of a stack of matrices, and whether it holds them transposed."""
    tensor, order = state.stored[index]
    rank = len(order)
    if order == (*range(rank - 2), rank - 1, rank - 2):
        return tensor, True
    return state.get_in_graph_order(index), False


def _matmul(state: LoweringState, index: int, node: Node) -> None:
    if len(node.shape) > 4:
        raise UnsupportedInTflite("TFLite's matrix products know tensors of up to four axes")
    (a, adjoint_a), (b, adjoint_b) = [_matrix(state, i) for i in node.inputs]
    order = tuple(range(len(node.shape)))
    state.emit(index, "BATCH_MATMUL", (a, b), order, adjX=adjoint_a, adjY=adjoint_b)


def _softmax(state: LoweringState, index: int, node: Node) -> None:
    (axis,), (source,) = node.attrs, node.inputs
    order = (*[a for a in state.order(source) if a != axis], axis)
    before = state.graph.nodes[source]
    fused = before.op == "scale" and before.attrs[0] > 0 and state.sole_reader(source, "softmax") == index
    beta = before.attrs[0] if fused else 1.0
    state.emit(index, "SOFTMAX", (state.get(source, order),), order, beta=beta)


LOWERING_RULES = {"matmul": _matmul, "softmax": _softmax}
