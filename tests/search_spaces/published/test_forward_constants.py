"""What a network computes, not only what it counts: padding, activations, gates and the constants of normalisation.

Blocks and networks are compared with plain PyTorch written apart from the builder, weights copied over; the constants
of every published network are those of the code that it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import functional_hash, load_network
from search_spaces.catalog import load_space
from search_spaces.families.emo import WindowAttention, i2rmb, irmb
from search_spaces.families.mobilenetv3 import bottleneck
from search_spaces.families.mobilenetv4 import universal_inverted_bottleneck
from search_spaces.graph.builder import Builder
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.pytorch.from_module import graph_from_module
from search_spaces.pytorch.module import to_module
from tests.support import plain_networks as plain

# -- constants of the published networks -------------------------------------------------------------------------------

# eps and momentum (PyTorch's, the weight of the new statistics) of batch normalisation, and padding: of the code that a
# network's file names. SAME is TensorFlow's; half is half the kernel on every side, PyTorch's habit.
SAME, HALF = "same", "half"
CONSTANTS: dict[str, tuple[float, float, str]] = {
    "densenet121": (1e-5, 0.1, HALF),
    "efficientnet_b0": (1e-3, 0.01, SAME),  # tensorflow/tpu: decay 0.99
    "efficientnet_edgetpu_s": (1e-3, 0.01, SAME),
    "efficientnet_lite0": (1e-3, 0.01, SAME),
    **dict.fromkeys(("emo_1m", "emo_2m", "emo_5m", "emo_6m"), (1e-6, 0.1, HALF)),
    **dict.fromkeys(("emov2_1m", "emov2_2m", "emov2_5m", "emov2_20m", "emov2_50m"), (1e-6, 0.1, HALF)),
    **dict.fromkeys(("fbnet_a", "fbnet_b", "fbnet_c"), (1e-5, 0.1, HALF)),
    "inception_v1": (1e-3, 0.0003, SAME),  # slim's inception_utils.py: decay 0.9997
    **dict.fromkeys(("leyolo_nano", "leyolo_small", "leyolo_medium", "leyolo_large"), (1e-3, 0.03, HALF)),
    **dict.fromkeys(("mnasnet_a1", "mnasnet_b1", "mnasnet_small"), (1e-5, 0.1, HALF)),
    "mobilenet_edgetpu": (1e-3, 0.003, SAME),  # slim's mobilenet.py: decay 0.997
    "mobilenet_v1": (1e-3, 0.0003, SAME),  # slim's mobilenet_v1.py: decay 0.9997
    "mobilenet_v1_ssd": (1e-3, 0.03, SAME),  # its configuration: decay 0.97
    "mobilenet_v2": (1e-3, 0.003, SAME),
    "mobilenet_v2_ssd": (1e-3, 0.0003, SAME),  # its configuration: decay 0.9997
    "mobilenetv2": (1e-5, 0.1, HALF),
    "mobilenetv3_large": (1e-5, 0.1, HALF),
    "mobilenetv3_small": (1e-5, 0.1, HALF),
    **dict.fromkeys((name for name in networks() if name.startswith("mobilenetv4_")), (1e-5, 0.1, HALF)),
    **dict.fromkeys(("proxyless_cpu", "proxyless_gpu", "proxyless_mobile"), (1e-3, 0.1, HALF)),
    "resnet50_v1": (1e-5, 0.1, HALF),
    "resnet50_v2": (1.001e-5, 0.01, HALF),  # Keras
    "resnet152_v2": (1.001e-5, 0.01, HALF),
    "ssdlite_mobilenet_edgetpu": (1e-3, 0.03, SAME),  # its configuration: decay 0.97
    **dict.fromkeys((name for name in networks() if name.startswith("tinynet_")), (1e-5, 0.1, HALF)),
}
# Activations and gates that a network has, and no others
ACTIVATIONS: dict[str, set[str]] = {
    "densenet121": {"relu"},
    "efficientnet_b0": {"silu", "sigmoid"},
    "efficientnet_edgetpu_s": {"relu"},
    "efficientnet_lite0": {"relu6"},
    "emo_1m": {"silu", "gelu", "sigmoid"},  # the gate is the stem's
    "emov2_1m": {"silu", "gelu"},
    "fbnet_c": {"relu"},
    "inception_v1": {"relu"},
    "leyolo_nano": {"silu"},
    "mnasnet_a1": {"relu", "sigmoid"},
    "mnasnet_b1": {"relu"},
    "mobilenet_edgetpu": {"relu"},
    "mobilenet_v1": {"relu6"},
    "mobilenet_v1_ssd": {"relu6"},
    "mobilenet_v2": {"relu6"},
    "mobilenetv2": {"relu6"},
    "mobilenetv3_large": {"relu", "hswish", "hsigmoid"},
    "mobilenetv3_small": {"relu", "hswish", "hsigmoid"},
    "mobilenetv4_conv_medium": {"relu"},
    "mobilenetv4_hybrid_medium": {"relu"},
    "mobilenetv4_hybrid_large": {"gelu"},
    "proxyless_mobile": {"relu6"},
    "resnet50_v1": {"relu"},
    "ssdlite_mobilenet_edgetpu": {"relu", "relu6"},
    "tinynet_e": {"silu", "sigmoid"},
}


def convolutions(graph: Graph) -> Iterator[tuple[Node, int]]:
    """Every convolution and the height of its input."""
    for node in graph.nodes:
        if node.op == "conv":
            yield node, graph.nodes[node.inputs[0]].shape[1]


def padding_of(kind: str, kernel: int, stride: int, size: int) -> tuple[int, int]:
    """Before and behind, on one axis."""
    if kind == HALF:
        return kernel // 2, kernel // 2
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


def test_stated_constants_are_those_of_networks_that_there_are() -> None:
    assert set(ACTIVATIONS) <= set(CONSTANTS) <= set(networks())


@pytest.mark.parametrize("pixels", ["published", 97])
@pytest.mark.parametrize("name", list(CONSTANTS))
def test_normalisation_and_padding_are_those_of_the_published_code(name: str, pixels: str | int) -> None:
    eps, momentum, padding = CONSTANTS[name]
    if name.startswith("leyolo"):
        graph = load_network(name, **({} if pixels == "published" else {"image_size": 96}))
    else:
        graph = load_network(name, **({} if pixels == "published" else {"image_size": pixels}))
    norms = {node.attrs for node in graph.nodes if node.op == "norm"}
    layer_norms = {("layer", 1e-6, 0.0, 0)} if name.startswith("emo") else set()
    assert norms == {("batch", eps, momentum, 0), *layer_norms}
    for node, size in convolutions(graph):
        kernel, stride = node.attr("kernel")[0], node.attr("stride")[0]
        assert node.attr("padding") == (padding_of(padding, kernel, stride, size),) * 2, node


def test_strides_on_even_maps_are_padded_behind_alone_in_tensorflow_and_on_both_sides_in_pytorch() -> None:
    for name, expected in (("mobilenet_v2", (0, 1)), ("mobilenetv2", (1, 1))):
        strided = [node for node, size in convolutions(load_network(name)) if node.attr("stride") == (2, 2)]
        assert len(strided) == 5
        assert {node.attr("padding") for node in strided} == {(expected, expected)}
    # at stride 1 and odd sizes both are half the kernel
    assert padding_of(SAME, 3, 2, 97) == padding_of(HALF, 3, 2, 97) == (1, 1)
    assert padding_of(SAME, 5, 2, 112) == (1, 2)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_and_gates_are_the_published_ones(name: str) -> None:
    assert {node.attrs[0] for node in load_network(name).nodes if node.op == "act"} == ACTIVATIONS[name]


@pytest.mark.parametrize(
    ("name", "act", "gate", "count", "squeezed"),
    [
        ("mobilenetv3_large", "relu", "hsigmoid", 8, 24),  # 72 / 4 to a multiple of 8
        ("mobilenetv3_small", "relu", "hsigmoid", 9, 8),
        ("mnasnet_a1", "relu", "sigmoid", 8, 6),  # a quarter of the block's input of 24
        ("efficientnet_b0", "silu", "sigmoid", 16, 8),
        ("tinynet_a", "silu", "sigmoid", 19, 8),
        ("emo_1m", "silu", "sigmoid", 1, 24),  # the stem's, as wide as the stem
    ],
)
def test_squeeze_excite_is_the_published_one(name: str, act: str, gate: str, count: int, squeezed: int) -> None:
    nodes = load_network(name).nodes
    products = [node for node in nodes if node.op == "mul"]
    assert len(products) == count
    widths = []
    for product in products:
        gates = [nodes[i] for i in product.inputs if nodes[i].op == "act" and nodes[i].attrs == (gate,)]
        expand = nodes[gates[0].inputs[0]]
        inner = nodes[expand.inputs[0]]
        reduce = nodes[inner.inputs[0]]
        assert (expand.attr("bias"), inner.attrs, reduce.attr("bias")) == (True, (act,), True)
        assert nodes[reduce.inputs[0]].op == "global_pool"
        widths.append(reduce.shape[0])
    assert widths[0] == squeezed


@pytest.mark.parametrize(
    ("name", "biased"),
    [
        ("mobilenetv2", False),
        ("mobilenetv4_conv_small", False),
        ("tinynet_e", False),
        ("fbnet_c", True),
        ("leyolo_nano", True),
    ],
)
def test_convolutions_before_normalisation_have_a_bias_where_the_code_gives_them_one(name: str, biased: bool) -> None:
    nodes = load_network(name).nodes
    biases = Counter(
        nodes[n.inputs[0]].attr("bias") for n in nodes if n.op == "norm" and nodes[n.inputs[0]].op == "conv"
    )
    if name == "leyolo_nano":  # but those of its pooling and of its head: 2, and 3 levels of 2 branches of 3
        assert biases[False] == 20
    else:
        assert set(biases) == {biased}


def test_layer_scale_starts_as_published() -> None:
    for name, initial in (("emov2_1m", 1e-6), ("mobilenetv4_hybrid_medium", 1e-5)):
        assert {n.attrs[0] for n in load_network(name).nodes if n.op == "layer_scale"} == {initial}
    for name in ("emo_1m", "mobilenetv4_conv_medium"):
        assert not [n for n in load_network(name).nodes if n.op == "layer_scale"]


def test_the_first_block_of_mobilenet_edgetpu_has_an_activation() -> None:
    nodes = load_network("mobilenet_edgetpu").nodes
    first = next(index for index, node in enumerate(nodes) if node.op == "norm" and node.shape[0] == 16)
    assert [nodes[index].op for index, node in enumerate(nodes) if first in node.inputs] == ["act"]


# -- outputs, weights copied over --------------------------------------------------------------------------------------


def layers_of(reference: nn.Module, x: Tensor) -> list[nn.Module]:
    """The layers with weights, in the order of their use."""
    used: list[nn.Module] = []
    leaves = [m for m in reference.modules() if next(m.parameters(recurse=False), None) is not None]
    hooks = [leaf.register_forward_hook(lambda m, *_: used.append(m)) for leaf in leaves]
    reference(x)
    for hook in hooks:
        hook.remove()
    return used


def largest_difference(mine: Any, theirs: Any) -> float:
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        return max(largest_difference(mine[name], theirs[name]) for name in theirs)
    assert mine.shape == theirs.shape
    scale = max(1.0, theirs.abs().max().item())
    return float((mine - theirs).abs().max().item() / scale)


def check_equal(graph: Graph, reference: nn.Module, *, exact: bool = False) -> None:
    """Outputs agree in evaluation and in training, and so do the statistics that a step of training leaves."""
    if exact:  # first: LayerScale is read as one only where it is as it starts
        assert functional_hash(graph_from_module(reference.eval(), graph.input_shape)) == functional_hash(graph)
    torch.manual_seed(0)
    x = torch.randn(3, *graph.input_shape, dtype=torch.float64)
    mine, theirs = to_module(graph).double(), reference.double()
    with torch.no_grad():
        mine.train()(x)  # statistics that are not the initial ones
        mine.eval(), theirs.eval()
        pairs = list(zip(mine.layers.values(), layers_of(theirs, x), strict=True))
        for ours, other in pairs:
            for value in ours.parameters():
                value.add_(0.2 * torch.rand_like(value) - 0.1)
                value.mul_(4 if isinstance(other, nn.BatchNorm2d) else 1)  # so that activations reach where they bend
            values = list(ours.state_dict().values())
            others = list(other.state_dict().values())
            assert [v.numel() for v in values] == [v.numel() for v in others]
            for value, into in zip(values, others, strict=True):
                into.copy_(value.reshape(into.shape))
        assert largest_difference(mine(x), theirs(x)) < 1e-12
        assert largest_difference(mine.train()(x), theirs.train()(x)) < 1e-12
        for ours, other in pairs:
            if isinstance(other, nn.BatchNorm2d):
                assert isinstance(ours, nn.BatchNorm2d)
                assert isinstance(ours.running_var, Tensor)
                assert isinstance(other.running_var, Tensor)
                assert torch.allclose(ours.running_var, other.running_var, rtol=1e-12, atol=1e-12)


def one_block(make: Callable[[Builder, Any], Any], shape: tuple[int, ...]) -> Graph:
    b = Builder()
    return b.build(make(b, b.input(shape)))


@pytest.mark.parametrize("pixels", [64, 65])
def test_mobilenetv2_in_both_conventions_computes_what_the_plain_network_does(pixels: int) -> None:
    tensorflow = {"same": True, "eps": 1e-3, "momentum": 0.003}
    check_equal(load_network("mobilenetv2", image_size=pixels, num_classes=10), plain.mobilenetv2(10))
    graph = load_network("mobilenet_v2", image_size=pixels, num_classes=10)
    check_equal(graph, plain.mobilenetv2(10, **tensorflow))


@pytest.mark.parametrize("how", [{}, {"same": True}, {"eps": 1e-3}, {"momentum": 0.01}, {"act": nn.ReLU()}])
def test_the_comparison_sees_another_padding_eps_momentum_and_activation(how: dict[str, Any]) -> None:
    graph = one_block(lambda b, x: b.act(b.norm(b.conv(x, 4, 3, 2, padding=1)), "relu6"), (3, 12, 12))
    reference = nn.Sequential(*plain.conv_norm(3, 4, 3, 2, **{"act": nn.ReLU6(), **how}))
    if not how:
        check_equal(graph, reference, exact=True)
        return
    with pytest.raises(AssertionError):
        check_equal(graph, reference)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("k_start", "k_mid"), [(0, 3), (3, 0), (3, 5), (5, 3), (0, 0)])
@pytest.mark.parametrize("scale", [None, 1e-5])
def test_universal_inverted_bottlenecks(k_start: int, k_mid: int, stride: int, scale: float | None) -> None:
    if stride == 2 and not k_start and not k_mid:
        pytest.skip("an FFN has no stride")
    kernels: dict[str, Any] = {"k_start": k_start, "k_mid": k_mid, "expanded": 24, "stride": stride}
    graph = one_block(
        lambda b, x: universal_inverted_bottleneck(b, x, 8, **kernels, act="relu", layer_scale=scale is not None),
        (8, 12, 12),
    )
    reference = plain.universal_inverted_bottleneck(8, 8, k_start, k_mid, 24, stride, nn.ReLU(), scale)
    check_equal(graph, reference, exact=True)


@pytest.mark.parametrize(("act", "module"), [("relu", nn.ReLU()), ("hswish", nn.Hardswish())])
def test_mobilenetv3s_block_has_squeeze_excite_with_a_hard_sigmoid(act: str, module: nn.Module) -> None:
    graph = one_block(
        lambda b, x: bottleneck(b, x, 16, expanded=72, kernel=5, act=act, se=True, residual=True), (16, 13, 13)
    )
    layers = [*plain.conv_norm(16, 72, 1, act=module), *plain.conv_norm(72, 72, 5, 1, 72, act=module)]
    # 72 / 4 is 18, and its nearest multiple of 8, 16, is more than a tenth below
    check_equal(graph, plain.Add(*layers, plain.SqueezeExcite(72, 24), *plain.conv_norm(72, 16, 1)))


@pytest.mark.parametrize("size", [14, 10])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_mobile_blocks_with_window_attention(second: bool, late: bool, size: int) -> None:
    make, kind = (i2rmb, "hybrid") if second else (irmb, "remote")
    how: dict[str, Any] = {"expanded": 36, "kernel": 5, "stride": 1, "attention": WindowAttention(kind, 6, 7)}
    norm, act = ("layer", "gelu") if late else ("batch", "silu")
    graph = one_block(lambda b, x: make(b, x, 12, norm=norm, act=act, **how), (12, size, size))
    check_equal(graph, plain.MobileBlock(12, 12, 36, 5, 1, late=late, heads=2, window=7, second=second))


@pytest.mark.parametrize("size", [14, 13])
def test_the_first_block_of_an_emo_stage(size: int) -> None:
    graph = one_block(
        lambda b, x: irmb(b, x, 12, expanded=32, kernel=3, stride=2, norm="batch", act="silu"), (8, size, size)
    )
    check_equal(graph, plain.MobileBlock(8, 12, 32, 3, 2, late=False, heads=0, window=7, second=False), exact=True)


def test_a_whole_emo() -> None:
    config = {
        "depths": [2, 2, 2, 2], "embed_dims": [8, 12, 16, 24], "exp_ratios": [2, 2.5, 3, 3.5],
        "dw_kernels": [3, 3, 5, 5], "head_dims": [8, 8, 8, 8],
    }  # fmt: skip
    space = load_space(
        "emo", depths=((2,),) * 4, widths=((8,), (12,), (16,), (24,)), head_dims=(8,), num_classes=10, image_size=97,
    )  # fmt: skip
    text = (
        "stem_dim=24 depths=2,2,2,2 embed_dims=8,12,16,24 exp_ratios=2,2.5,3,3.5 dw_kss=3,3,5,5"
        " attention=none,none,remote,remote dim_heads=-,-,8,8"
    )
    check_equal(space.graph(space.parse(text)), plain.emo(config, second=False, num_classes=10))


@pytest.mark.parametrize("name", ["proxyless_mobile", "fbnet_a"])
def test_networks_of_mixed_kernels(name: str) -> None:
    text = networks()[name].architecture
    filters = (32, 16, 32, 40, 80, 96, 192, 320, 1280)
    reference = plain.fbnet(text, 1504) if name == "fbnet_a" else plain.proxylessnas(text, filters)
    check_equal(load_network(name, image_size=48), reference)


def test_kerass_resnet_pools_among_zeros() -> None:
    graph = load_network("resnet50_v2", image_size=64)
    check_equal(graph, plain.keras_resnet_v2((3, 4, 6, 3)))
    nodes = graph.nodes
    pool = next(node for node in nodes if node.op == "pool")
    assert (pool.attrs[:4], nodes[pool.inputs[0]].shape) == (("max", (3, 3), (2, 2), ((0, 0), (0, 0))), (64, 34, 34))
    assert [nodes[i].op for i in nodes[pool.inputs[0]].inputs] == ["zero", "concat", "zero"]
