"""Why a graph has no model file, and which formats and precisions there are."""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.graph.operations import GraphError

FORMATS = ("tflite", "onnx")
PRECISIONS = ("float32", "int8")


class ModelFileError(GraphError):
    """A graph, weights or calibration that cannot become a model file; the message names node and operation."""


class UnsupportedNode(NamedTuple):
    """One node that a format cannot hold, its operation, and why."""

    node: int
    op: str
    reason: str


def unsupported_error(file_format: str, problem: UnsupportedNode) -> ModelFileError:
    """The error for one node that cannot be written."""
    return ModelFileError(f"{file_format}: node {problem.node} ({problem.op}) cannot be written: {problem.reason}")


def check_precision(file_format: str, precision: str) -> None:
    """Raise ``ModelFileError`` for a precision that no writer has."""
    if precision not in PRECISIONS:
        raise ModelFileError(f"{file_format}: no precision {precision!r}; known: {', '.join(PRECISIONS)}")
