"""A trained network through the field's own converters: ``torch.onnx`` to ONNX, litert-torch to LiteRT.

``search_spaces.export.onnx`` and ``search_spaces.export.tflite`` write files straight from a graph, in milliseconds;
what ships goes through the converters, and is compared with PyTorch before it is a file.
"""

from search_spaces.export.converters.exported import Agreement, ConversionError, ExportedFile, OutputsDiffer
from search_spaces.export.converters.litert_environment import ConverterMissing, converter_python, make_environment
from search_spaces.export.converters.litert_export import export_tflite
from search_spaces.export.converters.onnx_export import export_onnx

__all__ = [
    "Agreement",
    "ConversionError",
    "ConverterMissing",
    "ExportedFile",
    "OutputsDiffer",
    "converter_python",
    "export_onnx",
    "export_tflite",
    "make_environment",
]
