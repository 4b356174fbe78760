"""From a graph with weights to a TFLite program in float32, node by node; the axes' order follows what needs it.

A tensor may hold a node's axes in any order. Images come and go channels last; a permutation is only noted, and a
TRANSPOSE written where an operator needs another order than there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from search_spaces.export.errors import Unsupported, refusal
from search_spaces.export.tflite import arithmetic, attention, weighted, windows
from search_spaces.export.tflite import data_movement as moves
from search_spaces.export.tflite.program import Program
from search_spaces.export.tflite.state import CannotLower, Lowering, Stored, natural_order, stored_shape
from search_spaces.export.weights import Weights, blank_weights, check_weights, random_weights
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph

Lower = Callable[[Lowering, int, Node], None]

LOWER: dict[str, Lower] = {
    **weighted.LOWER,
    **arithmetic.LOWER,
    **windows.LOWER,
    **moves.LOWER,
    **attention.LOWER,
}


class Lowered(NamedTuple):
    """A program in float32, and what could not be lowered (then the program is of no use)."""

    program: Program
    problems: tuple[Unsupported, ...]


def _lowered(graph: Graph, weights: Weights) -> Lowered:
    state = Lowering(graph, weights)
    problems = []
    for index, node in enumerate(graph.nodes):
        if index in state.stored:  # folded into one before it
            continue
        if node.op == "input":
            order = natural_order(node.shape)
            name = f"input{len(state.program.inputs)}" if len(graph.input_shapes) > 1 else "input"
            x = state.program.tensor(stored_shape(node.shape, order), name)
            state.program.inputs.append(x)
            state.stored[index] = Stored(x, order)
            continue
        reason = state.lower(LOWER[node.op], index, node)
        if reason is not None:
            problems.append(Unsupported(index, node.op, reason))
    problems += _add_outputs(state)
    return Lowered(state.program.swept(), tuple(problems))


def _add_outputs(state: Lowering) -> list[Unsupported]:
    program, problems = state.program, []
    for name, index in state.graph.outputs:
        node = state.graph.nodes[index]
        try:
            x = state.get(index, natural_order(node.shape))
        except CannotLower as problem:
            problems.append(Unsupported(index, node.op, str(problem)))
            continue
        if x in program.inputs or x in program.outputs or program.maker(x) is None:
            x = program.emit("RESHAPE", (x, program.whole_numbers(program.tensors[x].shape)), program.tensors[x].shape)
        program.tensors[x].name = name
        program.outputs.append(x)
    return problems


def lower(graph: Graph, weights: Weights | None = None, seed: int = 0) -> Program:
    """The float32 program of ``graph``; random weights from ``seed`` where none are given.

    Raises ``ModelFileError`` for the first node that TFLite cannot hold, ``WeightsError`` for weights of another
    graph.
    """
    if weights is None:
        weights = random_weights(graph, seed)
    else:
        check_weights(graph, weights)
    program, problems = _lowered(graph, weights)
    if problems:
        raise refusal("tflite", problems[0])
    return program


def unsupported_nodes(graph: Graph) -> tuple[Unsupported, ...]:
    """The nodes that TFLite cannot hold, each with the reason."""
    return _lowered(graph, blank_weights(graph)).problems
