"""Model files for ONNX Runtime: valid, and they compute what the module computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search_spaces.export.errors import ModelFileError
from search_spaces.export.formats import unsupported
from search_spaces.export.onnx import write_onnx
from search_spaces.export.weights import random_inputs, weights_from_module
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from tests.search_spaces.export.test_tflite import (
    LOSSY,
    OPERATIONS,
    QUICK,
    REST,
    module_outputs,
    network,
    one_operation,
    small_network,
    with_statistics,
)
from tests.support.operation_contract import example_graph

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def file_outputs(data: bytes, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """What ONNX Runtime makes of a file that the checker passes, without a batch axis."""
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {v.name: x[None] for v, x in zip(session.get_inputs(), inputs, strict=True)}
    return {v.name: y[0] for v, y in zip(session.get_outputs(), session.run(None, feed), strict=True)}


def check(graph: Graph, tolerance: float = 1e-4, least_correlation: float = 0.85, calibrated: bool = False) -> None:
    """The float file equals the module; the int8 file correlates with it, ``calibrated`` on the same input or not."""
    module = with_statistics(graph)
    weights = weights_from_module(module)
    (inputs,) = random_inputs(graph.input_shapes, 7, 1)
    expected = module_outputs(module, inputs)
    outputs = file_outputs(write_onnx(graph, weights=weights), inputs)
    signed = file_outputs(
        write_onnx(graph, weights=weights, precision="int8", calibration=[inputs] if calibrated else None), inputs
    )
    assert set(outputs) == set(signed) == set(expected)
    for name, values in expected.items():
        assert outputs[name].shape == values.shape
        assert np.abs(outputs[name] - values).max() <= tolerance * np.abs(values).max(), name
        assert np.corrcoef(signed[name].ravel(), values.ravel())[0, 1] > least_correlation, name


@pytest.mark.parametrize(("name", "size"), QUICK.items())
def test_files_compute_what_the_module_computes(name: str, size: int) -> None:
    check(network(name, size))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), REST.items())
def test_files_of_other_networks(name: str, size: int | None) -> None:
    check(network(name, size))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation(name: str) -> None:
    check(one_operation(name), 1e-5, LOSSY.get(name, 0.998), calibrated=True)


@pytest.mark.parametrize("op", OPS)
def test_the_example_of_each_operation(op: str) -> None:
    graph = example_graph(op)
    check(graph, 1e-5, 0.98, calibrated=True)
    assert unsupported(graph, "onnx") == ()


def test_volumes_and_signals() -> None:
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 4, 8, 8)), 8, 3, 2)), "relu")
    signal = b.pool(b.conv(b.input((4, 20)), 6, 5, 2, padding=2), "max", 3, 2, padding=1)
    graph = b.build({"volume": b.linear(b.reshape(b.global_pool(x), (8,)), 2), "signal": signal})
    check(graph)
    assert unsupported(graph, "onnx") == ()


def test_int8_has_scales_for_each_output_channel() -> None:
    model = onnx.load_from_string(write_onnx(small_network(), precision="int8"))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 6
    assert kinds.count("Gemm") == 1
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = {n: a for n, a in arrays.items() if n.endswith("_weight_int")}
    assert len(weights) == 7
    for name, array in weights.items():
        assert array.dtype == np.int8
        assert arrays[name.replace("_int", "_scale")].shape == array.shape[:1]
        assert np.abs(array).max() == 127


def test_equal_seeds_make_equal_files_and_wrong_arguments_are_refused() -> None:
    graph = small_network()
    assert write_onnx(graph, seed=3) == write_onnx(graph, seed=3) != write_onnx(graph, seed=4)
    with pytest.raises(ModelFileError, match="no precision 'int4'"):
        write_onnx(graph, precision="int4")
    b = Builder()
    with pytest.raises(ModelFileError, match="output 'input' has the name of another value"):
        write_onnx(b.build({"input": b.act(b.input((3,)), "relu")}))
    with pytest.raises(ModelFileError, match="a sample must hold"):
        write_onnx(graph, precision="int8", calibration=[(np.zeros((3, 8, 8)),)])
