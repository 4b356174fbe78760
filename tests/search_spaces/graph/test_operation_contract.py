"""Every row of the vocabulary: a lowering in every target, and traits that are true of what PyTorch computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.hashing.isomorphism import same_network
from search_spaces.export.onnx.nodes import NODE_WRITERS
from search_spaces.export.tflite.arithmetic import ACTIVATION_RULES
from search_spaces.export.tflite.lowering import LOWERING_RULES
from search_spaces.export.weights import AFFINE_FORMS, array_shapes
from search_spaces.graph.fragment import node_counts
from search_spaces.graph.operations import ACTIVATIONS, GLOROT, HE, OPS, Operation, folded_activation
from search_spaces.graph.serialise import graph_from_json
from search_spaces.pytorch.from_module import graph_from_module
from search_spaces.pytorch.module import to_module
from search_spaces.pytorch.operations import ACTIVATION_FUNCTIONS, PYTORCH_OPERATIONS
from tests.support.operation_contract import example_graph, example_node, missing_operator_rules, missing_rows

COMPUTING = [op for op, row in OPS.items() if not row.source]


class ExampleModule(nn.Module):
    """The example of one operation in float64, with drawn parameters; a batch of operands by ``operands``."""

    def __init__(self, op: str, constants: bool = True) -> None:
        super().__init__()
        self.row, self.node = OPS[op], example_node(op)
        assert self.row.example is not None
        lowered = PYTORCH_OPERATIONS[op]
        self.function = lowered.function
        self.layer = None if lowered.layer is None else lowered.layer(self.node, self.row.example.operands).double()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, tensor in self.named_parameters():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5)
                if name.endswith("bias") and not constants:
                    tensor.zero_()

    def forward(self, *operands: Tensor) -> Tensor:
        if self.layer is not None:
            result: Tensor = self.layer(*operands)
            return result
        assert self.function is not None
        return self.function(self.node, *operands)

    def operands(self, seed: int = 0) -> list[Tensor]:
        assert self.row.example is not None
        generator = torch.Generator().manual_seed(seed)
        shapes = self.row.example.operands
        return [torch.randn((2, *shape), generator=generator, dtype=torch.float64) for shape in shapes]


def test_nothing_is_missing() -> None:
    assert missing_rows() == []
    assert missing_operator_rules() == []


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "foo", Operation((), lambda inputs, attrs: inputs[0]))
    monkeypatch.setitem(NODE_WRITERS, "bar", NODE_WRITERS["mul"])
    monkeypatch.delitem(LOWERING_RULES, "layer_scale")
    monkeypatch.delitem(ACTIVATION_RULES, "silu")
    monkeypatch.delitem(AFFINE_FORMS, "scale")
    assert missing_rows() == [
        "operation 'foo' has no lowering for pytorch",
        "operation 'foo' has no lowering for onnx",
        "onnx lowers operation 'bar', which does not exist",
        "operation 'layer_scale' has no lowering for tflite",
        "operation 'foo' has no lowering for tflite",
        "activation 'silu' has no lowering for tflite",
        "operation 'scale' is affine and has no affine form to fold into weights",
        "operation 'foo' has no example",
    ]


@pytest.mark.parametrize("op", OPS)
def test_the_example_is_a_graph_that_survives_json_and_pytorch(op: str) -> None:
    graph = example_graph(op)
    assert op in [node.op for node in graph.nodes]
    assert graph_from_json(graph.to_json()) == graph
    module = to_module(graph).eval()
    inputs = [torch.randn(2, *shape) for shape in graph.input_shapes]
    assert tuple(module(*inputs).shape[1:]) == graph.output_shapes["output"]
    if op != "input":
        assert same_network(graph_from_module(module, graph.input_shapes), graph)


@pytest.mark.parametrize("op", OPS)
def test_arrays_are_those_of_the_layer_and_start_as_the_row_says(op: str) -> None:
    graph, row = example_graph(op), OPS[op]
    module = to_module(graph, seed=5)
    rows = array_shapes(graph)
    assert len(rows) == (row.parameters is not None)
    for index, shapes in rows.items():
        state = {key.rpartition(".")[2]: value for key, value in module.layers[str(index)].state_dict().items()}
        state.pop("num_batches_tracked", None)
        assert {name: tuple(value.shape) for name, value in state.items()} == shapes
        for name, value in state.items():
            initial = row.initial(name, graph.nodes[index].attrs)
            if isinstance(initial, str):
                assert initial in (HE, GLOROT)
                assert value.unique().numel() == value.numel()
            else:
                assert torch.equal(value, torch.full_like(value, initial))


@pytest.mark.parametrize("op", COMPUTING)
def test_multiply_adds_are_those_that_pytorch_counts(op: str) -> None:
    module = ExampleModule(op)
    assert module.row.example is not None
    with FlopCounterMode(display=False) as counter:
        module(*[x[:1] for x in module.operands()])
    macs = node_counts(module.node, module.row.example.operands).macs
    assert counter.get_total_flops() == 2 * macs
    assert (macs > 0) == (module.row.product is not None)


@pytest.mark.parametrize("op", [op for op in COMPUTING if OPS[op].elementwise])
def test_elementwise(op: str) -> None:
    """Elements in another order, the same in all operands, give the results in that order."""
    module = ExampleModule(op)
    assert module.layer is None
    operands = module.operands()
    axes = [axis for axis in range(1, operands[0].dim()) if operands[0].shape[axis] > 1]
    for axis in axes:
        order = torch.randperm(operands[0].shape[axis], generator=torch.Generator().manual_seed(axis))
        reordered = [x.index_select(axis, order) if x.shape[axis] > 1 else x for x in operands]
        torch.testing.assert_close(module(*reordered), module(*operands).index_select(axis, order))
    changed = [x.clone() for x in operands]
    changed[0].view(-1)[0] += 1
    assert (module(*changed) != module(*operands)).sum() <= 1


@pytest.mark.parametrize("op", [op for op in COMPUTING if OPS[op].commutative])
def test_commutative(op: str) -> None:
    module = ExampleModule(op)
    operands = module.operands()
    torch.testing.assert_close(module(*operands), module(*operands[::-1]))


def _is_channelwise(op: str, axis: int) -> bool:
    row = OPS[op]
    assert row.example is not None
    return row.elementwise or row.channelwise(row.example.operands[0], row.example.attrs, axis)


@pytest.mark.parametrize("op", [op for op in COMPUTING if _is_channelwise(op, 0)])
def test_channelwise(op: str) -> None:
    """What changes in a channel changes that channel of the result alone."""
    module = ExampleModule(op).eval()
    operands = module.operands()
    channels = operands[0].shape[1]
    before = module(*operands)
    assert before.shape[1] == channels
    operands[0][:, 0] += 1
    assert torch.equal(module(*operands)[:, 1:], before[:, 1:])


@pytest.mark.parametrize("op", COMPUTING)
def test_of_zeros_come_zeros_but_for_shifts(op: str) -> None:
    for constants in (False, True):
        module = ExampleModule(op, constants).eval()
        result = module(*[torch.zeros_like(x) for x in module.operands()])
        shifts = constants and module.row.shifts(module.node.attrs)
        assert bool((result == 0).all()) == (module.row.zero_at_zero(module.node.attrs) and not shifts)


@pytest.mark.parametrize("op", [op for op in COMPUTING if OPS[op].degree(example_node(op).attrs) is not None])
def test_degree(op: str) -> None:
    module = ExampleModule(op)  # in training, where a normalisation takes the batch's own statistics
    degree = module.row.degree(module.node.attrs)
    assert degree is not None
    (x,) = module.operands()
    torch.testing.assert_close(module(3 * x), 3**degree * module(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", [op for op in COMPUTING if OPS[op].affine(example_node(op).attrs)])
def test_affine(op: str) -> None:
    module = ExampleModule(op).eval()
    (x,) = module.operands()
    arrays: dict[str, Any] = {key.rpartition(".")[2]: value.numpy() for key, value in module.state_dict().items()}
    factor, shift = AFFINE_FORMS[op](module.node, arrays)
    along = (-1, *[1] * (x.dim() - 2))
    expected = x * torch.as_tensor(factor).view(along) + (0 if shift is None else torch.as_tensor(shift).view(along))
    torch.testing.assert_close(module(x), expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("op", [op for op in COMPUTING if OPS[op].pooling(example_node(op).attrs)])
def test_poolings(op: str) -> None:
    module = ExampleModule(op)
    assert module.row.pooling(module.node.attrs) == "avg"
    (x,), (y,) = module.operands(0), module.operands(1)
    torch.testing.assert_close(module(x + y), module(x) + module(y))
    assert module.row.keeps_constants(module.node.attrs)
    constant = torch.ones_like(x) * x[..., :1, :1]
    torch.testing.assert_close(module(constant), constant[..., : module(x).shape[-2], : module(x).shape[-1]])


def test_traits_do_not_contradict_each_other() -> None:
    for op, row in OPS.items():
        attrs = example_node(op).attrs
        assert not (row.elementwise and row.parameters), op
        assert not (row.activation and not row.elementwise), op
        assert not (row.view and row.product), op
        assert row.source == (example_node(op).inputs == ()), op
        assert row.keeps(attrs) in ("operands", "result", ""), op
        variety = "" if row.variety is None else row.variety(attrs, example_node(op).shape)
        assert variety in row.varieties, op
        assert len(example_node(op).inputs) == 1 or not row.in_place, op


GRID = torch.linspace(-9, 9, 721, dtype=torch.float64)


@pytest.mark.parametrize("fn", ACTIVATIONS)
def test_traits_of_activations(fn: str) -> None:
    row, function = ACTIVATIONS[fn], ACTIVATION_FUNCTIONS[fn]
    assert bool(function(torch.zeros(1, dtype=torch.float64)) == 0) == row.zero_at_zero
    assert torch.allclose(function(2.5 * GRID), 2.5 * function(GRID)) == row.homogeneous
    assert bool((function(GRID) >= 0).all()) == row.nonnegative
    for inner in ACTIVATIONS:
        both = folded_activation(fn, inner)
        if both is not None:
            composed = function(ACTIVATION_FUNCTIONS[inner](GRID))
            assert torch.equal(composed, ACTIVATION_FUNCTIONS[both](GRID)), inner


@pytest.mark.parametrize("fn", [fn for fn, row in ACTIVATIONS.items() if row.slope_from_result])
def test_slopes_from_results(fn: str) -> None:
    """Where two operands give one result inside the range, their slopes are one too."""
    x = GRID.clone().requires_grad_()
    y = ACTIVATION_FUNCTIONS[fn](x)
    y.sum().backward()
    assert x.grad is not None
    slopes: dict[float, set[float]] = {}
    for result, slope in zip(y.tolist(), x.grad.tolist(), strict=True):
        slopes.setdefault(result, set()).add(round(slope, 9))
    assert all(len(of_result) == 1 for of_result in slopes.values())
