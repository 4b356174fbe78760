"""The operators of TFLite that programs use, a row each: how they are written, and what 8-bit integers ask of them.

A lowering may emit any operator that has a row here and a rule in ``activation_tables.DISTRIBUTION_RULES``.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.export.errors import ModelFileError


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator of the schema.

    options: the schema's table of its options, empty where it has none. int8_version: the version of the operator that
    brought int8 (tensorflow/lite/schema/schema.fbs and tools/versioning/op_version.cc); runtimes refuse what they are
    too old for. weight_axis: where its weights have their output channels, where it has weights. keeps_scale: its
    result has the very scale of its first operand, and no value beyond that one's. fixed_scale: scale and zero point
    that the quantisation specification gives its result.
    """

    options: str = ""
    int8_version: int = 1
    weight_axis: int | None = None
    keeps_scale: bool = False
    fixed_scale: tuple[float, int] | None = None


OPERATORS: dict[str, OperatorRow] = {
    "ADD": OperatorRow("Add", 2),
    "AVERAGE_POOL_2D": OperatorRow("Pool2D", 2, keeps_scale=True),
    "BATCH_MATMUL": OperatorRow("BatchMatMul", 2),
    "CONCATENATION": OperatorRow("Concatenation", 2),
    "CONV_2D": OperatorRow("Conv2D", 3, weight_axis=0),
    "DEPTHWISE_CONV_2D": OperatorRow("DepthwiseConv2D", 3, weight_axis=3),
    "FULLY_CONNECTED": OperatorRow("FullyConnected", 4, weight_axis=0),
    "GELU": OperatorRow("Gelu", 2),
    "HARD_SWISH": OperatorRow("HardSwish"),
    "LEAKY_RELU": OperatorRow("LeakyRelu", 2),
    "LOGISTIC": OperatorRow(int8_version=2, fixed_scale=(1 / 256, -128)),
    "MAX_POOL_2D": OperatorRow("Pool2D", 2, keeps_scale=True),
    "MEAN": OperatorRow("Reducer", 2),
    "MUL": OperatorRow("Mul", 2),
    "PAD": OperatorRow("Pad", 2, keeps_scale=True),
    "PADV2": OperatorRow("PadV2", 2, keeps_scale=True),
    "QUANTIZE": OperatorRow("Quantize"),
    "RELU": OperatorRow(int8_version=2),
    "RELU6": OperatorRow(int8_version=2),
    "RESHAPE": OperatorRow("Reshape", keeps_scale=True),
    "RESIZE_BILINEAR": OperatorRow("ResizeBilinear", 2, keeps_scale=True),
    "RESIZE_NEAREST_NEIGHBOR": OperatorRow("ResizeNearestNeighbor", 2, keeps_scale=True),
    "RSQRT": OperatorRow(int8_version=2),
    "SLICE": OperatorRow("Slice", 2, keeps_scale=True),
    "SOFTMAX": OperatorRow("Softmax", 2, fixed_scale=(1 / 256, -128)),
    "SUB": OperatorRow("Sub", 2),
    "TANH": OperatorRow(int8_version=2, fixed_scale=(1 / 128, 0)),
    "TRANSPOSE": OperatorRow("Transpose", 2, keeps_scale=True),
}


def operator_row(code: str) -> OperatorRow:
    """The operator's row. Raises ``ModelFileError`` where it has none."""
    row = OPERATORS.get(code)
    if row is None:
        raise ModelFileError(f"tflite: operator {code!r} has no row in {__name__}.OPERATORS")
    return row
