"""What a model file can hold: which operations of a graph a format cannot, and the error that says so."""

from __future__ import annotations

from search_spaces.export.errors import FORMATS, ModelFileError, UnsupportedNode
from search_spaces.export.onnx.nodes import unsupported_nodes as unsupported_in_onnx
from search_spaces.export.tflite.lowering import unsupported_nodes as unsupported_in_tflite
from search_spaces.graph.graph import Graph


def unsupported(graph: Graph, file_format: str) -> tuple[UnsupportedNode, ...]:
    """The nodes of ``graph`` that ``"tflite"`` or ``"onnx"`` cannot hold, with reasons; empty where all can be written.

    Raises ``ModelFileError`` for another format.
    """
    if file_format == "tflite":
        return unsupported_in_tflite(graph)
    if file_format == "onnx":
        return unsupported_in_onnx(graph)
    raise ModelFileError(f"no model file format {file_format!r}; known: {', '.join(FORMATS)}")
