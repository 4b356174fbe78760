"""A trained network through the field's own converters: ``torch.onnx`` to ONNX, litert-torch to LiteRT.

``search_spaces.onnx_file`` and ``search_spaces.tflite`` write files straight from a graph, in milliseconds; what ships
goes through the converters, and is compared with PyTorch before it is a file.
"""

from search_spaces.conversion.exported import Agreement, ConversionError, ExportedFile, OutputsDiffer
from search_spaces.conversion.litert_environment import ConverterMissing, converter_python, make_environment
from search_spaces.conversion.litert_export import export_tflite
from search_spaces.conversion.onnx_export import export_onnx

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
