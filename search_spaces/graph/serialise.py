"""Graphs read back from JSON, node by node through the builder's constructors; ``Graph.to_json`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import GRAPH_JSON_FORMAT, Graph
from search_spaces.graph.operations import OPS, GraphError
from search_spaces.graph.provenance import BlockCall, Label
from search_spaces.graph.zero_channels import zeros_policy


def graph_from_json(text: str) -> Graph:
    """Read ``Graph.to_json``'s text, checking every shape again. Raises ``GraphError`` for anything else."""
    nodes, outputs, labels_read = _read_document(text)
    rows = [(row.get("op"), row.get("inputs")) if isinstance(row, Mapping) else (None, None) for row in nodes]
    builder = Builder(zeros_policy(rows))
    labels = dict(labels_read)
    tensors: list[Tensor] = []
    for index, row in enumerate(nodes):
        if index in labels:
            builder.label_next(labels[index])
        try:
            tensors.append(_construct(builder, row, tensors))
        except GraphError as error:
            raise GraphError(f"node {index}: {error}") from None
    outputs_by_name = {}
    for name, index in outputs.items():
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(tensors):
            raise GraphError(f"output {name!r} must be the number of a node, 0 to {len(tensors) - 1}")
        outputs_by_name[name] = tensors[index]
    return builder.build(outputs_by_name)


def _read_document(text: str) -> tuple[list[Any], Mapping[str, Any], list[tuple[int, Label]]]:
    """The rows of the nodes, the indices of the outputs by name, neither checked one by one, and where labels begin."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"no graph: the text is not JSON ({error})") from None
    if not isinstance(document, Mapping) or document.get("format") != GRAPH_JSON_FORMAT:
        raise GraphError(f"no graph: expected a JSON object with format {GRAPH_JSON_FORMAT!r}")
    nodes, outputs = document.get("nodes"), document.get("outputs")
    if not isinstance(nodes, list) or not isinstance(outputs, Mapping) or not outputs:
        raise GraphError("no graph: it needs a list `nodes` and an object `outputs`")
    return nodes, outputs, _read_labels(document.get("labels", []), len(nodes))


def _read_labels(runs: object, count: int) -> list[tuple[int, Label]]:
    """Rows of [first node, path, [[block, number], ...]]; graphs of earlier releases have none."""
    problem = GraphError("no graph: `labels` must list [first node, path, [[block, number], ...]]")
    labels = []
    for row in runs if isinstance(runs, list) else [None]:
        if not isinstance(row, list) or [type(value) for value in row] != [int, str, list] or not 0 <= row[0] < count:
            raise problem
        first, path, calls = row
        if not all(isinstance(each, list) and [type(value) for value in each] == [str, int] for each in calls):
            raise problem
        labels.append((first, Label(path, tuple([BlockCall(block, number) for block, number in calls]))))
    return labels


def _construct(builder: Builder, row: object, tensors: Sequence[Tensor]) -> Tensor:
    """The node of one row, on the tensors of the rows before it."""
    op = row.get("op") if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or not isinstance(op, str) or op not in OPS:
        raise GraphError(f"expected an object with a known `op`; known: {', '.join(OPS)}")
    names = OPS[op].attrs
    unknown = set(row) - set(names) - {"op", "inputs"}
    missing = set(names) - set(row)
    if unknown or missing:
        raise GraphError(f"{op}: attributes must be {', '.join(names) or 'none'}, not {sorted(map(str, row))}")
    operands = []
    inputs = row.get("inputs", [])
    if not isinstance(inputs, list):
        raise GraphError(f"{op}: inputs must be a list of node numbers")
    for i in inputs:
        if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < len(tensors):
            raise GraphError(f"{op}: an input must be the number of an earlier node")
        operands.append(tensors[i])
    attrs = tuple(_attribute(op, row[name]) for name in names)
    # The shape rule checks types and ranges before a constructor computes with them.
    OPS[op].shape(tuple(t.shape for t in operands), attrs)
    return builder.construct(op, attrs, operands)


def _attribute(op: str, value: object, depth: int = 2) -> object:
    """JSON's lists as the tuples that attributes are; padding, the deepest of them, holds pairs."""
    if isinstance(value, list) and depth:
        return tuple([_attribute(op, v, depth - 1) for v in value])
    if isinstance(value, list | dict):
        raise GraphError(f"{op}: an attribute is a number, a text, true, false, or a list of them or of pairs")
    return value
