"""Any module that the vocabulary covers becomes its graph, and anything else is refused with a reason."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional as F

import nas
from search_spaces.catalog import load_network
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.graph.serialise import graph_from_json
from search_spaces.pytorch.from_module import UnsupportedModule, graph_from_module
from search_spaces.pytorch.module import GraphModule, to_module
from tests.support.plain_mobiledet import (
    Classifier,
    CPUBackbone,
    Detector,
    EdgeTPUBackbone,
    HardSwish,
    InvertedBottleneck,
)
from tests.support.random_programs import programs, run


class Scale(nn.Module):
    """LayerScale, its parameter in ``shape``."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.full((4,), 0.01))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.view(self.shape)


WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.LayerNorm, nn.modules.batchnorm._BatchNorm, Scale)


class Calls(nn.Module):
    """A module of one function; layers are its attributes."""

    def __init__(self, function: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def same_numbers(module: nn.Module, graph: Graph, tolerance: float = 1e-5) -> None:
    """The graph's module computes what ``module`` does, its weights copied in the order of their first use."""
    module.eval()
    used: list[nn.Module] = []
    layers = [layer for layer in module.modules() if isinstance(layer, WEIGHTED)]
    hooks = [layer.register_forward_hook(lambda layer, *_: used.append(layer)) for layer in layers]
    torch.manual_seed(0)
    with torch.no_grad():
        for values in (*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())):
            values.copy_(values + 0.1 * torch.rand_like(values))
        inputs = [3 * torch.randn(3, *shape) for shape in graph.input_shapes]
        expected = module(*[x.clone() for x in inputs])  # it may write into them
        for hook in hooks:
            hook.remove()
        ours = to_module(graph).eval()
        for layer, source in zip(ours.layers.values(), used, strict=True):
            for mine, theirs in zip(layer.state_dict().values(), source.state_dict().values(), strict=True):
                mine.copy_(theirs)
        got = ours(*inputs)
    if isinstance(expected, list | tuple):
        expected = {f"output{i}": value for i, value in enumerate(expected)}
    if not isinstance(expected, Mapping):
        expected = {"output": expected}
    if not isinstance(got, Mapping):
        got = {graph.outputs[0][0]: got}
    assert sorted(got) == sorted(expected)
    for name, value in expected.items():
        scale = max(1.0, value.abs().max().item())
        assert (got[name] - value).abs().max().item() <= tolerance * scale, name


def named_alike(graph: Graph, name: str = "output") -> Graph:
    """``graph`` with its one output under another name: a module that returns one tensor gives it none."""
    (old,) = [old for old, _ in graph.outputs]
    return graph_from_json(graph.to_json().replace(f'"outputs":{{"{old}":', f'"outputs":{{"{name}":'))


# -- it is the inverse of to_module ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(programs())
def test_modules_of_random_programs_become_their_graphs_again(program: Any) -> None:
    graph = run(program)
    again = graph_from_module(to_module(graph), graph.input_shapes)
    assert again == (named_alike(graph) if len(graph.outputs) == 1 else graph)


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2_ssd", "inception_v1", "resnet50_v2"],
)
def test_modules_of_published_networks_become_their_graphs_again(name: str) -> None:
    graph = load_network(name)
    with torch.device("meta"):
        module = GraphModule(graph)
    again = graph_from_module(module, graph.input_shape)
    assert again == (named_alike(graph) if len(graph.outputs) == 1 else graph)
    assert (again.params, again.macs) == (graph.params, graph.macs)


def test_the_mode_of_the_module_does_not_matter_to_a_network_without_dropout() -> None:
    graph = load_network("mobilenet_v1", image_size=64)
    assert graph_from_module(to_module(graph).eval(), graph.input_shape) == named_alike(graph)
    assert graph_from_module(to_module(graph).train(), graph.input_shape) == named_alike(graph)


# -- MobileDet in plain PyTorch ----------------------------------------------------------------------------------------

PLAIN: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "mobiledet_edgetpu detect": ({}, lambda: Detector(EdgeTPUBackbone())),
    "mobiledet_cpu detect": ({}, lambda: Detector(CPUBackbone())),
    "mobiledet_edgetpu classify": (
        {"task": "classify"},
        lambda: Classifier(EdgeTPUBackbone(), 288, nn.ReLU6(inplace=True)),
    ),
    "mobiledet_cpu classify": ({"task": "classify"}, lambda: Classifier(CPUBackbone(), 288, HardSwish())),
}


@pytest.mark.parametrize("name", list(PLAIN))
def test_mobiledet_written_by_hand_is_the_published_network(name: str) -> None:
    options, make = PLAIN[name]
    published = load_network(name.split()[0], **options)
    module = make()
    graph = graph_from_module(module, (3, 320, 320))
    assert sum(p.numel() for p in module.parameters()) == graph.params == published.params
    assert graph.macs == published.macs
    assert graph.output_shapes == published.output_shapes
    assert nas.functional_hash(graph) == nas.functional_hash(published)
    same_numbers(module, graph, 1e-4)


def _other_kernel(backbone: Any) -> None:
    backbone.stage7 = InvertedBottleneck(120, 384, 3, 8)


def _other_activation(backbone: Any) -> None:
    backbone.stage4[1].act = nn.ReLU()


def _no_residual(backbone: Any) -> None:
    backbone.stage3[2].residual = False


@pytest.mark.parametrize("change", [_other_kernel, _other_activation, _no_residual])
def test_mobiledet_with_one_change_is_another_network(change: Callable[[Any], None]) -> None:
    backbone = EdgeTPUBackbone()
    change(backbone)
    graph = graph_from_module(Classifier(backbone, 288, nn.ReLU6()), (3, 320, 320))
    assert nas.functional_hash(graph) != nas.functional_hash(load_network("mobiledet_edgetpu", task="classify"))


# -- one operation at a time -------------------------------------------------------------------------------------------


def relu_in_place(m: Any, x: Tensor) -> Tensor:
    F.relu_(x)
    return x * 0.5


def add_in_place(m: Any, x: Tensor) -> Tensor:
    y = torch.tanh(x)
    z = y.relu_()
    y += x
    return torch.cat([z, y], 1)  # z is y


def hand_attention(m: Any, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    heads = [t.view(b, n, 2, 4).transpose(1, 2) for t in m.qkv(x).chunk(3, -1)]
    weights = (heads[0] @ heads[1].transpose(-2, -1) / math.sqrt(4)).softmax(-1)
    return m.out((weights @ heads[2]).transpose(1, 2).reshape(b, n, 8))


def torch_attention(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).split(8, dim=-1)
    q, k, v = (t.unflatten(-1, (2, 4)).movedim(1, 2) for t in (q, k, v))
    return m.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def channel_shuffle(m: Any, x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


IMAGE = (4, 8, 9)


# name: (function, layers, input shape or shapes, operations of the graph behind its inputs)
OPERATIONS: dict[str, tuple[Callable[..., Any], dict[str, nn.Module], Any, str]] = {
    "layer scale": (lambda m, x: m.c(x), {"c": Scale(-1, 1, 1)}, IMAGE, "layer_scale"),
    "layer scale with a batch axis": (lambda m, x: m.c(x), {"c": Scale(1, 4, 1, 1)}, IMAGE, "layer_scale"),
    "conv1d": (lambda m, x: m.c(x), {"c": nn.Conv1d(4, 6, 3, 2, 1, bias=False)}, (4, 9), "conv"),
    "conv3d": (lambda m, x: m.c(x), {"c": nn.Conv3d(4, 6, (1, 2, 3), groups=2)}, (4, 5, 6, 7), "conv"),
    "conv": (lambda m, x: m.c(x), {"c": nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), 2, 2)}, IMAGE, "conv"),
    "conv same": (lambda m, x: m.c(x), {"c": nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2))}, IMAGE, "conv"),
    "conv valid": (lambda m, x: m.c(x), {"c": nn.Conv2d(4, 6, 3, padding="valid")}, IMAGE, "conv"),
    "padded conv": (
        lambda m, x: m.c(F.pad(F.pad(x, (0, 1)), (1, 2, 0, 3))),
        {"c": nn.Conv2d(4, 6, 3, 2, padding=1)},
        IMAGE,
        "conv",
    ),
    "pad twice used": (
        lambda m, x: [m.c(p := F.pad(x, (0, 1, 0, 1))), m.d(p)],
        {"c": nn.Conv2d(4, 6, 3, 2), "d": nn.Conv2d(4, 5, 3, 2)},
        IMAGE,
        "conv conv",
    ),
    "zeros around": (lambda m, x: F.pad(x, (1, 0, 0, 2)).tanh(), {}, IMAGE, "zero zero concat concat act"),
    "zero channels": (lambda m, x: F.pad(x[:, :, ::1], (0, 0, 0, 0, 1, 2)), {}, IMAGE, "zero zero concat"),
    "linear": (lambda m, x: m.l(x), {"l": nn.Linear(9, 5)}, IMAGE, "linear"),
    "linear without bias": (lambda m, x: m.l(x), {"l": nn.Linear(9, 5, bias=False)}, (9,), "linear"),
    "batch norm of features": (lambda m, x: m.n(x), {"n": nn.BatchNorm1d(4, 1e-3, 0.2)}, (4,), "norm"),
    "batch norm of volumes": (lambda m, x: m.n(x), {"n": nn.BatchNorm3d(4)}, (4, 2, 3, 3), "norm"),
    "layer norm": (lambda m, x: m.n(x), {"n": nn.LayerNorm(9, 1e-6)}, IMAGE, "norm"),
    "layer norm of channels": (
        lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        {"n": nn.LayerNorm(4)},
        IMAGE,
        "norm",
    ),
    "ConvNeXt": (
        lambda m, x: m.l(m.n(x.permute(0, 2, 3, 1))).movedim(-1, 1),
        {"n": nn.LayerNorm(4), "l": nn.Linear(4, 6)},
        IMAGE,
        "permute norm linear permute",
    ),
    "activations": (
        lambda m, x: [
            F.relu(x), F.relu6(x), F.hardswish(x), F.hardsigmoid(x), x.sigmoid(), F.silu(x), F.gelu(x), x.tanh(),
            F.leaky_relu(x, 0.1),
        ],
        {}, IMAGE, "act act act act act act act act act",
    ),
    "clamps": (lambda m, x: [x.clamp(0, 6), x.clamp_min(0), F.hardtanh(x, 0, 6)], {}, IMAGE, "act act"),
    "in place": (relu_in_place, {}, IMAGE, "act scale"),
    "in place, two names": (add_in_place, {}, IMAGE, "act act add concat"),
    "layers in place": (
        lambda m, x: m.s(x),
        {"s": nn.Sequential(nn.ReLU6(True), nn.Hardswish(True), nn.SiLU(True), nn.LeakyReLU(0.1, True), nn.Dropout())},
        IMAGE,
        "act act act act",
    ),
    "hard swish by hand": (lambda m, x: x * F.relu6(x + 3) / 6, {}, IMAGE, "act"),
    "hard sigmoid by hand": (lambda m, x: F.hardtanh(3 + x, 0, 6).mul(1 / 6), {}, IMAGE, "act"),
    "half a hard sigmoid": (lambda m, x: F.relu6(x + 3) * x.tanh(), {}, IMAGE, "act scale act mul"),
    "sums": (lambda m, x, y: sum([x, y, x]) - y.neg() + 2 * x, {}, (IMAGE, IMAGE), "scale scale scale add"),
    "weighted sum": (lambda m, x, y: torch.add(x, y, alpha=0.5), {}, (IMAGE, IMAGE), "scale add"),
    "gate": (lambda m, x, y: y * x / 4, {}, (IMAGE, (4, 1, 1)), "mul scale"),
    "cat": (lambda m, x, y: torch.cat([y, x, y], -1), {}, (IMAGE, (4, 8, 2)), "concat"),
    "stack": (lambda m, x, y: torch.stack([x, y], 2), {}, ((4, 3), (4, 3)), "reshape reshape concat"),
    "max pools": (
        lambda m, x: [F.max_pool2d(x, 3, 2, 1), F.max_pool2d(x, (2, 3), ceil_mode=True), F.max_pool1d(x[:, :, 0], 2)],
        {}, IMAGE, "pool pool slice reshape pool",
    ),
    "padded max pools": (
        lambda m, x: [F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 3, 2), F.max_pool2d(F.pad(x, (1, 1)), 2)],
        {}, IMAGE, "pool zero concat pool",
    ),
    "average pools": (
        lambda m, x: [
            F.avg_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            F.avg_pool2d(x, 3, 2, ceil_mode=True), F.avg_pool2d(x, 3, 2, 1, True, False),
            F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2), F.avg_pool3d(x[:, :, None], (1, 2, 2)),
        ],
        {}, IMAGE, "pool pool pool pool pool reshape pool",
    ),
    "adaptive pools": (
        lambda m, x: [
            F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, (4, 3)),
            F.adaptive_avg_pool2d(x, (8, 9)), F.adaptive_max_pool2d(x, (None, 3)),
        ],
        {}, IMAGE, "global_pool global_pool pool pool",
    ),
    "reductions": (
        lambda m, x: [x.mean((2, 3)), x.amax((-1, -2), keepdim=True), x.flatten(2).mean(-1), x.mean(1), x.mean(3)],
        {}, IMAGE, "global_pool reshape global_pool reshape global_pool reshape permute reshape global_pool"
        " reshape reshape global_pool reshape",
    ),
    "resizes": (
        lambda m, x: [
            F.interpolate(x, scale_factor=2), F.interpolate(x, (5, 7)), F.interpolate(x, (4, 18), mode="bilinear"),
            F.interpolate(x, scale_factor=2, mode="bilinear"), F.interpolate(x[:, :, 0], 5), F.interpolate(x, (8, 9)),
        ],
        {}, IMAGE, "resize resize resize resize slice reshape resize",
    ),
    "attention by hand": (
        hand_attention, {"qkv": nn.Linear(8, 24), "out": nn.Linear(8, 8)}, (5, 8),
        "linear slice slice slice reshape permute reshape permute reshape permute permute matmul scale softmax matmul"
        " permute reshape linear",
    ),
    "attention of PyTorch": (
        torch_attention, {"qkv": nn.Linear(8, 24), "out": nn.Linear(8, 8)}, (5, 8),
        "linear slice slice slice reshape permute reshape permute reshape permute permute matmul scale softmax matmul"
        " permute reshape linear",
    ),
    "products": (lambda m, x, y: [x @ y, torch.bmm(x, y)], {}, ((3, 4), (4, 5)), "matmul"),
    "softmax": (lambda m, x: x.softmax(1), {}, IMAGE, "softmax"),
    "reshapes": (
        lambda m, x: [x.flatten(1), x.view(-1, 8, 36), x.reshape(x.shape[0], 4, -1), x[:, None], x[:, :1].squeeze(1)],
        {}, IMAGE, "reshape reshape reshape reshape slice reshape",
    ),
    "channel shuffle": (channel_shuffle, {}, IMAGE, "reshape permute reshape"),
    "slices": (
        lambda m, x: [x[:, 1:, :-1], *x.chunk(3, 3), *x.split([1, 3], 1), x[:, -1], x.unbind(1)[2]],
        {}, IMAGE, "slice slice slice slice slice slice slice reshape slice reshape",
    ),
    "narrow": (
        lambda m, x: [x.narrow(3, 2, 4), x.narrow(3, -2, 2), x.narrow(3, -3, 2)], {}, IMAGE, "slice slice slice",
    ),
    "identities": (
        lambda m, x: F.dropout(m.i(x).clone().contiguous(), 0.0, True).expand(-1, 4, 8, 9).to(torch.float32) * 1,
        {"i": nn.Identity()}, IMAGE, "",
    ),
    "zeros": (lambda m, x: torch.cat([x, torch.zeros_like(x), x.new_zeros(x.shape)], 1), {}, IMAGE, "zero concat"),
    "what is not used": (lambda m, x: (x.cumsum(1), x.tanh())[1], {}, IMAGE, "act"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations_become_nodes_that_compute_the_same(name: str) -> None:
    function, layers, shapes, operations = OPERATIONS[name]
    module = Calls(function, **layers).eval()
    graph = graph_from_module(module, shapes)
    assert sorted(n.op for n in graph.nodes if n.op != "input") == sorted(operations.split())
    same_numbers(module, graph)


def test_every_operation_of_the_vocabulary_is_met() -> None:
    met = " ".join(row[3] for row in OPERATIONS.values()).split()
    assert set(met) | {"input"} == set(OPS)


def test_attributes_are_those_of_the_layers() -> None:
    module = nn.Sequential(
        nn.ZeroPad2d((0, 1, 2, 3)), nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8, eps=0.02, momentum=0.03)
    )
    b = Builder()
    y = b.conv(b.input((3, 9, 9)), 8, 3, 2, padding=((3, 4), (1, 2)))
    assert graph_from_module(module, (3, 9, 9)) == b.build(b.norm(y, eps=0.02, momentum=0.03))


def test_outputs_are_named_as_they_are_returned() -> None:
    def names(function: Callable[..., Any]) -> list[str]:
        return list(graph_from_module(Calls(function), (4, 3)).output_shapes)

    assert names(lambda m, x: x.tanh()) == ["output"]
    assert names(lambda m, x: (x.tanh(),)) == ["output0"]
    assert names(lambda m, x: [x.tanh(), x]) == ["output0", "output1"]
    assert names(lambda m, x: {"b": x.tanh(), "a": x}) == ["b", "a"]


def test_several_inputs_keep_their_order_and_may_be_unused() -> None:
    graph = graph_from_module(Calls(lambda m, x, y, z: z * 2), [(3,), (4, 5), (2,)])
    assert graph.input_shapes == ((3,), (4, 5), (2,))
    assert graph.output_shapes == {"output": (2,)}


# -- what is refused ---------------------------------------------------------------------------------------------------

CONV = nn.Conv2d(4, 4, 3, padding=1)


def no_gradient(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.c(x)
    return y + x


def write_into_a_slice(m: Any, x: Tensor) -> Tensor:
    y = x.tanh()
    y[:, :2] = x[:, 2:]
    return y


def change_behind_a_view(m: Any, x: Tensor) -> Tensor:
    y = x.tanh()
    view = y.flatten(2)
    y.relu_()
    return view


def change_through_a_view(m: Any, x: Tensor) -> Tensor:
    y = x.tanh()
    y.view(-1, 4, 72).relu_()
    return y


def change_through_dropout(m: Any, x: Tensor) -> Tensor:
    F.dropout(x, 0.5, False).relu_()
    return x


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False)


def with_buffer(values: Tensor) -> nn.Module:
    holder = nn.Module()
    holder.register_buffer("values", values)
    return holder


def tied() -> nn.Module:
    first, second = nn.Linear(9, 9), nn.Linear(9, 9)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


def sharing_memory() -> nn.Module:
    first, second = nn.Linear(9, 9), nn.Linear(9, 9)
    second.weight = nn.Parameter(first.weight.data)
    return nn.Sequential(first, second)


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled: nn.Module = torch.jit.script(module)
    return compiled


def mixed_modes() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    module[1].eval()
    return module


Refused = tuple[Callable[[], nn.Module], Any, str]


def call(function: Callable[..., Any], shapes: Any = IMAGE, **layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Calls(function, **layers)


REFUSED: dict[str, Refused] = {
    "an unknown operation": (
        lambda: nn.Sequential(nn.ReLU(), nn.Sequential(nn.PReLU())),
        IMAGE,
        r"prelu in 1\.0 \(PReLU\): a graph has no such operation; replace it, or write the network with nas\.Builder",
    ),
    "transposed convolution": (lambda: nn.ConvTranspose2d(4, 4, 2), IMAGE, "conv_transpose2d in the module itself"),
    "group norm": (lambda: nn.Sequential(nn.GroupNorm(2, 4)), IMAGE, r"group_norm in 0 \(GroupNorm\)"),
    "approximate gelu": (lambda: nn.GELU("tanh"), IMAGE, "approximate must be 'none' in a graph, not 'tanh'"),
    "another slope": (lambda: nn.LeakyReLU(), IMAGE, r"negative_slope must be 0\.1 in a graph, not 0\.01"),
    "another clamp": (lambda: nn.Hardtanh(), IMAGE, r"clamps to at least 0 \(ReLU\) or 0 to 6 \(ReLU6\), not -1"),
    "dropout in training": (
        lambda: nn.Sequential(nn.Dropout(0.2)),
        IMAGE,
        r"dropout in 0 \(Dropout\): dropout changes training.* set p to 0, or call eval\(\) first",
    ),
    "a constant added": (call(lambda m, x: x + 1), IMAGE, "adding a constant is no operation of a graph"),
    "three added, no more": (call(lambda m, x: x + 3), IMAGE, "adding a constant is no operation of a graph"),
    "a tensor constant": (call(lambda m, x: x * torch.tensor([2.0])), IMAGE, "constant tensor used as a tensor"),
    "a constant of ones": (call(lambda m, x: x + torch.ones_like(x)), IMAGE, "a constant tensor is no operand"),
    "a parameter alone": (
        call(lambda m, x: x * m.s.weight[0, 0], s=nn.Linear(1, 1)), IMAGE, r"s\.weight is a parameter used as a tensor",
    ),
    "a buffer as tensor": (
        call(lambda m, x: x * m.h.values, h=with_buffer(torch.ones(9))), IMAGE, r"h\.values is a buffer used as a",
    ),
    "a buffer changed": (
        call(lambda m, x: (m.h.values.add_(1), x)[1], h=with_buffer(torch.ones(9))), IMAGE, r"it changes h\.values",
    ),
    "a computed weight": (
        call(lambda m, x: F.linear(x, m.l.weight * 2), l=nn.Linear(9, 9)),
        IMAGE,
        r"mul in .*: l\.weight is a parameter used as a tensor",
    ),
    "weight norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(9, 9)), IMAGE, "_weight_norm in parametrizations",
    ),
    "a weight that is the input": (
        call(lambda m, x, y: F.linear(x, y), ((2, 4), (3, 4))), ((2, 4), (3, 4)), "cannot trace|must be a parameter",
    ),
    "one parameter for two": (
        call(lambda m, x: F.layer_norm(x, (9,), m.l.bias, m.l.bias), l=nn.Linear(9, 9)), IMAGE, "tied weights",
    ),
    "scripted": (lambda: scripted(nn.ReLU()), IMAGE, "compiled by torch.jit"),
    "a constant weight": (
        call(lambda m, x: F.conv2d(x, m.h.values), h=with_buffer(torch.ones(2, 4, 3, 3))),
        IMAGE,
        "its weight must be a parameter of the module as it is",
    ),
    "tied weights": (
        tied, IMAGE, r"linear in 2 \(Linear\): tied weights: .*weight also serves an operation in 0 \(Linear\)"
    ),
    "weights that share memory": (sharing_memory, IMAGE, "tied weights"),
    "a module called twice": (call(lambda m, x: m.c(m.c(x)), c=CONV), IMAGE, "tied weights: c.weight also serves"),
    "frozen weights": (lambda: nn.Sequential(frozen(nn.Linear(9, 9))), IMAGE, r"the parameter 0\.weight is frozen"),
    "no gradient": (call(no_gradient, c=CONV), IMAGE, "wrap_with_set_grad_enabled.*no such operation"),
    "detach": (call(lambda m, x: x.tanh().detach()), IMAGE, "detach in the module itself.*no such operation"),
    "batch norm without scale": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE, "set affine=True"),
    "batch norm without statistics": (
        lambda: nn.BatchNorm2d(4, track_running_stats=False), IMAGE, "set track_running_stats=True",
    ),
    "cumulative batch norm": (lambda: nn.BatchNorm2d(4, momentum=None).eval(), IMAGE, "has a momentum"),
    "cumulative batch norm in training": (lambda: nn.BatchNorm2d(4, momentum=None), IMAGE, "has a mom|cannot"),
    "frozen statistics": (mixed_modes, IMAGE, r"in evaluation mode, the module is not; call train\(\) or eval\(\) on"),
    "layer norm without scale": (lambda: nn.LayerNorm(9, elementwise_affine=False), IMAGE, "set elementwise_affine"),
    "layer norm over two axes": (lambda: nn.LayerNorm((8, 9)), IMAGE, "normalises over one axis"),
    "a bias on zeros": (call(lambda m, x: m.c(torch.zeros_like(x)) + x, c=CONV), IMAGE, "adds a bias to a constant"),
    "circular padding": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), IMAGE, "mode must be 'const"),
    "cropping": (call(lambda m, x: F.pad(x, (-1, 0))), IMAGE, "padding must be constants of at least 0"),
    "padding with ones": (call(lambda m, x: F.pad(x, (1, 0), value=1.0) * 2), IMAGE, "another value than zero"),
    "dilated pooling": (lambda: nn.MaxPool2d(2, dilation=2), IMAGE, "pooling has no dilation"),
    "uneven adaptive pooling": (lambda: nn.AdaptiveAvgPool2d(5), IMAGE, "does not divide into"),
    "indices of a maximum": (
        call(lambda m, x: F.adaptive_max_pool2d(x, 1, return_indices=True)), IMAGE, "indices of a maximum",
    ),
    "two kinds of padding": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), (4, 6, 6), "two kinds of padding"),
    "aligned corners": (
        lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), IMAGE, "align_corners must be False",
    ),
    "an uneven scale": (lambda: nn.Upsample(scale_factor=1.3), IMAGE, "give the size instead"),
    "bicubic": (lambda: nn.Upsample((9, 9), mode="bicubic"), IMAGE, "upsample_bicubic2d"),
    "broadcast sum": (call(lambda m, x: x + x.mean(1, True)), IMAGE, "operands differ in shape"),
    "stride in a slice": (call(lambda m, x: x[:, ::2]), IMAGE, "in steps of 1"),
    "repetition": (call(lambda m, x: x[:, :1].expand(-1, 4, -1, -1)), IMAGE, "it repeats elements"),
    "one sample of the batch": (call(lambda m, x: x[:1] * 2), IMAGE, "slice in the module itself.*one sample"),
    "mean over the batch": (call(lambda m, x: x.mean(0, keepdim=True)), IMAGE, "works along the batch axis"),
    "mean over all": (call(lambda m, x: x.mean()), IMAGE, r"mean in the module itself"),
    "softmax over the batch": (call(lambda m, x: x.softmax(0)), IMAGE, "works along the batch axis"),
    "a moved batch": (call(lambda m, x: x.transpose(0, 1)), IMAGE, "it moves the batch axis"),
    "a folded batch": (call(lambda m, x: x.flatten(0, 1)), IMAGE, "does not keep the batch as first"),
    "nothing but the batch": (call(lambda m, x: x[:, 0, 0, 0]), IMAGE, "does not keep the batch as first of several"),
    "one batch size": (call(lambda m, x: x.view(2, -1)), IMAGE, "torch.export cannot trace Calls for any batch size"),
    "the batch size as number": (call(lambda m, x: x * x.shape[0]), IMAGE, "must be a constant or a tensor|depends on"),
    "control flow": (
        call(lambda m, x: x if x.sum() > 0 else -x), IMAGE, "cannot trace Calls .*: GuardOnDataDependentSymNode: ",
    ),
    "integer input": (lambda: nn.Embedding(9, 4), IMAGE, "cannot trace Embedding"),
    "another number format": (call(lambda m, x: x.double()), IMAGE, "changes the number format"),
    "several numbers of inputs": (lambda: nn.ReLU(), (IMAGE, IMAGE), "cannot trace ReLU"),
    "writing into a part": (call(write_into_a_slice), IMAGE, "in place|no such operation"),
    "a change behind a view": (call(change_behind_a_view), IMAGE, "relu in .*in place that a view shows too"),
    "a change through a view": (call(change_through_a_view), IMAGE, "in place that a view shows too"),
    "a change through dropout": (call(change_through_dropout), IMAGE, "in place that a view shows too"),
    "randomness": (call(lambda m, x: x * torch.rand_like(x)), IMAGE, "rand_like.*no such operation"),
    "nested outputs": (call(lambda m, x: [x, [x]]), IMAGE, "not nested"),
    "numbered outputs": (call(lambda m, x: {1: x}), IMAGE, "with a text for its name"),
    "no output": (call(lambda m, x: None), IMAGE, "must return a tensor|must be a tensor"),
    "a weight for output": (call(lambda m, x: [x, m.c.weight], c=CONV), IMAGE, "output 'output1'.*c.weight is a param"),
    "no shape": (lambda: nn.ReLU(), (), "inputs must be shapes such as"),
    "no size": (lambda: nn.ReLU(), [(3, 0)], "inputs must be shapes such as"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_no_graph_describes_is_refused(name: str) -> None:
    make, shapes, message = REFUSED[name]
    with pytest.raises(UnsupportedModule, match=message) as raised:
        graph_from_module(make(), shapes)
    assert "\n" not in str(raised.value)


def test_only_modules_are_taken() -> None:
    with pytest.raises(TypeError, match=re.escape("takes an nn.Module, not function")):
        graph_from_module(lambda x: x, (3,))  # type: ignore[arg-type]


# -- the module stays as it was ----------------------------------------------------------------------------------------


class Remembers(nn.Module):
    """Counts its calls and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.normalised = self.norm(x)
        return self.normalised.relu()


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_left_as_it_was(training: bool) -> None:
    module = Remembers().train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    identities = [id(value) for value in (*module.parameters(), *module.buffers())]
    generator = torch.random.get_rng_state()
    with torch.no_grad():
        graph = graph_from_module(module, IMAGE)
        assert not torch.is_grad_enabled()
    assert [n.op for n in graph.nodes] == ["input", "norm", "act"]
    assert torch.equal(generator, torch.random.get_rng_state())
    assert module.training is training
    assert module.norm.training is training
    assert module.calls == 0
    assert not hasattr(module, "seen")
    assert identities == [id(value) for value in (*module.parameters(), *module.buffers())]
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_number_formats_and_devices_of_the_module_are_kept() -> None:
    graph = graph_from_module(nn.Linear(3, 4), (3,))
    assert graph_from_module(nn.Linear(3, 4).double(), (3,)) == graph
    assert graph_from_module(nn.Linear(3, 4).bfloat16(), (3,)) == graph
    assert graph_from_module(nn.Linear(3, 4, device="meta"), (3,)) == graph
