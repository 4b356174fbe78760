"""Writes a graph as a ``.tflite`` file, float32 or int8, without a converter."""

from search_spaces.export.tflite.writer import tflite_program, write_tflite

__all__ = ["tflite_program", "write_tflite"]
