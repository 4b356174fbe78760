"""What a row of the vocabulary owes: an example, and a row in the table of every target; names of what is missing."""

from __future__ import annotations

from collections.abc import Collection

from search_spaces.export.onnx.nodes import ACTIVATION_WRITERS, NODE_WRITERS
from search_spaces.export.tflite.activation_tables import DISTRIBUTION_RULES
from search_spaces.export.tflite.arithmetic import ACTIVATION_RULES
from search_spaces.export.tflite.lowering import LOWERING_RULES
from search_spaces.export.tflite.operators import OPERATORS
from search_spaces.export.weights import AFFINE_FORMS
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import ACTIVATIONS, OPS, never
from search_spaces.module_spaces.axis_tracing import WIDTH_RULES
from search_spaces.pytorch.operations import ACTIVATION_FUNCTIONS, PYTORCH_OPERATIONS

LOWERINGS: dict[str, Collection[str]] = {
    "pytorch": PYTORCH_OPERATIONS,
    "onnx": NODE_WRITERS,
    "tflite": LOWERING_RULES,
}
ACTIVATION_LOWERINGS: dict[str, Collection[str]] = {
    "pytorch": ACTIVATION_FUNCTIONS,
    "onnx": ACTIVATION_WRITERS,
    "tflite": ACTIVATION_RULES,
}


def missing_rows() -> list[str]:
    """What the vocabulary and the targets owe each other, a sentence each; empty where nothing is missing."""
    missing = []
    for what, table, lowerings in (
        ("operation", OPS, LOWERINGS),
        ("activation", ACTIVATIONS, ACTIVATION_LOWERINGS),
    ):
        for target, rows in lowerings.items():
            missing += [f"{what} {name!r} has no lowering for {target}" for name in table if name not in rows]
            missing += [f"{target} lowers {what} {name!r}, which does not exist" for name in rows if name not in table]
    for op, row in OPS.items():
        if row.example is None:
            missing.append(f"operation {op!r} has no example")
            continue
        if row.affine is not never and op not in AFFINE_FORMS:
            missing.append(f"operation {op!r} is affine and has no affine form to fold into weights")
        node = example_node(op)
        keeps_axes = len(row.example.operands) == 1 and node.shape == row.example.operands[0]
        if not keeps_axes and op not in WIDTH_RULES:
            missing.append(f"operation {op!r} changes its operand's shape and has no width rule")
    return missing


def example_node(op: str) -> Node:
    """The node of an operation's example; its operands are nodes 0, 1 and so on."""
    row = OPS[op]
    assert row.example is not None
    shape = row.shape(row.example.operands, row.example.attrs)
    return Node(op, row.example.attrs, tuple(range(len(row.example.operands))), shape)


def example_graph(op: str) -> Graph:
    """The operation's example on inputs of its own; a constant is concatenated with an input, to be there at all."""
    row, b = OPS[op], Builder()
    assert row.example is not None
    operands = [b.input(shape) for shape in row.example.operands]
    if op == "input":
        return b.build(b.input(*row.example.attrs))
    result: Tensor = b.construct(op, row.example.attrs, operands)
    if not operands:
        result = b.concat([b.input(result.shape), result])
    return b.build(result)


def missing_operator_rules() -> list[str]:
    """TFLite's operators that lack a rule for the range of their result, or a row; a sentence each."""
    ruleless = [code for code in OPERATORS if code not in DISTRIBUTION_RULES]
    rowless = [code for code in DISTRIBUTION_RULES if code not in OPERATORS]
    return [f"TFLite operator {code!r} has no distribution rule" for code in ruleless] + [
        f"TFLite operator {code!r} has no row" for code in rowless
    ]
