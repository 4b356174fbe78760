"""Modules compute what graphs say: parameters, operations, shapes, and the values of single operations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor as Values
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.catalog import load_network, load_space
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import ACTIVATIONS
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from search_spaces.pytorch.module import GraphModule, to_module
from search_spaces.pytorch.operations import ACTIVATION_FUNCTIONS
from tests.support.random_programs import IMAGE, outputs_of, programs, run


def agree(graph: Graph, module: GraphModule, device: str = "cpu") -> None:
    """Parameters, variables, operations and shapes of the module are those of the graph, exactly."""
    assert sum(p.numel() for p in module.parameters()) == graph.params
    buffers = {n: b for n, b in module.named_buffers() if not n.endswith("num_batches_tracked")}
    assert graph.params + sum(b.numel() for b in buffers.values()) == graph.variables
    inputs = [torch.randn(2, *shape, device=device) for shape in graph.input_shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = module.eval()(*inputs)
    assert counter.get_total_flops() == 2 * 2 * graph.macs
    outputs = result if isinstance(result, Mapping) else {graph.outputs[0][0]: result}
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        name: (2, *shape) for name, shape in graph.output_shapes.items()
    }


def on_meta(graph: Graph) -> GraphModule:
    """The module without memory or arithmetic: enough to count."""
    with torch.device("meta"):
        return GraphModule(graph)


# -- it is the graph -------------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {},
    {"blocks": "ibn"},
    {"blocks": "ibn+fused"},
    {"target": "cpu"},
    {"target": "cpu", "blocks": "ibn"},
    {"task": "classify", "num_classes": 1001},
    {"target": "dsp", "filter_multipliers": (0.5, 1, 4), "expansions": (6, 8, 10)},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_modules_of_random_mobiledets_are_their_graphs(options: dict[str, Any]) -> None:
    space, rng = load_space("mobiledet", image_size=64, width=0.25, **options), random.Random(0)
    for _ in range(10):
        graph = space.graph(space.sample(rng))
        agree(graph, to_module(graph))


@pytest.mark.slow
def test_modules_of_a_thousand_mobiledets_at_full_size_are_their_graphs() -> None:
    rng = random.Random(0)
    for options in VARIANTS:
        space = load_space("mobiledet", **options)
        for _ in range(-(-1000 // len(VARIANTS))):
            graph = space.graph(space.sample(rng))
            agree(graph, on_meta(graph), "meta")


@pytest.mark.parametrize("name", list(networks()))
def test_modules_of_published_networks_are_their_graphs(name: str) -> None:
    graph = load_network(name)
    agree(graph, on_meta(graph), "meta")


@settings(max_examples=120)
@given(programs())
def test_modules_of_random_programs_are_their_graphs(program: Any) -> None:
    graph = run(program)
    agree(graph, to_module(graph))


@settings(max_examples=60)
@given(programs())
def test_the_normal_form_computes_the_same_numbers_before_and_after_json(program: Any) -> None:
    graph = run(program, cut=True)
    again = graph_from_json(graph.to_json())
    torch.manual_seed(0)
    inputs = [torch.randn(2, *shape) for shape in graph.input_shapes]
    with torch.no_grad():
        one, two = to_module(graph, 3).eval()(*inputs), to_module(again, 3).eval()(*inputs)
    for name, _ in graph.outputs:
        assert torch.equal(pick(one, name), pick(two, name)) or torch.isnan(pick(one, name)).any()


def pick(result: Values | dict[str, Values], name: str) -> Values:
    return result[name] if isinstance(result, dict) else result


# -- the normal form computes what was written -----------------------------------------------------------------------


class Eager:
    """What a tensor is to a program, with its values: nothing is removed, shared or reordered."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.shape = tuple(values.shape[1:])
        self.channels = self.shape[0]


def plain_weights(shape: Sequence[int]) -> Values:
    """Weights that are the same for every input channel, so that leaving out channels of zeros shifts none."""
    wave = torch.sin(torch.arange(math.prod((shape[0], *shape[2:])), dtype=torch.float64) + 1)
    return wave.reshape(shape[0], 1, *shape[2:]).expand(*shape)


def sides(x: Eager, kernel: Sequence[int], stride: int, padding: Any, dilation: int = 1) -> list[int]:
    """``F.pad``'s numbers for SAME or the given pairs."""
    if padding != "same":
        pairs = [(p, p) for p in padding]
    else:
        total = [
            max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
            for n, k in zip(x.shape[1:], kernel, strict=True)
        ]
        pairs = [(t // 2, t - t // 2) for t in total]
    return [p for pair in reversed(pairs) for p in pair]


class EagerBuilder:
    """Runs the constructors' operations at once, in PyTorch."""

    def conv(
        self, x: Eager, out: int, kernel: Any = 1, stride: int = 1, groups: int = 1, dilation: int = 1,
        padding: Any = "same", bias: bool = False,
    ) -> Eager:  # fmt: skip
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        dilations = [1 if k == 1 else dilation for k in kernel]
        padded = F.pad(x.values, sides(x, kernel, stride, padding, dilation))
        weight = plain_weights((out, x.channels // groups, *kernel))
        return Eager(F.conv2d(padded, weight, stride=stride, dilation=dilations, groups=groups))

    def linear(self, x: Eager, out: int, bias: bool = True) -> Eager:
        return Eager(x.values @ plain_weights((out, x.shape[-1])).T)

    def norm(self, x: Eager, kind: str = "batch", axis: int = 0) -> Eager:
        if kind == "batch":
            return Eager(x.values / math.sqrt(1 + 1e-5))
        mean, variance = x.values.mean(axis + 1, keepdim=True), x.values.var(axis + 1, correction=0, keepdim=True)
        return Eager((x.values - mean) / (variance + 1e-5).sqrt())

    def layer_scale(self, x: Eager, initial: float) -> Eager:
        return Eager(x.values * initial)

    def act(self, x: Eager, fn: str) -> Eager:
        return x if fn == "identity" else Eager(ACTIVATION_FUNCTIONS[fn](x.values))

    def add(self, *xs: Eager) -> Eager:
        return Eager(torch.stack([x.values for x in xs]).sum(0))

    def mul(self, x: Eager, y: Eager) -> Eager:
        return Eager(x.values * y.values)

    def matmul(self, x: Eager, y: Eager) -> Eager:
        return Eager(x.values @ y.values)

    def concat(self, xs: Sequence[Eager], axis: int = 0) -> Eager:
        return Eager(torch.cat([x.values for x in xs], axis + 1))

    def zero(self, shape: Sequence[int]) -> Eager:
        return Eager(torch.zeros(2, *shape, dtype=torch.float64))

    def scale(self, x: Eager, factor: float) -> Eager:
        return Eager(x.values * factor)

    def slice(self, x: Eager, axis: int, start: int, stop: int) -> Eager:
        return Eager(x.values.narrow(axis + 1, start, stop - start))

    def permute(self, x: Eager, axes: Sequence[int]) -> Eager:
        return Eager(x.values.permute(0, *[a + 1 for a in axes]))

    def reshape(self, x: Eager, shape: Sequence[int]) -> Eager:
        return Eager(x.values.reshape(2, *shape))

    def softmax(self, x: Eager, axis: int) -> Eager:
        return Eager(torch.softmax(x.values, axis))

    def resize(self, x: Eager, size: Sequence[int], mode: str = "nearest") -> Eager:
        corners = False if mode == "bilinear" else None
        return Eager(F.interpolate(x.values, tuple(size), mode=mode, align_corners=corners))

    def global_pool(self, x: Eager, kind: str = "avg") -> Eager:
        flat = x.values.flatten(2)
        return Eager((flat.mean(2) if kind == "avg" else flat.amax(2))[:, :, None, None])

    def pool(self, x: Eager, kind: str, kernel: Any, stride: int = 1, count_padding: bool = False) -> Eager:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = sides(x, kernel, stride, "same")
        if kind == "max":
            return Eager(F.max_pool2d(F.pad(x.values, around, value=-math.inf), kernel, stride))
        mean = F.avg_pool2d(F.pad(x.values, around), kernel, stride)
        coverage = F.avg_pool2d(F.pad(torch.ones_like(x.values), around), kernel, stride)
        return Eager(mean if count_padding else mean / coverage)


@settings(max_examples=250)
@given(programs())
def test_the_normal_form_computes_what_the_program_says(program: Any) -> None:
    graph = run(program, cut=True)
    torch.manual_seed(0)
    inputs = [8 * torch.randn(2, *IMAGE, dtype=torch.float64) for _ in range(2)]  # beyond 6 too
    expected = outputs_of(EagerBuilder(), [Eager(x) for x in inputs], program)
    module = to_module(graph).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and graph.nodes[int(name.split(".")[1])].op in ("conv", "linear"):
                parameter.copy_(plain_weights(parameter.shape))
        result = module(*inputs)
    for index, output in enumerate(expected):
        torch.testing.assert_close(pick(result, f"out{index}"), output.values, rtol=1e-6, atol=1e-6, equal_nan=True)


# -- values ----------------------------------------------------------------------------------------------------------


def compute(network: Callable[..., Tensor], *values: Values, seed: int = 0) -> tuple[Values, GraphModule]:
    """What a network makes of values with a batch axis, and the module that made it."""
    b = Builder()
    graph = b.build(network(b, *[b.input(value.shape[1:]) for value in values]))
    module = to_module(graph, seed).eval()
    with torch.no_grad():
        result = module(*values)
    assert isinstance(result, Values)
    agree(graph, module)
    return result, module


def noise(*shape: int, seed: int = 0) -> Values:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))


def naive_same_convolution(x: Any, weight: Any, stride: int, dilation: int, groups: int) -> Any:
    """TensorFlow's SAME, window by window: output i looks at places i * stride - before + j * dilation."""
    batch, _, *size = x.shape
    out_channels, per_group, *kernel = weight.shape
    out_size = [-(-n // stride) for n in size]
    before = [
        max((o - 1) * stride + (k - 1) * dilation + 1 - n, 0) // 2
        for n, k, o in zip(size, kernel, out_size, strict=True)
    ]
    result = np.zeros((batch, out_channels, *out_size))
    for position in np.ndindex(*out_size):
        for tap in np.ndindex(*kernel):
            where = tuple(p * stride - b + t * dilation for p, b, t in zip(position, before, tap, strict=True))
            if all(0 <= w < n for w, n in zip(where, size, strict=True)):
                for out in range(out_channels):
                    first = out // (out_channels // groups) * per_group
                    patch = x[(slice(None), slice(first, first + per_group), *where)]
                    result[(slice(None), out, *position)] += patch @ weight[(out, slice(None), *tap)]
    return result


@pytest.mark.parametrize("size", [(7,), (8,), (6, 7), (5, 4, 3)])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 2, 1), (2, 1, 2), (5, 3, 1)]
)
@pytest.mark.parametrize("groups", [1, 2])
def test_same_convolution_is_the_naive_one(
    size: tuple[int, ...], kernel: int, stride: int, dilation: int, groups: int
) -> None:
    x = noise(4, *size)
    result, module = compute(lambda b, x: b.conv(x, 6, kernel, stride, dilation=dilation, groups=groups), x)
    weight = next(module.parameters()).detach().numpy()
    expected = naive_same_convolution(x.numpy(), weight, stride, dilation, groups)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_given_padding_is_taken_as_it_is() -> None:
    x = noise(3, 5, 5)
    result, module = compute(lambda b, x: b.conv(x, 4, 3, padding=((0, 2), (1, 0)), bias=True), x)
    weight, bias = module.parameters()
    torch.testing.assert_close(result, F.conv2d(F.pad(x, (1, 0, 0, 2)), weight, bias).detach())


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("size", [(7,), (6, 7), (4, 5, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (2, 1), (3, 3)])
@pytest.mark.parametrize("count_padding", [False, True])
def test_pooling_is_the_naive_one(
    kind: str, size: tuple[int, ...], kernel: int, stride: int, count_padding: bool
) -> None:
    x = noise(2, *size)
    result, _ = compute(lambda b, x: b.pool(x, kind, kernel, stride, count_padding=count_padding), x)
    out_size = [-(-n // stride) for n in size]
    before = [max((o - 1) * stride + kernel - n, 0) // 2 for n, o in zip(size, out_size, strict=True)]
    for position in np.ndindex(*out_size):
        starts = [p * stride - b for p, b in zip(position, before, strict=True)]
        window = tuple(slice(max(s, 0), s + kernel) for s in starts)
        patch = x[(slice(None), slice(None), *window)].flatten(2)
        mean = patch.sum(2) / (kernel ** len(size) if count_padding else patch.shape[2])
        expected = patch.amax(2) if kind == "max" else mean
        torch.testing.assert_close(result[(slice(None), slice(None), *position)], expected)


_FORMULAS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "hswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "tanh": math.tanh,
    "leaky_relu": lambda x: x if x > 0 else 0.1 * x,
}


@pytest.mark.parametrize("fn", ACTIVATIONS)
def test_activations_are_their_formulas(fn: str) -> None:
    x = torch.linspace(-8, 8, 33).reshape(1, 33)
    result, _ = compute(lambda b, x: b.act(x, fn), x)
    expected = torch.tensor([[_FORMULAS[fn](float(v)) for v in x[0]]])
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_every_activation_has_its_function() -> None:
    assert set(ACTIVATION_FUNCTIONS) == set(ACTIVATIONS)


def test_batch_normalisation() -> None:
    b = Builder()
    graph = b.build(b.norm(b.input((3, 4, 4)), eps=0.01, momentum=0.25))
    module = to_module(graph)
    x = 2 * noise(3, 4, 4) + 1
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(module.train()(x).detach(), (x - mean) / (variance + 0.01).sqrt())
    running = dict(module.named_buffers())
    torch.testing.assert_close(running["layers.1.running_mean"], 0.25 * mean.flatten())
    torch.testing.assert_close(running["layers.1.running_var"], 0.75 + 0.25 * x.transpose(0, 1).flatten(1).var(1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layer_normalisation_over_one_axis(axis: int) -> None:
    x = noise(3, 4, 5)
    result, _ = compute(lambda b, x: b.norm(x, "layer", eps=1e-3, axis=axis), x)
    mean, variance = x.mean(axis + 1, keepdim=True), x.var(axis + 1, correction=0, keepdim=True)
    torch.testing.assert_close(result, (x - mean) / (variance + 1e-3).sqrt())


def test_layer_normalisation_scales_along_its_axis() -> None:
    b = Builder()
    module = to_module(b.build(b.norm(b.input((3, 4, 5)), "layer", axis=1)))
    weight, bias = module.parameters()
    with torch.no_grad():
        weight.copy_(torch.arange(4.0))
        bias.copy_(torch.arange(4.0))
    result = module(noise(3, 4, 5)).detach()
    assert torch.equal(result[:, :, 0], torch.zeros(2, 3, 5))
    torch.testing.assert_close(result.mean((0, 1, 3))[1:] > -3, torch.tensor([True] * 3))


def test_attention_is_softmax_of_products() -> None:
    x = noise(8, 4, 6)

    def attention(b: Builder, x: Tensor) -> Tensor:
        tokens = b.permute(b.reshape(x, (2, 4, 24)), (0, 2, 1))  # heads, places, features
        scores = b.matmul(b.scale(tokens, 0.5), b.permute(tokens, (0, 2, 1)))
        return b.reshape(b.permute(b.matmul(b.softmax(scores), tokens), (0, 2, 1)), (8, 4, 6))

    result, _ = compute(attention, x)
    tokens = x.reshape(2, 2, 4, 24).transpose(2, 3)
    expected = F.scaled_dot_product_attention(tokens, tokens, tokens, scale=0.5).transpose(2, 3).reshape(2, 8, 4, 6)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_squeeze_and_excitation() -> None:
    x = noise(8, 5, 5)

    def gate(b: Builder, x: Tensor) -> Tensor:
        y = b.act(b.conv(b.global_pool(x), 4, bias=True), "relu")
        return b.mul(x, b.act(b.conv(y, 8, bias=True), "sigmoid"))

    result, module = compute(gate, x)
    first, _, second, _ = [p.detach() for p in module.parameters()]
    squeezed = torch.relu(x.mean((2, 3)) @ first[:, :, 0, 0].T)
    torch.testing.assert_close(result, x * torch.sigmoid(squeezed @ second[:, :, 0, 0].T)[:, :, None, None])


def test_the_other_operations() -> None:
    x, y = noise(4, 3, 6), noise(4, 3, 6, seed=1)
    cases: list[tuple[Callable[..., Tensor], Values]] = [
        (lambda b, x, y: b.add(x, y, y), x + y + y),
        (lambda b, x, y: b.mul(x, b.slice(y, 0, 1, 2)), x * y[:, 1:2]),
        (lambda b, x, y: b.concat([x, y], axis=2), torch.cat([x, y], 3)),
        (lambda b, x, y: b.mul(x, b.global_pool(y, "max")), x * y.amax((2, 3), keepdim=True)),
        (lambda b, x, y: b.resize(b.add(x, y), (6, 12)), (x + y).repeat_interleave(2, 2).repeat_interleave(2, 3)),
        (lambda b, x, y: b.permute(b.add(x, y), (2, 0, 1)), (x + y).permute(0, 3, 1, 2)),
        (lambda b, x, y: b.reshape(b.add(x, y), (6, 12)), (x + y).reshape(2, 6, 12)),
        (lambda b, x, y: b.softmax(b.scale(b.add(x, y), -2), 0), torch.softmax(-2 * (x + y), 1)),
        (lambda b, x, y: b.concat([x, b.zero((1, 3, 6)), y]), torch.cat([x, torch.zeros(2, 1, 3, 6), y], 1)),
        (lambda b, x, y: b.matmul(x, b.permute(y, (0, 2, 1))), x @ y.transpose(2, 3)),
    ]
    for network, expected in cases:
        torch.testing.assert_close(compute(network, x, y)[0], expected)
    nearest, _ = compute(lambda b, x: b.resize(x, (6, 12), "bilinear"), x)
    torch.testing.assert_close(nearest, F.interpolate(x, (6, 12), mode="bilinear", align_corners=False))
    linear, module = compute(lambda b, x: b.linear(x, 5), x)
    torch.testing.assert_close(linear, x @ next(module.parameters()).detach().T)


def test_zero_channels_can_be_dropped_before_a_convolution() -> None:
    """The rule of the normal form, checked on numbers: a convolution of a concatenation with zeros."""
    x = noise(4, 5, 5)
    result, module = compute(lambda b, x: b.conv(b.concat([b.zero((3, 5, 5)), x]), 6, 3), x)
    weight = next(module.parameters()).detach()
    whole = torch.cat([torch.randn(6, 3, 3, 3), weight], 1)
    torch.testing.assert_close(result, F.conv2d(torch.cat([torch.zeros(2, 3, 5, 5), x], 1), whole, padding=1))


# -- how it is called ------------------------------------------------------------------------------------------------


def test_one_output_is_a_tensor_and_several_are_named() -> None:
    b = Builder()
    x = b.input((3, 4, 4))
    y = b.conv(x, 2)
    assert isinstance(to_module(b.build({"only": y}))(noise(3, 4, 4)), Values)
    both = to_module(b.build({"map": y, "same": x}))(noise(3, 4, 4))
    assert list(both) == ["map", "same"]
    assert torch.equal(both["same"], noise(3, 4, 4))


def test_inputs_come_in_the_graphs_order_and_are_checked() -> None:
    b = Builder()
    x, y = b.input((2, 4)), b.input((4, 3))
    module = to_module(b.build(b.matmul(x, y)))
    one, two = noise(2, 4), noise(4, 3)
    torch.testing.assert_close(module(one, two), one @ two)
    with pytest.raises(ValueError, match=r"takes 2 input\(s\), not 1"):
        module(one)
    with pytest.raises(ValueError, match=r"takes \(batch, 2, 4\), not \(2, 4, 3\)"):
        module(two, one)


def test_layers_are_named_by_their_node() -> None:
    graph = load_network("mobiledet_edgetpu", image_size=64)
    module = to_module(graph)
    for index, layer in module.layers.items():
        assert graph.nodes[int(index)].op in ("conv", "norm", "linear"), layer
    assert len(module.layers) == sum(node.op in ("conv", "norm", "linear") for node in graph.nodes)


# -- weights ---------------------------------------------------------------------------------------------------------


def weights(graph: Graph, seed: int) -> list[Values]:
    return list(to_module(graph, seed).state_dict().values())


def same(one: Sequence[Values], other: Sequence[Values]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_seed_makes_the_same_weights_and_another_seed_others() -> None:
    graph = load_network("mobiledet_dsp", image_size=64, width=0.25)
    assert same(weights(graph, 7), weights(graph, 7))
    assert same(weights(graph, -1), weights(graph_from_json(graph.to_json()), -1))
    one, other = to_module(graph, 7), to_module(graph, 8)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        layer = name.split(".")[1]
        if graph.nodes[int(layer)].op == "conv" and name.endswith("weight"):
            assert not torch.equal(a, b), name


def test_random_state_is_left_alone() -> None:
    graph = load_network("mobiledet_cpu", image_size=64, width=0.25)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    one = weights(graph, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    torch.manual_seed(6)
    assert same(weights(graph, 1), one)


def test_initial_weights_follow_the_fan_in() -> None:
    b = Builder()
    y = b.conv(b.input((64, 8, 8)), 128, 3, bias=True)
    graph = b.build(b.linear(b.reshape(b.global_pool(b.norm(y)), (128,)), 256))
    conv, bias, scale, shift, linear, last = to_module(graph, 0).parameters()
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert linear.std().item() == pytest.approx(math.sqrt(2 / (128 + 256)), rel=0.02)
    assert not any(t.any() for t in (bias, shift, last))
    assert torch.equal(scale, torch.ones(128))


def test_gradients_reach_every_parameter() -> None:
    graph = load_network("mobiledet_cpu", image_size=64, width=0.25)
    module = to_module(graph).train()
    outputs = module(noise(3, 64, 64))
    sum(value.square().sum() for value in outputs.values()).backward()
    assert all(p.grad is not None for p in module.parameters())
