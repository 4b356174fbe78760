"""A program as the bytes of a ``.tflite`` file, through the schema's bindings of ai-edge-litert."""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.tflite.operators import operator_row
from search_spaces.export.tflite.program import TfliteOperator, TfliteProgram, TfliteTensor
from search_spaces.export.weights import Array

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_FILE_BYTES = 2**31 - 2**20  # offsets in the format are signed 32 bits
ALIGNMENT = 16  # of constants, as the schema asks for
_TYPES = {"float32": 0, "int32": 2, "int8": 9}
_ENUMS = {
    "padding": {"SAME": 0, "VALID": 1},
    "fusedActivationFunction": {"NONE": 0, "RELU": 1, "RELU6": 3},
}


def _schema() -> Any:
    try:
        import ai_edge_litert.schema_py_generated as schema
    except ImportError:
        raise ModelFileError("tflite: writing needs the package ai-edge-litert; pip install ai-edge-litert") from None
    return schema


def _data(builder: Any, data: Array) -> int:
    """A constant's bytes in one copy, aligned as the schema asks."""
    raw = np.ascontiguousarray(data).tobytes()
    builder.StartVector(1, len(raw), ALIGNMENT)
    builder.head -= len(raw)
    builder.Bytes[builder.head : builder.head + len(raw)] = raw
    return int(builder.EndVector())


def _offsets(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _ints(builder: Any, values: tuple[int, ...] | list[int]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependInt32(value)
    return int(builder.EndVector())


class _Packer:
    """Packs one program; buffer 0 is the empty one, as the format has it."""

    def __init__(self, program: TfliteProgram) -> None:
        import flatbuffers

        self.program = program
        self.schema = _schema()
        size = sum([t.data.nbytes for t in program.tensors if t.data is not None])
        if size > MAX_FILE_BYTES:
            raise ModelFileError("tflite: the weights do not fit one file of 2 GiB; use int8 or a smaller network")
        self.builder = flatbuffers.Builder(size + 1024 * (len(program.tensors) + 8))
        self.codes: dict[str, int] = {}
        self.signed: set[str] = set()

    def buffers(self) -> tuple[int, list[int]]:
        """The vector of buffers, and the buffer's number for each tensor."""
        s, b = self.schema, self.builder
        s.BufferStart(b)
        offsets, numbers = [int(s.BufferEnd(b))], []
        for tensor in self.program.tensors:
            if tensor.data is None:
                numbers.append(0)
                continue
            data = _data(b, tensor.data)
            s.BufferStart(b)
            s.BufferAddData(b, data)
            numbers.append(len(offsets))
            offsets.append(int(s.BufferEnd(b)))
        return _offsets(b, offsets), numbers

    def tensor(self, tensor: TfliteTensor, buffer: int, index: int) -> int:
        s, b = self.schema, self.builder
        shape = _ints(b, tensor.shape)
        name = b.CreateString(tensor.name or f"tensor{index}")
        quantisation = None
        if tensor.quantisation is not None:
            scale, zero_point, axis = tensor.quantisation
            scales = b.CreateNumpyVector(scale.astype(np.float32, copy=False))
            zeros = b.CreateNumpyVector(zero_point.astype(np.int64, copy=False))
            s.QuantizationParametersStart(b)
            s.QuantizationParametersAddScale(b, scales)
            s.QuantizationParametersAddZeroPoint(b, zeros)
            s.QuantizationParametersAddQuantizedDimension(b, axis)
            quantisation = s.QuantizationParametersEnd(b)
        s.TensorStart(b)
        s.TensorAddShape(b, shape)
        s.TensorAddType(b, _TYPES[tensor.dtype])
        s.TensorAddBuffer(b, buffer)
        s.TensorAddName(b, name)
        if quantisation is not None:
            s.TensorAddQuantization(b, quantisation)
        s.TensorAddHasRank(b, True)
        return int(s.TensorEnd(b))

    def operator(self, operator: TfliteOperator) -> int:
        s, b = self.schema, self.builder
        code = self.codes.setdefault(operator.code, len(self.codes))
        if self.program.tensors[operator.outputs[0]].dtype == "int8":
            self.signed.add(operator.code)
        inputs, outputs = _ints(b, operator.inputs), _ints(b, operator.outputs)
        kind = operator_row(operator.code).options
        options = None
        if kind:
            row = getattr(s, f"{kind}OptionsT")()
            for name, value in operator.options.items():
                setattr(row, name, _ENUMS[name][value] if name in _ENUMS else value)
            options = row.Pack(b)
        s.OperatorStart(b)
        s.OperatorAddOpcodeIndex(b, code)
        s.OperatorAddInputs(b, inputs)
        s.OperatorAddOutputs(b, outputs)
        if kind:
            s.OperatorAddBuiltinOptionsType(b, getattr(s.BuiltinOptions, f"{kind}Options"))
            s.OperatorAddBuiltinOptions(b, options)
        return int(s.OperatorEnd(b))

    def operator_codes(self) -> int:
        s, b = self.schema, self.builder
        offsets = []
        for code in self.codes:
            number = getattr(s.BuiltinOperator, code)
            s.OperatorCodeStart(b)
            s.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
            s.OperatorCodeAddVersion(b, operator_row(code).int8_version if code in self.signed else 1)
            s.OperatorCodeAddBuiltinCode(b, number)
            offsets.append(int(s.OperatorCodeEnd(b)))
        return _offsets(b, offsets)

    def pack(self) -> bytes:
        s, b, program = self.schema, self.builder, self.program
        buffers, numbers = self.buffers()
        rows = zip(program.tensors, numbers, strict=True)
        tensors = _offsets(b, [self.tensor(t, n, index) for index, (t, n) in enumerate(rows)])
        operators = _offsets(b, [self.operator(o) for o in program.operators])
        inputs, outputs = _ints(b, program.inputs), _ints(b, program.outputs)
        s.SubGraphStart(b)
        s.SubGraphAddTensors(b, tensors)
        s.SubGraphAddInputs(b, inputs)
        s.SubGraphAddOutputs(b, outputs)
        s.SubGraphAddOperators(b, operators)
        subgraphs = _offsets(b, [int(s.SubGraphEnd(b))])
        codes = self.operator_codes()
        description = b.CreateString("nas")
        s.ModelStart(b)
        s.ModelAddVersion(b, SCHEMA_VERSION)
        s.ModelAddOperatorCodes(b, codes)
        s.ModelAddSubgraphs(b, subgraphs)
        s.ModelAddDescription(b, description)
        s.ModelAddBuffers(b, buffers)
        b.Finish(s.ModelEnd(b), file_identifier=IDENTIFIER)
        return bytes(b.Output())


def pack(program: TfliteProgram) -> bytes:
    """The program as a ``.tflite`` file. Raises ``ModelFileError`` where ai-edge-litert is not installed."""
    return _Packer(program).pack()
