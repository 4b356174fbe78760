"""From a graph with weights to ONNX operators in float32, node by node; axes stay in the graph's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from search_spaces.export.errors import UnsupportedNode, unsupported_error
from search_spaces.export.names import value_name
from search_spaces.export.onnx.program import OnnxProgram, UnsupportedInOnnx
from search_spaces.export.weights import Array, Weights, fold_affine, norm_affine, placeholder_weights
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph

NodeWriter = Callable[[OnnxProgram, int, Node], None]


def _onnx_pads(pads: tuple[tuple[int, int], ...]) -> list[int]:
    """ONNX's order: all that is before, then all that is behind."""
    return [before for before, _ in pads] + [behind for _, behind in pads]


def _assign_folded_nodes(program: OnnxProgram, first: int, last: int, name: str) -> None:
    """The nodes from ``first`` to ``last``, each the only reader of the one before, are all in value ``name``."""
    program.values[last] = name
    while first != last:
        program.values[first] = name
        first = program.readers[first][0]


def _conv(program: OnnxProgram, index: int, node: Node) -> None:
    _, kernel, stride, pads, dilation, groups, _ = node.attrs
    folded = fold_affine(program.graph, program.weights, program.readers, index)
    name = value_name(program.graph, index)
    operands = (*program.operands(index), program.constant(f"{name}_weight", folded.weight))
    if folded.bias is not None:
        operands += (program.constant(f"{name}_bias", folded.bias),)
    program.emit_node(
        index,
        "Conv",
        operands,
        kernel_shape=list(kernel),
        strides=list(stride),
        pads=_onnx_pads(pads),
        dilations=list(dilation),
        group=groups,
    )
    _assign_folded_nodes(program, index, folded.last, program.values[index])


def _linear(program: OnnxProgram, index: int, node: Node) -> None:
    folded = fold_affine(program.graph, program.weights, program.readers, index)
    name = value_name(program.graph, index)
    (x,) = program.operands(index)
    if len(node.shape) == 1:
        operands: tuple[str, ...] = (x, program.constant(f"{name}_weight", folded.weight))
        if folded.bias is not None:
            operands += (program.constant(f"{name}_bias", folded.bias),)
        program.emit_node(index, "Gemm", operands, transB=1)
    else:
        weight = program.constant(f"{name}_weight", np.ascontiguousarray(folded.weight.T))
        if folded.bias is None:
            program.emit_node(index, "MatMul", (x, weight))
        else:
            product = program.emit("MatMul", (x, weight), f"{name}_product")
            program.emit_node(index, "Add", (product, program.constant(f"{name}_bias", folded.bias)))
    _assign_folded_nodes(program, index, folded.last, program.values[index])


def _broadcastable(data: Array, axis: int, rank: int) -> Array:
    """A vector that broadcasts along one axis of the unbatched shape."""
    return data.reshape([-1 if i == axis else 1 for i in range(rank)])


def _norm(program: OnnxProgram, index: int, node: Node) -> None:
    kind, eps, _, axis = node.attrs
    arrays, name, rank = program.weights[index], value_name(program.graph, index), len(node.shape)
    (x,) = program.operands(index)
    if kind == "batch":
        factor, shift = [
            program.constant(f"{name}_{p}", _broadcastable(v, 0, rank))
            for p, v in zip(("factor", "shift"), norm_affine(node, arrays), strict=True)
        ]
        program.emit_node(index, "Add", (program.emit("Mul", (x, factor), f"{name}_scaled"), shift))
        return
    axes = [0, *[a + 1 for a in range(rank) if a != axis], axis + 1]
    operands = [program.constant(f"{name}_{p}", arrays[p]) for p in ("weight", "bias")]
    if axis == rank - 1:
        program.emit_node(index, "LayerNormalization", (x, *operands), axis=-1, epsilon=eps)
        return
    last = program.emit("Transpose", (x,), f"{name}_last", perm=axes)
    normal = program.emit("LayerNormalization", (last, *operands), f"{name}_normal", axis=-1, epsilon=eps)
    program.emit_node(index, "Transpose", (normal,), perm=[axes.index(a) for a in range(rank + 1)])


def _layer_scale(program: OnnxProgram, index: int, node: Node) -> None:
    name = value_name(program.graph, index)
    factor = _broadcastable(program.weights[index]["weight"], 0, len(node.shape))
    program.emit_node(index, "Mul", (*program.operands(index), program.constant(f"{name}_weight", factor)))


def _relu6(program: OnnxProgram, index: int, node: Node) -> None:
    bounds = [program.constant(f"float{v}", np.array(v, np.float32)) for v in (0, 6)]
    program.emit_node(index, "Clip", (*program.operands(index), *bounds))


def _silu(program: OnnxProgram, index: int, node: Node) -> None:
    (x,) = program.operands(index)
    gate = program.emit("Sigmoid", (x,), f"{value_name(program.graph, index)}_gate")
    program.emit_node(index, "Mul", (x, gate))


def _single_operator(kind: str, attributes: Callable[[Node], dict[str, Any]] = lambda node: {}) -> NodeWriter:
    return lambda program, index, node: program.emit_node(index, kind, program.operands(index), **attributes(node))


ACTIVATION_WRITERS: dict[str, NodeWriter] = {
    "relu": _single_operator("Relu"),
    "relu6": _relu6,
    "hswish": _single_operator("HardSwish"),
    "hsigmoid": _single_operator("HardSigmoid", lambda node: {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": _single_operator("Sigmoid"),
    "silu": _silu,
    "gelu": _single_operator("Gelu"),
    "tanh": _single_operator("Tanh"),
    "leaky_relu": _single_operator("LeakyRelu", lambda node: {"alpha": 0.1}),
}


def _act(program: OnnxProgram, index: int, node: Node) -> None:
    writer = ACTIVATION_WRITERS.get(node.attrs[0])
    if writer is None:
        raise UnsupportedInOnnx(f"activation {node.attrs[0]!r} has no row in {__name__}.ACTIVATION_WRITERS")
    writer(program, index, node)


def _add(program: OnnxProgram, index: int, node: Node) -> None:
    total, *others = program.operands(index)
    for position, other in enumerate(others[:-1]):
        total = program.emit("Add", (total, other), f"{value_name(program.graph, index)}_partial{position}")
    program.emit_node(index, "Add", (total, others[-1]))


def _pool(program: OnnxProgram, index: int, node: Node) -> None:
    kind, kernel, stride, pads, count_padding = node.attrs
    window = {"kernel_shape": list(kernel), "strides": list(stride), "pads": _onnx_pads(pads)}
    if kind == "max":
        program.emit_node(index, "MaxPool", program.operands(index), **window)
    else:
        program.emit_node(index, "AveragePool", program.operands(index), **window, count_include_pad=int(count_padding))


def _resize(program: OnnxProgram, index: int, node: Node) -> None:
    mode = node.attrs[1]
    operands = (*program.operands(index), "", "", program.int_constant([1, *node.shape]))
    if mode == "bilinear":
        program.emit_node(index, "Resize", operands, mode="linear", coordinate_transformation_mode="half_pixel")
    else:
        program.emit_node(
            index,
            "Resize",
            operands,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )


def _slice(program: OnnxProgram, index: int, node: Node) -> None:
    axis, start, stop = node.attrs
    bounds = [program.int_constant([v]) for v in (start, stop, axis + 1)]
    program.emit_node(index, "Slice", (*program.operands(index), *bounds))


def _scale(program: OnnxProgram, index: int, node: Node) -> None:
    factor = program.constant(f"{value_name(program.graph, index)}_factor", np.array(node.attrs[0], np.float32))
    program.emit_node(index, "Mul", (*program.operands(index), factor))


def _zero(program: OnnxProgram, index: int, node: Node) -> None:
    name = value_name(program.graph, index)
    program.values[index] = program.constant(name, np.zeros((1, *node.shape), np.float32))


def _input(program: OnnxProgram, index: int, node: Node) -> None:
    name = f"input{len(program.inputs)}" if len(program.graph.input_shapes) > 1 else "input"
    program.inputs.append(name)
    program.values[index] = name


NODE_WRITERS: dict[str, NodeWriter] = {
    "input": _input,
    "zero": _zero,
    "conv": _conv,
    "linear": _linear,
    "norm": _norm,
    "layer_scale": _layer_scale,
    "act": _act,
    "add": _add,
    "mul": _single_operator("Mul"),
    "concat": _single_operator("Concat", lambda node: {"axis": node.attrs[0] + 1}),
    "pool": _pool,
    "global_pool": lambda program, index, node: program.emit_node(
        index, "GlobalMaxPool" if node.attrs[0] == "max" else "GlobalAveragePool", program.operands(index)
    ),
    "resize": _resize,
    "matmul": _single_operator("MatMul"),
    "softmax": _single_operator("Softmax", lambda node: {"axis": node.attrs[0] + 1}),
    "reshape": lambda program, index, node: program.emit_node(
        index, "Reshape", (*program.operands(index), program.int_constant([1, *node.shape]))
    ),
    "permute": _single_operator("Transpose", lambda node: {"perm": [0, *[a + 1 for a in node.attrs[0]]]}),
    "slice": _slice,
    "scale": _scale,
}


def _writer(op: str) -> NodeWriter:
    if op not in NODE_WRITERS:
        raise UnsupportedInOnnx(f"operation {op!r} has no lowering for onnx; add a row to {__name__}.NODE_WRITERS")
    return NODE_WRITERS[op]


def _write_program(graph: Graph, weights: Weights) -> tuple[OnnxProgram, tuple[UnsupportedNode, ...]]:
    program, problems = OnnxProgram(graph, weights), []
    for index, node in enumerate(graph.nodes):
        if index in program.values:  # folded into one before it
            continue
        try:
            _writer(node.op)(program, index, node)
        except UnsupportedInOnnx as problem:
            problems.append(UnsupportedNode(index, node.op, str(problem)))
            program.values[index] = value_name(graph, index)
    for name, index in graph.outputs:
        # A value may be an output twice, or an input too: each output is a value of its own.
        program.outputs.append(program.emit("Identity", (program.values[index],), name))
    return program, tuple(problems)


def float_program(graph: Graph, weights: Weights) -> OnnxProgram:
    """The float32 program of ``graph``. Raises ``ModelFileError`` for the first node that ONNX cannot hold."""
    program, problems = _write_program(graph, weights)
    if problems:
        raise unsupported_error("onnx", problems[0])
    return program


def unsupported_nodes(graph: Graph) -> tuple[UnsupportedNode, ...]:
    """The nodes that ONNX cannot hold, each with the reason."""
    return _write_program(graph, placeholder_weights(graph))[1]
