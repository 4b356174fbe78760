"""What a model file can hold: which operations of a graph a format cannot, and the error that says so."""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.graph import Graph
from search_spaces.ops import GraphError

FORMATS = ("tflite", "onnx")
PRECISIONS = ("float32", "int8")


class ModelFileError(GraphError):
    """A graph, weights or calibration that cannot become a model file; the message names node and operation."""


class Unsupported(NamedTuple):
    """One node that a format cannot hold, its operation, and why."""

    node: int
    op: str
    reason: str


def refusal(file_format: str, problem: Unsupported) -> ModelFileError:
    """The error for one node that cannot be written."""
    return ModelFileError(f"{file_format}: node {problem.node} ({problem.op}) cannot be written: {problem.reason}")


def check_precision(file_format: str, precision: str) -> None:
    """Raise ``ModelFileError`` for a precision that no writer has."""
    if precision not in PRECISIONS:
        raise ModelFileError(f"{file_format}: no precision {precision!r}; known: {', '.join(PRECISIONS)}")


def unsupported(graph: Graph, file_format: str) -> tuple[Unsupported, ...]:
    """The nodes of ``graph`` that ``"tflite"`` or ``"onnx"`` cannot hold, with reasons; empty where all can be written.

    Raises ``ModelFileError`` for another format.
    """
    if file_format == "tflite":
        from search_spaces.tflite.lowering import unsupported_nodes as in_tflite

        return in_tflite(graph)
    if file_format == "onnx":
        from search_spaces.onnx_file.nodes import unsupported_nodes as in_onnx

        return in_onnx(graph)
    raise ModelFileError(f"no model file format {file_format!r}; known: {', '.join(FORMATS)}")
