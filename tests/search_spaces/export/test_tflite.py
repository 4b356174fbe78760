"""Model files for LiteRT: they compute what the module computes, in float32 and in int8; Vela takes them whole."""

from __future__ import annotations

import contextlib
import csv
import io
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.catalog import load_network, load_space
from search_spaces.export.errors import ModelFileError
from search_spaces.export.formats import unsupported
from search_spaces.export.tflite import tflite_program, write_tflite
from search_spaces.export.tflite.activation_tables import analytic_ranges
from search_spaces.export.tflite.data_movement import reshape_groups
from search_spaces.export.tflite.ranges import measured_ranges
from search_spaces.export.weights import (
    Weights,
    WeightsError,
    random_inputs,
    random_weights,
    weights_from_module,
    weights_from_state,
)
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import ACTIVATIONS, OPS
from search_spaces.pytorch.module import GraphModule, to_module
from tests.support.operation_contract import example_graph

interpreter = pytest.importorskip("ai_edge_litert.interpreter")

QUICK = {"mobiledet_edgetpu": 96, "mobilenetv3_large": 64, "fbnet_a": 64, "emo_1m": 64}
REST = {
    "mobiledet_cpu": 96,
    "mobiledet_dsp": 96,
    "mobiledet_gpu": 96,
    "mobilenetv2": 64,
    "mobilenetv4_conv_small": 64,
    "mobilenetv4_hybrid_medium": 64,
    "efficientnet_b0": 64,
    "emov2_1m": 64,
    "leyolo_nano": 96,
    "tinynet_e": None,
    "resnet50_v1": 64,
    "resnet50_v2": 64,
    "inception_v1": 64,
    "densenet121": 64,
}


def with_statistics(graph: Graph, seed: int = 0) -> GraphModule:
    """A module to evaluate, with running statistics and normalisations as if it had been trained."""
    module = to_module(graph, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2, generator=generator)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=generator)
        for index, layer in module.layers.items():
            for name, parameter in layer.named_parameters():
                if graph.nodes[int(index)].op in ("norm", "layer_scale"):
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
                elif name.endswith("bias"):
                    parameter.normal_(0, 0.1, generator=generator)
    return module.eval()


def module_outputs(module: GraphModule, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """What the module makes of inputs without a batch axis; outputs likewise."""
    with torch.no_grad():
        result = module(*[torch.from_numpy(x)[None] for x in inputs])
    outputs = result if isinstance(result, dict) else {module.graph.outputs[0][0]: result}
    return {name: value[0].numpy() for name, value in outputs.items()}


def file_outputs(data: bytes, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """What LiteRT makes of a file, numbers in and out real, channels first and without a batch axis."""
    runtime = interpreter.Interpreter(model_content=data, num_threads=1)
    runtime.allocate_tensors()
    for detail, x in zip(runtime.get_input_details(), inputs, strict=True):
        x = (x.transpose(1, 2, 0) if x.ndim == 3 else x)[None]
        scale, zero = detail["quantization"]
        if detail["dtype"] == np.int8:
            x = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
        runtime.set_tensor(detail["index"], np.ascontiguousarray(x))
    runtime.invoke()
    outputs = {}
    for detail in runtime.get_output_details():
        y = runtime.get_tensor(detail["index"])[0]
        scale, zero = detail["quantization"]
        y = (y.astype(np.float64) - zero) * scale if detail["dtype"] == np.int8 else y
        outputs[detail["name"]] = y.transpose(2, 0, 1) if y.ndim == 3 else y
    return outputs


def check_float(graph: Graph, tolerance: float = 1e-4) -> None:
    module = with_statistics(graph)
    (inputs,) = random_inputs(graph.input_shapes, 7, 1)
    expected = module_outputs(module, inputs)
    outputs = file_outputs(write_tflite(graph, precision="float32", weights=weights_from_module(module)), inputs)
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        assert outputs[name].shape == values.shape
        assert np.abs(outputs[name] - values).max() <= tolerance * np.abs(values).max(), name


def correlation(graph: Graph, calibrated: bool = False) -> float:
    """Least correlation over the outputs, of int8 with float, on an input that ``calibrated`` it or one of its own."""
    module = with_statistics(graph)
    (inputs,) = random_inputs(graph.input_shapes, 7, 1)
    expected = module_outputs(module, inputs)
    samples, weights = [inputs] if calibrated else None, weights_from_module(module)
    outputs = file_outputs(write_tflite(graph, precision="int8", weights=weights, calibration=samples), inputs)
    return min(float(np.corrcoef(outputs[n].ravel(), v.ravel())[0, 1]) for n, v in expected.items())


def network(name: str, size: int | None) -> Graph:
    return load_network(name, **({} if size is None else {"image_size": size}))


# -- float32 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), QUICK.items())
def test_float_files_compute_what_the_module_computes(name: str, size: int) -> None:
    check_float(network(name, size))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), REST.items())
def test_float_files_of_other_networks(name: str, size: int | None) -> None:
    check_float(network(name, size))


def test_float_files_of_nasbench201_cells() -> None:
    space = load_space("nasbench201")
    for seed in range(2):
        check_float(space.graph(space.sample(random.Random(seed))))


OPERATIONS: dict[str, Callable[[Builder, Tensor], Tensor]] = {
    "even padding on a stride": lambda b, x: b.conv(x, 8, 3, 2, padding=1, bias=True),
    "uneven padding": lambda b, x: b.conv(x, 8, 3, padding=((0, 2), (1, 0))),
    "dilation": lambda b, x: b.conv(x, 8, 3, dilation=2),
    "groups": lambda b, x: b.conv(x, 12, 3, groups=3, bias=True),
    "depth multiplier": lambda b, x: b.conv(x, 12, 3, groups=6),
    "norm before": lambda b, x: b.conv(b.act(b.norm(x), "relu"), 4),
    "norm read twice": lambda b, x: b.add(y := b.conv(x, 6), b.norm(y)),
    "layer norm": lambda b, x: b.norm(x, "layer", axis=0),
    "layer norm along width": lambda b, x: b.norm(x, "layer", axis=2),
    "layer scale": lambda b, x: b.layer_scale(x, 0.5),
    "max pool": lambda b, x: b.pool(x, "max", 3, 2, padding=1),
    "average of what is there": lambda b, x: b.pool(x, "avg", 3, 2, padding=1),
    "average with padding": lambda b, x: b.pool(x, "avg", 3, 1, padding=1, count_padding=True),
    "global maximum": lambda b, x: b.global_pool(x, "max"),
    "nearest": lambda b, x: b.resize(x, (13, 5)),
    "bilinear": lambda b, x: b.resize(x, (13, 5), "bilinear"),
    "softmax of channels": lambda b, x: b.softmax(b.scale(x, 2.0), 0),
    "softmax of rows": lambda b, x: b.softmax(x, 1),
    "negative factor": lambda b, x: b.softmax(b.scale(x, -2.0), 0),
    "flatten": lambda b, x: b.linear(b.reshape(x, (6 * 8 * 10,)), 5),
    "tokens": lambda b, x: b.linear(b.permute(b.reshape(x, (6, 80)), (1, 0)), 7),
    "shuffle": lambda b, x: b.reshape(b.permute(b.reshape(x, (2, 3, 8, 10)), (1, 0, 2, 3)), (6, 8, 10)),
    "permuted and activated": lambda b, x: b.add(b.act(y := b.permute(x, (0, 2, 1)), "relu"), y),
    "reshaped there and back": lambda b, x: b.concat(
        [
            y := b.conv(x, 6),
            b.act(b.reshape(b.permute(b.permute(b.reshape(y, (2, 3, 80)), (1, 0, 2)), (1, 0, 2)), (6, 8, 10)), "relu"),
        ]
    ),
    "attention": lambda b, x: b.matmul(y := b.reshape(x, (2, 3, 80)), b.softmax(b.matmul(b.permute(y, (0, 2, 1)), y))),
    "slices": lambda b, x: b.concat([b.slice(x, 0, 3, 6), b.slice(x, 0, 0, 3)]),
    "concatenated rows and zeros": lambda b, x: b.concat([x, b.zero((6, 2, 10))], 1),
    "gate": lambda b, x: b.mul(b.act(b.conv(b.global_pool(x), 6), "sigmoid"), x),
    "sum of three": lambda b, x: b.add(x, b.conv(x, 6), b.conv(x, 6, 3)),
    **{fn: (lambda b, x, fn=fn: b.act(b.scale(x, 3.0), fn)) for fn in ACTIVATIONS},
}


# A layer normalisation rounds six times; the weights of 80 places are a few steps of softmax's 1/256 each.
LOSSY = {"layer norm": 0.99, "layer norm along width": 0.99, "attention": 0.97}


def one_operation(name: str) -> Graph:
    b = Builder()
    return b.build(OPERATIONS[name](b, b.input((6, 8, 10))))


@pytest.mark.parametrize("op", OPS)
def test_the_example_of_each_operation(op: str) -> None:
    graph = example_graph(op)
    check_float(graph, 1e-5)
    assert correlation(graph, calibrated=True) > 0.98
    assert unsupported(graph, "tflite") == ()


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_in_float_and_in_int8(name: str) -> None:
    graph = one_operation(name)
    check_float(graph, 1e-5)
    assert correlation(graph, calibrated=True) > LOSSY.get(name, 0.998)


def test_signals_of_one_axis() -> None:
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((4, 20)), 6, 5, 2, padding=2)), "relu")
    y = b.resize(b.pool(x, "max", 3, 2, padding=1), (9,))
    check_float(b.build({"map": y, "vector": b.linear(b.reshape(b.global_pool(x), (6,)), 3)}))


def test_outputs_that_share_a_value_and_inputs_that_pass() -> None:
    b = Builder()
    x, y = b.input((3, 4, 4)), b.input((5,))
    z = b.act(x, "relu")
    graph = b.build({"a": z, "b": z, "c": x, "d": b.linear(y, 2), "e": b.zero((2, 3, 4))})
    check_float(graph)
    outputs = file_outputs(write_tflite(graph, precision="int8"), random_inputs(graph.input_shapes, 7, 1)[0])
    assert {name: value.shape for name, value in outputs.items()} == graph.output_shapes
    assert not outputs["e"].any()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
@settings(max_examples=40)
def test_blocks_of_a_reshape_hold_the_same_elements(before: list[int], data: st.DataObject) -> None:
    remaining, after = int(np.prod(before)), []
    while remaining > 1:
        after.append(data.draw(st.sampled_from([n for n in range(1, remaining + 1) if remaining % n == 0])))
        remaining //= after[-1]
    after = after or [1]
    runs = reshape_groups(tuple(before), tuple(after))
    assert [a for old, _ in runs for a in old] == list(range(len(before)))
    assert [a for _, new in runs for a in new] == list(range(len(after)))
    for old, new in runs:
        assert np.prod([before[a] for a in old]) == np.prod([after[a] for a in new])


# -- int8 --------------------------------------------------------------------------------------------------------------

# Random weights without the normalisation of a batch grow or saturate; trained ones lose less.
LEAST_CORRELATION = {"mobiledet_edgetpu": 0.85, "mobilenetv3_large": 0.9, "fbnet_a": 0.99, "emo_1m": 0.9}


@pytest.mark.parametrize(("name", "size"), QUICK.items())
def test_int8_files_are_near_the_module(name: str, size: int) -> None:
    assert correlation(network(name, size)) > LEAST_CORRELATION[name]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), REST.items())
def test_int8_files_of_other_networks(name: str, size: int | None) -> None:
    assert correlation(network(name, size)) > 0.85


def small_network() -> Graph:
    """One of each: a strided stem, a residual inverted bottleneck with squeeze-excite, a classifier."""
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 32, 32)), 8, 3, 2)), "relu6")
    y = b.act(b.norm(b.conv(x, 24)), "hswish")
    y = b.act(b.norm(b.depthwise(y, 3)), "hswish")
    gate = b.act(b.conv(b.act(b.conv(b.global_pool(y), 8, bias=True), "relu"), 24, bias=True), "sigmoid")
    x = b.add(x, b.norm(b.conv(b.mul(y, gate), 8)))
    return b.build(b.linear(b.reshape(b.global_pool(x), (8,)), 10))


SMALL_OPERATORS = [
    "CONV_2D",
    "CONV_2D",
    "HARD_SWISH",
    "DEPTHWISE_CONV_2D",
    "HARD_SWISH",
    "AVERAGE_POOL_2D",
    "CONV_2D",
    "CONV_2D",
    "LOGISTIC",
    "MUL",
    "CONV_2D",
    "ADD",
    "AVERAGE_POOL_2D",
    "RESHAPE",
    "FULLY_CONNECTED",
]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_operators_of_a_small_network(precision: str) -> None:
    program = tflite_program(small_network(), precision=precision)
    assert [o.code for o in program.operators] == SMALL_OPERATORS
    fused = [o.options["fusedActivationFunction"] for o in program.operators if o.code == "CONV_2D"]
    assert fused == ["RELU6", "NONE", "RELU", "NONE", "NONE"]


def test_int8_is_int8_throughout_by_the_specification() -> None:
    program = tflite_program(small_network(), precision="int8")
    for operator in program.operators:
        result = program.tensors[operator.outputs[0]]
        operands = [program.tensors[i] for i in operator.inputs]
        assert result.dtype == operands[0].dtype == "int8"
        if operator.code in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            x, w, b = [t.quantisation for t in operands]
            assert [t.dtype for t in operands[1:]] == ["int8", "int32"]
            assert not w.zero_point.any()
            np.testing.assert_allclose(b.scale, w.scale * x.scale, rtol=1e-6)
            assert w.scale.shape == (result.shape[-1],)
        if operator.code in ("AVERAGE_POOL_2D", "RESHAPE"):
            assert result.quantisation == operands[0].quantisation
        if operator.code == "LOGISTIC":
            assert (float(result.quantisation.scale[0]), int(result.quantisation.zero_point[0])) == (1 / 256, -128)


def test_concatenated_parts_have_one_scale_and_narrow_ones_are_rescaled() -> None:
    b = Builder()
    x = b.input((4, 8, 8))
    near, far = b.conv(x, 4, 3), b.scale(b.act(x, "hswish"), 50.0)
    program = tflite_program(b.build(b.concat([near, far, b.act(x, "sigmoid")])), precision="int8")
    counts = Counter(o.code for o in program.operators)
    assert counts["QUANTIZE"] == 2  # the convolution and the sigmoid, not the part that sets the range
    (joined,) = [o for o in program.operators if o.code == "CONCATENATION"]
    scales = {float(program.tensors[i].quantisation.scale[0]) for i in (*joined.inputs, *joined.outputs)}
    assert len(scales) == 1


def test_equal_seeds_make_equal_files() -> None:
    graph = small_network()
    for precision in ("float32", "int8"):
        assert write_tflite(graph, precision=precision, seed=3) == write_tflite(graph, precision=precision, seed=3)
        assert write_tflite(graph, precision=precision, seed=3) != write_tflite(graph, precision=precision, seed=4)


def test_a_channel_shuffle_is_one_transposition() -> None:
    program = tflite_program(one_operation("shuffle"), precision="int8")
    assert [o.code for o in program.operators] == ["RESHAPE", "TRANSPOSE", "RESHAPE"]


def test_analytic_ranges_are_near_measured_ones_of_random_weights() -> None:
    graph = load_network("mobilenetv2", image_size=64)
    program = tflite_program(graph, precision="float32")
    measured = measured_ranges(program, graph.input_shapes, random_inputs(graph.input_shapes, 5))
    estimated = analytic_ranges(program)
    ratios = []
    for operator in program.operators:
        (low, high), (lowest, highest) = estimated[operator.outputs[0]], measured[operator.outputs[0]]
        ratios.append((high - low) / (highest - lowest))
    assert 0.7 < float(np.median(ratios)) < 2
    assert sum(0.4 < r < 4 for r in ratios) >= 0.9 * len(ratios)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_named() -> None:
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 4, 8, 8)), 8, 3)), "relu")
    graph = b.build(b.linear(b.reshape(b.global_pool(x), (8,)), 2))
    assert [(p.node, p.op) for p in unsupported(graph, "tflite")] == [(1, "conv"), (4, "global_pool")]
    with pytest.raises(ModelFileError, match=r"node 1 \(conv\) cannot be written"):
        write_tflite(graph, precision="float32")
    assert unsupported(small_network(), "tflite") == ()
    with pytest.raises(ModelFileError, match="no model file format 'coreml'"):
        unsupported(graph, "coreml")


def test_wrong_arguments_are_refused() -> None:
    graph = small_network()
    weights = random_weights(graph)
    with pytest.raises(ModelFileError, match="no precision 'int4'"):
        write_tflite(graph, precision="int4")
    with pytest.raises(WeightsError, match="made for another graph"):
        write_tflite(graph, precision="int8", weights=Weights({}))
    with pytest.raises(ModelFileError, match="an input must be"):
        write_tflite(graph, precision="int8", weights=weights, calibration=[(np.zeros((3, 8, 8)),)])
    with pytest.raises(ModelFileError, match="at least one sample"):
        write_tflite(graph, precision="int8", calibration=[])
    with pytest.raises(ModelFileError, match="'analytic' or None, not 'guess'"):
        write_tflite(graph, precision="int8", calibration="guess")
    broken = {i: {n: a.copy() for n, a in rows.items()} for i, rows in weights.by_node.items()}
    broken[1]["weight"][0] = np.nan
    with pytest.raises(ModelFileError, match="not finite"):
        write_tflite(graph, precision="int8", weights=Weights(broken))
    state = to_module(graph).state_dict()
    state["layers.1.weight"] = torch.zeros(8, 3, 5, 5)
    with pytest.raises(WeightsError, match=r"weight of node 1 \(conv\) must be \(8, 3, 3, 3\)"):
        weights_from_state(graph, state)


# -- Vela --------------------------------------------------------------------------------------------------------------


def vela_summary(data: bytes, folder: Path) -> tuple[str, dict[str, str]]:
    """What Arm's compiler says about a file on an Ethos-U55 with 128 MACs: its log and its row of figures."""
    vela = pytest.importorskip("ethosu.vela.vela")
    path = folder / "candidate.tflite"
    path.write_bytes(data)
    options = ["--accelerator-config", "ethos-u55-128", "--config", "Arm/vela.ini"]
    options += ["--system-config", "Ethos_U55_High_End_Embedded", "--memory-mode", "Shared_Sram"]
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        vela.main([str(path), "--output-dir", str(folder), *options])
    (summary,) = folder.glob("*summary*.csv")
    return log.getvalue(), next(csv.DictReader(summary.read_text().splitlines()))


def all_on_the_npu(graph: Graph, folder: Path) -> None:
    log, row = vela_summary(write_tflite(graph, precision="int8"), folder)
    assert "CPU operators = 0 (0.0%)" in log
    assert float(row["cycles_total"]) > 0


def test_vela_puts_a_small_network_on_the_npu(tmp_path: Path) -> None:
    all_on_the_npu(small_network(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_vela_puts_mobiledet_backbones_on_the_npu(seed: int, tmp_path: Path) -> None:
    space = load_space("mobiledet", image_size=96, task="classify")
    all_on_the_npu(space.graph(space.sample(random.Random(seed))), tmp_path)
