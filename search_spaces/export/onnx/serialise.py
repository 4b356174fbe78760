"""A program as the bytes of an ``.onnx`` file, through the onnx package."""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.onnx.program import OnnxProgram
from search_spaces.export.weights import Array
from search_spaces.graph.operations import Shape

OPSET = 20  # the first with Gelu
IR_VERSION = 10


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ModelFileError("onnx: writing needs the package onnx; pip install onnx") from None
    return onnx


def _tensor(onnx: Any, name: str, data: Array) -> Any:
    kinds = {
        "float32": onnx.TensorProto.FLOAT,
        "int64": onnx.TensorProto.INT64,
        "int32": onnx.TensorProto.INT32,
        "int8": onnx.TensorProto.INT8,
    }
    raw = np.ascontiguousarray(data).tobytes()
    return onnx.TensorProto(name=name, data_type=kinds[data.dtype.name], dims=data.shape, raw_data=raw)


def _value(onnx: Any, name: str, shape: Shape) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, *shape))


def serialise(program: OnnxProgram, extra_outputs: tuple[str, ...] = ()) -> bytes:
    """The program as an ``.onnx`` file; ``extra_outputs`` values come out too, behind the outputs.

    Raises ``ModelFileError`` where the package onnx is not installed, or for a file beyond protobuf's 2 GiB.
    """
    onnx = _onnx()
    helper, graph = onnx.helper, program.graph
    value_names = [*program.inputs, *program.constants, *[o.output for o in program.operators]]
    for name in program.outputs:
        if value_names.count(name) > 1:
            raise ModelFileError(f"onnx: output {name!r} has the name of another value of the file; rename it")
    nodes = [helper.make_node(o.kind, o.inputs, (o.output,), o.output, **o.attributes) for o in program.operators]
    used = {i for o in program.operators for i in o.inputs}
    constants = {name: data for name, data in program.constants.items() if name in used}
    if sum([data.nbytes for data in constants.values()]) > 2**31 - 2**20:
        raise ModelFileError("onnx: the weights do not fit one file of 2 GiB; use a smaller network")
    inputs = [_value(onnx, n, s) for n, s in zip(program.inputs, graph.input_shapes, strict=True)]
    outputs = [_value(onnx, n, s) for n, s in zip(program.outputs, graph.output_shapes.values(), strict=True)]
    outputs += [onnx.ValueInfoProto(name=name) for name in extra_outputs]
    onnx_graph = helper.make_graph(nodes, "nas", inputs, outputs, [_tensor(onnx, n, d) for n, d in constants.items()])
    model = helper.make_model(
        onnx_graph, producer_name="nas", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    data: bytes = model.SerializeToString()
    return data
