"""Writes a graph as an ``.onnx`` file, float32 or int8 (QDQ), without a converter."""

from search_spaces.export.onnx.writer import write_onnx

__all__ = ["write_onnx"]
