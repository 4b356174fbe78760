"""From a graph with weights to ONNX operators in float32, node by node; axes stay in the graph's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from search_spaces.export.errors import Unsupported, refusal
from search_spaces.export.onnx.program import CannotWrite, Program, value_name
from search_spaces.export.weights import Array, Weights, blank_weights, fold, norm_affine
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph

Write = Callable[[Program, int, Node], None]


def _onnx_pads(pads: tuple[tuple[int, int], ...]) -> list[int]:
    """ONNX's order: all that is before, then all that is behind."""
    return [before for before, _ in pads] + [behind for _, behind in pads]


def _folded_into(program: Program, first: int, last: int, name: str) -> None:
    """The nodes from ``first`` to ``last``, each the only reader of the one before, are all in value ``name``."""
    program.values[last] = name
    while first != last:
        program.values[first] = name
        first = program.readers[first][0]


def _conv(program: Program, index: int, node: Node) -> None:
    _, kernel, stride, pads, dilation, groups, _ = node.attrs
    folded = fold(program.graph, program.weights, program.readers, index)
    name = value_name(program.graph, index)
    operands = (*program.operands(index), program.constant(f"{name}_weight", folded.weight))
    if folded.bias is not None:
        operands += (program.constant(f"{name}_bias", folded.bias),)
    program.make(
        index,
        "Conv",
        operands,
        kernel_shape=list(kernel),
        strides=list(stride),
        pads=_onnx_pads(pads),
        dilations=list(dilation),
        group=groups,
    )
    _folded_into(program, index, folded.last, program.values[index])


def _linear(program: Program, index: int, node: Node) -> None:
    folded = fold(program.graph, program.weights, program.readers, index)
    name = value_name(program.graph, index)
    (x,) = program.operands(index)
    if len(node.shape) == 1:
        operands: tuple[str, ...] = (x, program.constant(f"{name}_weight", folded.weight))
        if folded.bias is not None:
            operands += (program.constant(f"{name}_bias", folded.bias),)
        program.make(index, "Gemm", operands, transB=1)
    else:
        weight = program.constant(f"{name}_weight", numpy.ascontiguousarray(folded.weight.T))
        if folded.bias is None:
            program.make(index, "MatMul", (x, weight))
        else:
            product = program.emit("MatMul", (x, weight), f"{name}_product")
            program.make(index, "Add", (product, program.constant(f"{name}_bias", folded.bias)))
    _folded_into(program, index, folded.last, program.values[index])


def _along(data: Array, axis: int, rank: int) -> Array:
    """A vector that broadcasts along one axis of the unbatched shape."""
    return data.reshape([-1 if i == axis else 1 for i in range(rank)])


def _norm(program: Program, index: int, node: Node) -> None:
    kind, eps, _, axis = node.attrs
    arrays, name, rank = program.weights[index], value_name(program.graph, index), len(node.shape)
    (x,) = program.operands(index)
    if kind == "batch":
        factor, shift = [
            program.constant(f"{name}_{p}", _along(v, 0, rank))
            for p, v in zip(("factor", "shift"), norm_affine(node, arrays), strict=True)
        ]
        program.make(index, "Add", (program.emit("Mul", (x, factor), f"{name}_scaled"), shift))
        return
    axes = [0, *[a + 1 for a in range(rank) if a != axis], axis + 1]
    operands = [program.constant(f"{name}_{p}", arrays[p]) for p in ("weight", "bias")]
    if axis == rank - 1:
        program.make(index, "LayerNormalization", (x, *operands), axis=-1, epsilon=eps)
        return
    last = program.emit("Transpose", (x,), f"{name}_last", perm=axes)
    normal = program.emit("LayerNormalization", (last, *operands), f"{name}_normal", axis=-1, epsilon=eps)
    program.make(index, "Transpose", (normal,), perm=[axes.index(a) for a in range(rank + 1)])


def _layer_scale(program: Program, index: int, node: Node) -> None:
    name = value_name(program.graph, index)
    factor = _along(program.weights[index]["weight"], 0, len(node.shape))
    program.make(index, "Mul", (*program.operands(index), program.constant(f"{name}_weight", factor)))


ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "hswish": ("HardSwish", {}),
    "hsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": ("Sigmoid", {}),
    "gelu": ("Gelu", {}),
    "tanh": ("Tanh", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.1}),
}


def _act(program: Program, index: int, node: Node) -> None:
    (x,), fn = program.operands(index), node.attrs[0]
    if fn == "relu6":
        bounds = [program.constant(f"float{v}", numpy.array(v, numpy.float32)) for v in (0, 6)]
        program.make(index, "Clip", (x, *bounds))
    elif fn == "silu":
        gate = program.emit("Sigmoid", (x,), f"{value_name(program.graph, index)}_gate")
        program.make(index, "Mul", (x, gate))
    else:
        kind, attributes = ACTIVATIONS[fn]
        program.make(index, kind, (x,), **attributes)


def _add(program: Program, index: int, node: Node) -> None:
    total, *others = program.operands(index)
    for place, other in enumerate(others[:-1]):
        total = program.emit("Add", (total, other), f"{value_name(program.graph, index)}_{place}")
    program.make(index, "Add", (total, others[-1]))


def _pool(program: Program, index: int, node: Node) -> None:
    kind, kernel, stride, pads, count_padding = node.attrs
    window = {"kernel_shape": list(kernel), "strides": list(stride), "pads": _onnx_pads(pads)}
    if kind == "max":
        program.make(index, "MaxPool", program.operands(index), **window)
    else:
        program.make(index, "AveragePool", program.operands(index), **window, count_include_pad=int(count_padding))


def _resize(program: Program, index: int, node: Node) -> None:
    mode = node.attrs[1]
    operands = (*program.operands(index), "", "", program.whole_numbers([1, *node.shape]))
    if mode == "bilinear":
        program.make(index, "Resize", operands, mode="linear", coordinate_transformation_mode="half_pixel")
    else:
        program.make(
            index,
            "Resize",
            operands,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )


def _slice(program: Program, index: int, node: Node) -> None:
    axis, start, stop = node.attrs
    bounds = [program.whole_numbers([v]) for v in (start, stop, axis + 1)]
    program.make(index, "Slice", (*program.operands(index), *bounds))


def _scale(program: Program, index: int, node: Node) -> None:
    factor = program.constant(f"{value_name(program.graph, index)}_factor", numpy.array(node.attrs[0], numpy.float32))
    program.make(index, "Mul", (*program.operands(index), factor))


def _zero(program: Program, index: int, node: Node) -> None:
    name = value_name(program.graph, index)
    program.values[index] = program.constant(name, numpy.zeros((1, *node.shape), numpy.float32))


def _input(program: Program, index: int, node: Node) -> None:
    name = f"input{len(program.inputs)}" if len(program.graph.input_shapes) > 1 else "input"
    program.inputs.append(name)
    program.values[index] = name


def _simple(kind: str, attributes: Callable[[Node], dict[str, Any]] = lambda node: {}) -> Write:
    return lambda program, index, node: program.make(index, kind, program.operands(index), **attributes(node))


WRITE: dict[str, Write] = {
    "input": _input,
    "zero": _zero,
    "conv": _conv,
    "linear": _linear,
    "norm": _norm,
    "layer_scale": _layer_scale,
    "act": _act,
    "add": _add,
    "mul": _simple("Mul"),
    "concat": _simple("Concat", lambda node: {"axis": node.attrs[0] + 1}),
    "pool": _pool,
    "global_pool": lambda program, index, node: program.make(
        index, "GlobalMaxPool" if node.attrs[0] == "max" else "GlobalAveragePool", program.operands(index)
    ),
    "resize": _resize,
    "matmul": _simple("MatMul"),
    "softmax": _simple("Softmax", lambda node: {"axis": node.attrs[0] + 1}),
    "reshape": lambda program, index, node: program.make(
        index, "Reshape", (*program.operands(index), program.whole_numbers([1, *node.shape]))
    ),
    "permute": _simple("Transpose", lambda node: {"perm": [0, *[a + 1 for a in node.attrs[0]]]}),
    "slice": _slice,
    "scale": _scale,
}


def _program(graph: Graph, weights: Weights) -> tuple[Program, tuple[Unsupported, ...]]:
    program, problems = Program(graph, weights), []
    for index, node in enumerate(graph.nodes):
        if index in program.values:  # folded into one before it
            continue
        try:
            WRITE[node.op](program, index, node)
        except CannotWrite as problem:
            problems.append(Unsupported(index, node.op, str(problem)))
            program.values[index] = value_name(graph, index)
    for name, index in graph.outputs:
        # A value may be an output twice, or an input too: each output is a value of its own.
        program.outputs.append(program.emit("Identity", (program.values[index],), name))
    return program, tuple(problems)


def float_program(graph: Graph, weights: Weights) -> Program:
    """The float32 program of ``graph``. Raises ``ModelFileError`` for the first node that ONNX cannot hold."""
    program, problems = _program(graph, weights)
    if problems:
        raise refusal("onnx", problems[0])
    return program


def unsupported_nodes(graph: Graph) -> tuple[Unsupported, ...]:
    """The nodes that ONNX cannot hold, each with the reason."""
    return _program(graph, blank_weights(graph))[1]
