"""Operations and activations that did not exist before: one row each, one in each target, and all else works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor as TorchTensor
from torch import nn

from evaluators.zero_cost.entropy import Entropy
from evaluators.zero_cost.synflow import SynFlow
from hardware_models.catalog import load_hardware
from hardware_models.training_memory import training_memory
from nas.hashing import functional_hash
from nas.hashing.canonical import canonical
from nas.searchers.surrogates.graph_features import graph_counts
from search_spaces.export.errors import ModelFileError
from search_spaces.export.formats import unsupported
from search_spaces.export.onnx import write_onnx
from search_spaces.export.onnx.nodes import ACTIVATION_WRITERS, NODE_WRITERS, float_program
from search_spaces.export.onnx.program import OnnxProgram, value_name
from search_spaces.export.tflite import write_tflite
from search_spaces.export.tflite.arithmetic import ACTIVATION_RULES
from search_spaces.export.tflite.lowering import LOWERING_RULES
from search_spaces.export.tflite.state import LoweringState, StoredTensor
from search_spaces.export.tflite.weighted import channelwise
from search_spaces.export.weights import AFFINE_FORMS, random_weights, weights_from_module
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import (
    ACTIVATIONS,
    OPS,
    Activation,
    Example,
    GraphError,
    Operation,
    always,
)
from search_spaces.graph.serialise import graph_from_json
from search_spaces.module_spaces import space_from
from search_spaces.pytorch.from_module.reader import ATEN_HANDLERS, graph_from_module
from search_spaces.pytorch.module import to_module
from search_spaces.pytorch.operations import ACTIVATION_FUNCTIONS, PYTORCH_OPERATIONS, PytorchOperation
from tests.search_spaces.export.test_onnx import check as check_onnx
from tests.search_spaces.export.test_tflite import check_float as check_tflite
from tests.search_spaces.export.test_tflite import correlation
from tests.support.operation_contract import missing_rows

IMAGE = (4, 6, 6)


# -- hard_clip: elementwise, without parameters ------------------------------------------------------------------------


def _clip_shape(inputs: tuple[Any, ...], attrs: tuple[Any, ...]) -> tuple[int, ...]:
    if not all(isinstance(bound, float) for bound in attrs) or not attrs[0] < attrs[1]:
        raise GraphError(f"hard_clip: low must be a number below high, not {attrs}")
    shape: tuple[int, ...] = inputs[0]
    return shape


def _clip_tflite(state: LoweringState, index: int, node: Node) -> None:
    """``low + range * relu6(6 (x - low) / range) / 6``."""
    low, high = node.attrs
    stored, program = state.stored[node.inputs[0]], state.program
    shape = program.tensors[stored.tensor].shape

    def constant(value: float) -> int:
        return program.constant(np.full((1,) * len(shape), value, np.float32))

    x = program.emit("SUB", (stored.tensor, constant(low)), shape, fusedActivationFunction="NONE")
    x = program.emit("MUL", (x, constant(6 / (high - low))), shape, fusedActivationFunction="RELU6")
    x = program.emit("MUL", (x, constant((high - low) / 6)), shape, fusedActivationFunction="NONE")
    state.emit(index, "ADD", (x, constant(low)), stored.order, fusedActivationFunction="NONE")


def _clip_onnx(program: OnnxProgram, index: int, node: Node) -> None:
    name = value_name(program.graph, index)
    bounds = [program.constant(f"{name}_{i}", np.array(v, np.float32)) for i, v in enumerate(node.attrs)]
    program.emit_node(index, "Clip", (*program.operands(index), *bounds))


@pytest.fixture
def hard_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Operation(
        ("low", "high"),
        _clip_shape,
        Example((IMAGE,), (-1.0, 1.0)),
        activation=True,
        elementwise=True,
        zero_at_zero=lambda attrs: attrs[0] <= 0 <= attrs[1],
        in_place=True,
    )
    monkeypatch.setitem(OPS, "hard_clip", row)
    monkeypatch.setitem(
        PYTORCH_OPERATIONS, "hard_clip", PytorchOperation(function=lambda node, x: x.clamp(*node.attrs))
    )
    monkeypatch.setitem(NODE_WRITERS, "hard_clip", _clip_onnx)
    monkeypatch.setitem(LOWERING_RULES, "hard_clip", _clip_tflite)


@block
def clipped_block(b: Builder, x: Tensor, low: float) -> Tensor:
    y = b.norm(b.conv(b.operation("hard_clip", [b.norm(b.conv(x, 8, 1))], (low, 1.0)), x.channels, 3))
    return b.add(x, b.operation("hard_clip", [y], (low, 1.0)))


def clipped_network(low: float = -1.0, swapped: bool = False) -> Graph:
    b = Builder()
    x = clipped_block(b, b.conv(b.input((3, 12, 12)), 8, 3, 2), low)
    branches = [b.operation("hard_clip", [b.conv(x, 4, kernel)], (-0.5, 0.5)) for kernel in (1, 3)]
    x = b.concat(branches[::-1] if swapped else branches)
    return b.build(b.linear(b.reshape(b.global_pool(b.conv(x, 8, 1)), (8,)), 3))


@pytest.mark.usefixtures("hard_clip")
def test_a_new_operation_is_built_hashed_and_written_down() -> None:
    assert missing_rows() == []
    graph = clipped_network()
    assert graph == clipped_network() == graph_from_json(graph.to_json())
    assert sum(node.op == "hard_clip" for node in graph.nodes) == 4
    assert len({piece.fragment for piece in graph.pieces} & {p.fragment for p in clipped_network().pieces}) > 3
    # whatever the order of the parts, which a dense convolution reads through clips of each element
    assert functional_hash(graph) == functional_hash(clipped_network(swapped=True))
    assert canonical(graph) == canonical(clipped_network(swapped=True))
    assert functional_hash(graph) != functional_hash(clipped_network(low=-0.9))


@pytest.mark.usefixtures("hard_clip")
def test_a_new_operation_without_parameters_is_shared_and_knows_zeros() -> None:
    b = Builder()
    x = b.input(IMAGE)
    assert b.operation("hard_clip", [x], (-1.0, 1.0)) is b.operation("hard_clip", [x], (-1.0, 1.0))
    zero = b.zero(IMAGE)
    assert b.operation("hard_clip", [zero], (-1.0, 1.0)).is_zero
    assert not b.operation("hard_clip", [zero], (0.5, 1.0)).is_zero
    # channels that are always zero are not missed behind it
    through = b.operation("hard_clip", [b.concat([x, zero])], (-1.0, 1.0))
    other = Builder()
    alone = other.conv(other.operation("hard_clip", [other.input(IMAGE)], (-1.0, 1.0)), 5, 1)
    assert b.build(b.conv(through, 5, 1)) == other.build(alone)
    for attrs in ((), (1.0, -1.0), (1.0, 2.0, 3.0)):
        with pytest.raises(GraphError, match="hard_clip"):
            b.operation("hard_clip", [x], attrs)
    with pytest.raises(GraphError, match="no operation 'soft_clip'; known: input, zero, conv"):
        b.operation("soft_clip", [x])


@pytest.mark.usefixtures("hard_clip")
@pytest.mark.parametrize("device", ["coral_usb", "pixel3_cpu", "ethos_u55_128", "h200"])
def test_a_new_operation_has_a_price(device: str) -> None:
    graph, model = clipped_network(), load_hardware(device)
    cost = model.estimate(graph)
    assert cost.latency_ms is not None
    assert cost.latency_ms > 0
    if device == "coral_usb":
        assert cost.guessed_ops == ("hard_clip",)


@pytest.mark.usefixtures("hard_clip")
def test_a_new_operation_has_figures() -> None:
    graph = clipped_network()
    assert training_memory(graph, scheme="mobiletl").activations < training_memory(graph).activations
    assert graph_counts(graph)[:2] == (graph.macs, graph.params)
    assert np.isfinite([Entropy().score(graph), SynFlow().score(graph)]).all()


def _train_a_step(graph: Graph) -> None:
    module = to_module(graph, seed=1)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    x = torch.randn(4, *graph.input_shape, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(5):
        loss = (module(x) - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(p.grad is not None for p in module.parameters())
    assert losses[-1] < losses[0]


def _check_files(graph: Graph) -> None:
    assert unsupported(graph, "onnx") == unsupported(graph, "tflite") == ()
    check_onnx(graph, 1e-5, 0.95, calibrated=True)
    check_tflite(graph, 1e-5)
    assert correlation(graph, calibrated=True) > 0.95


@pytest.mark.usefixtures("hard_clip")
def test_a_new_operation_is_trained_and_exported() -> None:
    _train_a_step(clipped_network())
    _check_files(clipped_network())


@pytest.mark.usefixtures("hard_clip")
def test_a_new_operation_is_read_from_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row more for what PyTorch calls it; then it is also part of spaces that modules make."""

    def clamp(b: Builder, call: Any) -> Tensor:
        return b.operation("hard_clip", [call.x], (float(call["min_val"]), float(call["max_val"])))

    monkeypatch.setitem(ATEN_HANDLERS, "hardtanh", clamp)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardtanh(-1, 1), nn.Conv2d(8, 4, 1))
    graph = graph_from_module(module, (3, 8, 8))
    assert [node.op for node in graph.nodes] == ["input", "conv", "hard_clip", "conv"]
    space = space_from(module, inputs=(3, 8, 8), vary={"0": {"width": [4, 8]}})
    narrow = space.graph({"0.width": 4})
    assert [node.shape[0] for node in narrow.nodes] == [3, 4, 4, 4]


@pytest.mark.usefixtures("hard_clip")
def test_a_target_without_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = clipped_network()
    for table, target in ((LOWERING_RULES, "tflite"), (NODE_WRITERS, "onnx")):
        monkeypatch.delitem(table, "hard_clip")  # type: ignore[attr-defined]
        problems = unsupported(graph, target)
        assert len(problems) == 4
        assert f"operation 'hard_clip' has no lowering for {target}; add a row to" in problems[0].reason
    with pytest.raises(ModelFileError, match="hard_clip"):
        write_onnx(graph)
    with pytest.raises(ModelFileError, match="hard_clip"):
        write_tflite(graph, precision="float32")
    monkeypatch.delitem(PYTORCH_OPERATIONS, "hard_clip")
    with pytest.raises(GraphError, match="operation 'hard_clip' has no lowering for pytorch; add a row to"):
        to_module(graph)


# -- channel_shift: parameters of its own, folds into what stands before it --------------------------------------------


class ChannelShift(nn.Module):
    """A trained constant for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: TorchTensor) -> TorchTensor:
        return x + self.bias.view(-1, *[1] * (x.dim() - 2))


def _shift_onnx(program: OnnxProgram, index: int, node: Node) -> None:
    shift = program.weights[index]["bias"].reshape(-1, *[1] * (len(node.shape) - 1))
    name = value_name(program.graph, index)
    program.emit_node(index, "Add", (*program.operands(index), program.constant(f"{name}_bias", shift)))


def _shift_tflite(state: LoweringState, index: int, node: Node) -> None:
    shift = state.weights[index]["bias"]
    channelwise(state, index, node.inputs[0], np.ones_like(shift), shift)


@pytest.fixture
def channel_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Operation(
        (),
        lambda inputs, attrs: inputs[0],
        Example((IMAGE,)),
        parameters=lambda inputs, attrs: [("bias", inputs[0][:1])],
        channelwise=lambda shape, attrs, axis: axis == 0,
        zero_at_zero=always,
        shifts=always,
        affine=always,
        in_place=True,
        keeps=lambda attrs: "",
    )
    monkeypatch.setitem(OPS, "channel_shift", row)
    lowered = PytorchOperation(lambda node, shapes: ChannelShift(shapes[0][0]))
    monkeypatch.setitem(PYTORCH_OPERATIONS, "channel_shift", lowered)
    monkeypatch.setitem(NODE_WRITERS, "channel_shift", _shift_onnx)
    monkeypatch.setitem(LOWERING_RULES, "channel_shift", _shift_tflite)
    monkeypatch.setitem(
        AFFINE_FORMS, "channel_shift", lambda node, arrays: (np.ones_like(arrays["bias"]), arrays["bias"])
    )


def shifted_network() -> Graph:
    b = Builder()
    x = b.operation("channel_shift", [b.conv(b.input((3, 12, 12)), 8, 3, 2)])  # folds
    x = b.operation("channel_shift", [b.act(x, "relu")])  # does not
    return b.build(b.linear(b.reshape(b.global_pool(x), (8,)), 3))


@pytest.mark.usefixtures("channel_shift")
def test_a_new_operation_with_parameters() -> None:
    assert missing_rows() == []
    graph = shifted_network()
    assert graph.params == 3 * 8 * 9 + 2 * 8 + 8 * 3 + 3
    b = Builder()
    x = b.input(IMAGE)
    one, other = [b.operation("channel_shift", [x]) for _ in range(2)]
    assert one.index != other.index  # each has parameters of its own
    assert b.operation("channel_shift", [b.zero(IMAGE)]).is_zero
    as_written = Builder(zeros="bias")
    as_written.input(IMAGE)
    assert not as_written.operation("channel_shift", [as_written.zero(IMAGE)]).is_zero
    _train_a_step(graph)
    _check_files(graph)
    operators = [operator.kind for operator in float_program(graph, random_weights(graph)).operators]
    assert operators == ["Conv", "Relu", "Add", "GlobalAveragePool", "Reshape", "Gemm", "Identity"]
    folded = [node for node in load_hardware("coral_usb").estimate(graph).breakdown() if node.op == "channel_shift"]
    assert [node.latency_ms == 0 for node in folded] == [True, False]
    weights = weights_from_module(to_module(graph))
    assert sorted(weights.by_node) == [i for i, node in enumerate(graph.nodes) if OPS[node.op].parameters]


# -- maximum: a join that is no product --------------------------------------------------------------------------------


def _same_shapes(inputs: tuple[Any, ...], attrs: tuple[Any, ...]) -> tuple[int, ...]:
    if len(set(inputs)) != 1 or len(inputs) < 2:
        raise GraphError(f"maximum: operands differ in shape: {inputs}")
    shape: tuple[int, ...] = inputs[0]
    return shape


def _maximum(node: Node, *operands: TorchTensor) -> TorchTensor:
    return torch.stack(operands).amax(0)


@pytest.mark.parametrize("commutative", [True, False])
def test_a_new_join(monkeypatch: pytest.MonkeyPatch, commutative: bool) -> None:
    row = Operation(
        (), _same_shapes, Example((IMAGE, IMAGE)), elementwise=True, commutative=commutative, zero_at_zero=always
    )
    monkeypatch.setitem(OPS, "maximum", row)
    monkeypatch.setitem(PYTORCH_OPERATIONS, "maximum", PytorchOperation(function=_maximum))

    def network(order: tuple[int, ...], parts: bool = False) -> Graph:
        b = Builder()
        x = b.input(IMAGE)
        branches = [b.conv(x, 4, 1), b.conv(x, 4, 3), b.act(b.conv(x, 4, 5), "relu")]
        branches = [branches[i] for i in order]
        if parts:
            whole = [b.concat([y, b.act(y, "tanh")]) for y in branches]
            return b.build(b.conv(b.operation("maximum", whole), 3, 1))
        return b.build(b.conv(b.operation("maximum", branches), 3, 1))

    for parts in (False, True):
        keys = {functional_hash(network(order, parts)) for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2))}
        assert (len(keys) == 1) == commutative
    _train_a_step(network((0, 1, 2)))


# -- an activation -----------------------------------------------------------------------------------------------------


def _mish_tflite(state: LoweringState, index: int, x: int, stored: StoredTensor) -> None:
    """``x tanh(softplus(x)) = x (1 - q) / (1 + q)``, where ``q`` is the square of ``1 - logistic(x)``."""
    program, shape = state.program, state.program.tensors[x].shape

    def constant(value: float) -> int:
        return program.constant(np.full((1,) * len(shape), value, np.float32))

    gate = program.emit("LOGISTIC", (x,), shape)
    other = program.emit("SUB", (constant(1.0), gate), shape, fusedActivationFunction="NONE")
    square = program.emit("MUL", (other, other), shape, fusedActivationFunction="NONE")
    above = program.emit("SUB", (constant(1.0), square), shape, fusedActivationFunction="NONE")
    below = program.emit("ADD", (constant(1.0), square), shape, fusedActivationFunction="NONE")
    root = program.emit("RSQRT", (below,), shape)
    inverse = program.emit("MUL", (root, root), shape, fusedActivationFunction="NONE")
    factor = program.emit("MUL", (above, inverse), shape, fusedActivationFunction="NONE")
    state.emit(index, "MUL", (factor, x), stored.order, fusedActivationFunction="NONE")


def _mish_onnx(program: OnnxProgram, index: int, node: Node) -> None:
    program.emit_node(index, "Mish", program.operands(index))


def test_a_new_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    mish: Callable[[TorchTensor], TorchTensor] = nn.functional.mish
    monkeypatch.setitem(ACTIVATIONS, "mish", Activation())
    monkeypatch.setitem(ACTIVATION_FUNCTIONS, "mish", mish)
    monkeypatch.setitem(ACTIVATION_WRITERS, "mish", _mish_onnx)
    monkeypatch.setitem(ACTIVATION_RULES, "mish", _mish_tflite)
    assert missing_rows() == []
    b = Builder()
    x = b.act(b.conv(b.input((3, 12, 12)), 8, 3, 2), "mish")
    graph = b.build(b.linear(b.reshape(b.global_pool(x), (8,)), 3))
    assert graph == graph_from_json(graph.to_json())
    assert "act:mish" in load_hardware("coral_usb").estimate(graph).guessed_ops
    _train_a_step(graph)
    check_onnx(graph, 1e-5, 0.95, calibrated=True)
    check_tflite(graph, 1e-4)
    monkeypatch.delitem(ACTIVATION_RULES, "mish")
    monkeypatch.delitem(ACTIVATION_WRITERS, "mish")
    for target in ("onnx", "tflite"):
        assert "activation 'mish' has no row" in unsupported(graph, target)[0].reason
