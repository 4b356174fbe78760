"""Runs a ``.tflite`` file with LiteRT in this process, to compare it with PyTorch; lists its operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from search_spaces.export.converters.exported import ConversionError, OutputsDiffer
from search_spaces.export.weights import Array
from search_spaces.graph.operations import Shape


def import_litert() -> Any:
    """The module with ``Interpreter``. ``ConversionError`` where ai-edge-litert is not installed."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        raise ConversionError("litert: comparing a file needs the package ai-edge-litert; pip install it") from None
    return interpreter


def to_file_layout(x: Array) -> Array:
    """One input of a graph as the file takes it: a batch axis, images channels last."""
    return np.ascontiguousarray((x.transpose(1, 2, 0) if x.ndim == 3 else x)[None])


def _quantise_input(x: Array, detail: dict[str, Any]) -> Array:
    if detail["dtype"] != np.int8:
        return x
    scale, zero = detail["quantization"]
    whole: Array = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
    return whole


def _dequantise(y: Array, detail: dict[str, Any]) -> Array:
    if detail["dtype"] == np.int8:
        scale, zero = detail["quantization"]
        y = ((y.astype(np.float64) - zero) * scale).astype(np.float32)
    y = y[0] if y.ndim else y
    return y.transpose(2, 0, 1) if y.ndim == 3 else y


def file_outputs(
    model: bytes, names: Sequence[str], shapes: Sequence[Shape], samples: Sequence[tuple[Array, ...]], precision: str
) -> list[dict[str, Array]]:
    """What a file makes of samples (channels first, no batch axis), real numbers by output name, likewise.

    ``names`` and ``shapes`` are those of the inputs. Raises ``OutputsDiffer`` where the file does not load, or takes or
    returns anything else than ``precision`` (``"float32"``, ``"int8"``) under those names.
    """
    runtime = import_litert()
    try:
        interpreter = runtime.Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        signatures = interpreter.get_signature_list()
        if len(signatures) != 1:
            raise OutputsDiffer(f"litert: the converted file has {len(signatures)} signatures instead of one")
        runner = interpreter.get_signature_runner(next(iter(signatures)))
    except (ValueError, RuntimeError) as error:
        if isinstance(error, OutputsDiffer):
            raise
        raise OutputsDiffer(f"litert: the converted file does not load: {str(error)[:200]}") from None
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    if set(inputs) != set(names):
        raise OutputsDiffer(f"litert: the converted file takes {sorted(inputs)}, not {sorted(names)}")
    for name, shape in zip(names, shapes, strict=True):
        expected = (1, *shape[1:], shape[0]) if len(shape) == 3 else (1, *shape)
        if tuple(inputs[name]["shape"]) != expected:
            raise OutputsDiffer(f"litert: input {name!r} of the converted file is {tuple(inputs[name]['shape'])}")
    for name, detail in [*inputs.items(), *outputs.items()]:
        if detail["dtype"] != np.dtype(precision):
            kind = np.dtype(detail["dtype"]).name
            raise OutputsDiffer(f"litert: {name!r} of the converted file is {kind}, not {precision}")
    results = []
    for sample in samples:
        feed = {n: _quantise_input(to_file_layout(x), inputs[n]) for n, x in zip(names, sample, strict=True)}
        results.append({name: _dequantise(y, outputs[name]) for name, y in runner(**feed).items()})
    return results


def _main_subgraph(model: bytes) -> tuple[Any, Any, Any]:
    import ai_edge_litert.schema_py_generated as schema

    document = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    return schema, document, document.subgraphs[0]


def operators(model: bytes) -> list[str]:
    """The operators of a file in order, by their names in TFLite's schema."""
    schema, document, subgraph = _main_subgraph(model)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in document.operatorCodes]
    return [names.get(codes[o.opcodeIndex], str(codes[o.opcodeIndex])) for o in subgraph.operators]


def float_operators(model: bytes) -> list[str]:
    """The operators of an int8 file that make float32 all the same."""
    schema, _, subgraph = _main_subgraph(model)
    float32 = schema.TensorType.FLOAT32
    rows = zip(operators(model), subgraph.operators, strict=True)
    return [name for name, o in rows if any(subgraph.tensors[i].type == float32 for i in o.outputs)]
