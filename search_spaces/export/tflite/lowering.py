"""From a graph with weights to a TFLite program in float32, node by node; the axes' order follows what needs it.

A tensor may hold a node's axes in any order. Images come and go channels last; a permutation is only noted, and a
TRANSPOSE written where an operator needs another order than there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from search_spaces.export.errors import UnsupportedNode, unsupported_error
from search_spaces.export.tflite import arithmetic, attention, weighted, windows
from search_spaces.export.tflite import data_movement as moves
from search_spaces.export.tflite.program import TfliteProgram
from search_spaces.export.tflite.state import LoweringState, UnsupportedInTflite, natural_order
from search_spaces.export.weights import Weights, check_weights, placeholder_weights, random_weights
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph

LoweringRule = Callable[[LoweringState, int, Node], None]

LOWERING_RULES: dict[str, LoweringRule] = {
    **weighted.LOWERING_RULES,
    **arithmetic.LOWERING_RULES,
    **windows.LOWERING_RULES,
    **moves.LOWERING_RULES,
    **attention.LOWERING_RULES,
}


class LoweringResult(NamedTuple):
    """A program in float32, and what could not be lowered (then the program is of no use)."""

    program: TfliteProgram
    problems: tuple[UnsupportedNode, ...]


def _no_rule(state: LoweringState, index: int, node: Node) -> None:
    raise UnsupportedInTflite(
        f"operation {node.op!r} has no lowering for tflite; add a row to {__name__}.LOWERING_RULES"
    )


def _lower_graph(graph: Graph, weights: Weights) -> LoweringResult:
    state = LoweringState(graph, weights)
    problems = []
    for index, node in enumerate(graph.nodes):
        if index in state.stored:  # folded into one before it
            continue
        reason = state.lower(LOWERING_RULES.get(node.op, _no_rule), index, node)
        if reason is not None:
            problems.append(UnsupportedNode(index, node.op, reason))
    problems += _add_outputs(state)
    return LoweringResult(state.program.without_dead_operators(), tuple(problems))


def _add_outputs(state: LoweringState) -> list[UnsupportedNode]:
    program, problems = state.program, []
    for name, index in state.graph.outputs:
        node = state.graph.nodes[index]
        try:
            x = state.get(index, natural_order(node.shape))
        except UnsupportedInTflite as problem:
            problems.append(UnsupportedNode(index, node.op, str(problem)))
            continue
        if x in program.inputs or x in program.outputs or program.producer(x) is None:
            x = program.emit("RESHAPE", (x, program.int_constant(program.tensors[x].shape)), program.tensors[x].shape)
        program.tensors[x].name = name
        program.outputs.append(x)
    return problems


def lower(graph: Graph, weights: Weights | None = None, seed: int = 0) -> TfliteProgram:
    """The float32 program of ``graph``; random weights from ``seed`` where none are given.

    Raises ``ModelFileError`` for the first node that TFLite cannot hold, ``WeightsError`` for weights of another
    graph.
    """
    if weights is None:
        weights = random_weights(graph, seed)
    else:
        check_weights(graph, weights)
    program, problems = _lower_graph(graph, weights)
    if problems:
        raise unsupported_error("tflite", problems[0])
    return program


def unsupported_nodes(graph: Graph) -> tuple[UnsupportedNode, ...]:
    """The nodes that TFLite cannot hold, each with the reason."""
    return _lower_graph(graph, placeholder_weights(graph)).problems
