"""MobileNetV4 against timm's counts, the block tables, and plain PyTorch written from them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor as Values
from torch import nn
from torch.nn import functional as F

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families.mobilenetv4 import (
    ATTENTION_HEADS,
    EXPANSIONS,
    KERNELS,
    KEY_DIMS,
    KV_STRIDES,
    LAYERS,
    WIDTHS,
    multi_query_attention,
    round_to_8,
)
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space

# timm 1.0.31, instantiated: trainable parameters, running statistics, and by resolution, the published one first, the
# multiply-adds of convolutions and linear layers. Those of attention's matrix products are not in timm's figure.
NUMBERS = {
    "mobilenetv4_conv_small": (3_774_024, 25_088, {224: 186_005_568, 256: 242_178_048, 384: 541_764_608}),
    "mobilenetv4_conv_medium": (9_715_512, 67_904, {256: 1_080_244_224, 224: 827_649_984, 384: 2_427_413_504}),
    "mobilenetv4_conv_large": (32_590_864, 149_552, {384: 6_376_220_672, 224: 2_171_341_312, 256: 2_835_269_632}),
    "mobilenetv4_hybrid_medium": (11_074_648, 75_840, {256: 1_229_240_320, 224: 941_725_120, 384: 2_762_654_720}),
    "mobilenetv4_hybrid_large": (37_764_624, 164_400, {384: 7_372_138_496, 224: 2_510_230_016, 256: 3_277_899_776}),
}
FACT_NAMES = {
    "mobilenetv4_conv_small": "MNv4-Conv-S",
    "mobilenetv4_conv_medium": "MNv4-Conv-M",
    "mobilenetv4_conv_large": "MNv4-Conv-L",
    "mobilenetv4_hybrid_medium": "MNv4-Hybrid-M",
    "mobilenetv4_hybrid_large": "MNv4-Hybrid-L",
}
KINDS = {(False, True): "IB", (True, False): "ConvNext", (True, True): "ExtraDW", (False, False): "FFN"}


def table(name: str, shared: Callable[[str], Path]) -> dict[str, Any]:
    facts = yaml.safe_load(shared("facts/mobilenetv4.yaml").read_text(encoding="utf-8"))
    row: dict[str, Any] = facts["architectures"][FACT_NAMES[name]]
    return row


def macs_of(graph: Graph, *ops: str) -> int:
    return sum(figures.macs for node, figures in zip(graph.nodes, graph.node_counts(), strict=True) if node.op in ops)


# -- published figures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_networks_have_timms_counts(name: str) -> None:
    params, statistics, macs = NUMBERS[name]
    published = load_network(name)
    assert published.input_shape == (3, next(iter(macs)), next(iter(macs)))
    assert published.output_shapes == {"logits": (1000,)}
    for resolution, expected in macs.items():
        graph = load_network(name, image_size=resolution)
        assert (graph.params, graph.variables - graph.params) == (params, statistics)
        assert macs_of(graph, "conv", "linear") == expected
        assert graph.macs == expected + macs_of(graph, "matmul")


def test_attentions_products_are_counted() -> None:
    # heads x queries x keys x (key width + value width); Hybrid-M at 256: maps of 16, keys of 8, then maps of 8
    medium = 4 * (4 * 16**2 * 8**2 * 128) + 4 * (4 * 8**2 * 8**2 * 128)
    large = 4 * (8 * 24**2 * 12**2 * 96) + 4 * (8 * 12**2 * 12**2 * 128)
    assert macs_of(load_network("mobilenetv4_hybrid_medium"), "matmul") == medium
    assert macs_of(load_network("mobilenetv4_hybrid_large"), "matmul") == large


@pytest.mark.parametrize("name", list(NUMBERS))
def test_the_numbers_are_those_of_the_facts(name: str, shared: Callable[[str], Path]) -> None:
    row = table(name, shared)
    counted = row["counted"]
    params, statistics, macs = NUMBERS[name]
    assert (counted["params_trainable"], counted["bn_moving_stats"]) == (params, statistics)
    assert {row["input"][0]: counted["macs"], **row["counted_other_res"]} == macs
    norms = {node.attrs for node in load_network(name).nodes if node.op == "norm"}
    assert norms == {("batch", counted["bn_eps"], counted["bn_momentum_pytorch"], 0)}


def expected_layers(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every convolution as the block table has it: (in, out, kernel, stride, groups, height)."""
    stem, size = row["stem"], row["input"][0] // 2
    layers = [(stem["cin"], stem["cout"], stem["k"], stem["s"], 1, size)]
    for block in row["blocks"]:
        cin, cout, s = block["cin"], block["cout"], block.get("s", 1)
        out = size // s
        assert out == block["out_hw"]
        if block["type"] == "conv":
            layers.append((cin, cout, block["k"], s, 1, out))
        elif block["type"] == "fused":
            layers += [(cin, block["cmid"], block["k"], s, 1, out), (block["cmid"], cout, 1, 1, 1, out)]
        elif block["type"] == "uib":
            start, mid, cmid = block["k_start"], block["k_mid"], block["cmid"]
            assert block["kind"] == KINDS[start > 0, mid > 0]
            assert not block["se"]
            if start:
                s_start, size = (1, size) if mid else (s, out)
                layers.append((cin, cin, start, s_start, cin, size))
            layers.append((cin, cmid, 1, 1, 1, size))
            if mid:
                layers.append((cmid, cmid, mid, s, cmid, out))
            layers.append((cmid, cout, 1, 1, 1, out))
        else:
            heads, stride, keys = block["heads"], block["kv_stride"], size // block["kv_stride"]
            layers.append((cin, heads * block["key_dim"], 1, 1, 1, size))
            for dim in (block["key_dim"], block["value_dim"]):
                if stride > 1:
                    layers.append((cin, cin, block["dw_k"], stride, cin, keys))
                layers.append((cin, dim, 1, 1, 1, keys))
            layers.append((heads * block["value_dim"], cout, 1, 1, 1, out))
        size = out
    head = row["head"]["conv_head"]
    return [*layers, (head["cin"], head["cout"], 1, 1, 1, 1)]


@pytest.mark.parametrize("name", list(NUMBERS))
def test_every_layer_is_the_published_one(name: str, shared: Callable[[str], Path]) -> None:
    row, nodes = table(name, shared), load_network(name).nodes
    layers = []
    for node in nodes:
        if node.op == "conv":
            (kernel, _), (stride, _) = node.attr("kernel"), node.attr("stride")
            x = nodes[node.inputs[0]].shape
            layers.append((x[0], node.shape[0], kernel, stride, node.attr("groups"), node.shape[1]))
            assert node.attr("padding") == ((kernel // 2, kernel // 2),) * 2  # PyTorch's, on strides too
            assert not node.attr("bias")
    assert layers == expected_layers(row)
    blocks = row["blocks"]
    assert sum(node.op == "add" for node in nodes) == sum(block["residual"] for block in blocks)
    scales = [node for node in nodes if node.op == "layer_scale"]
    assert len(scales) == sum(block.get("layer_scale", False) for block in blocks)
    assert {node.attr("initial") for node in scales} <= {1e-5}
    acts = [node.attr("fn") for node in nodes if node.op == "act"]
    assert {*acts} == {block["act"] for block in blocks if "act" in block} == {row["head"]["act"]}
    uib = sum(1 + (block["k_mid"] > 0) for block in blocks if block["type"] == "uib")
    others = sum(block["type"] in ("conv", "fused") for block in blocks)
    assert len(acts) == 2 + uib + others  # stem and head
    assert [node.attrs for node in nodes if node.op == "linear"] == [(row["head"]["fc"][1], True)]


@pytest.mark.parametrize("name", list(NUMBERS))
def test_genotypes_say_what_the_tables_say(name: str, shared: Callable[[str], Path]) -> None:
    space, architecture = network_space(name)
    genotype = space.parse(architecture)
    stages: dict[int, list[dict[str, Any]]] = {}
    for block in table(name, shared)["blocks"]:
        stages.setdefault(block["stage"], []).append(block)
    for stage, blocks in stages.items():
        if blocks[0]["type"] in ("uib", "mqa"):
            assert genotype[f"stage{stage}.layers"] == len(blocks)
        for layer, block in enumerate(blocks):
            choices = {
                key: genotype.get(f"stage{stage}.layer{layer}.{key}") for key in ("k_start", "k_mid", "expansion")
            }
            if block["type"] == "uib":
                assert choices == {"k_start": block["k_start"], "k_mid": block["k_mid"], "expansion": block["exp"]}
            elif block["type"] == "mqa":
                for key in ("heads", "key_dim", "kv_stride"):
                    assert genotype[f"stage{stage}.layer{layer}.{key}"] == block[key]


@pytest.mark.parametrize(
    ("width", "rounded"),
    [(1, 8), (8.8, 8), (11.9, 16), (12, 16), (20, 24), (28, 32), (36, 40), (44, 48), (18, 24), (17.7, 16)],
)
def test_widths_round_to_multiples_of_8_but_never_far_down(width: float, rounded: int) -> None:
    assert round_to_8(width) == rounded


def test_half_the_width_is_timms_conv_small_050() -> None:
    graph = load_network("mobilenetv4_conv_small", width=0.5)
    convolutions = [node.shape[0] for node in graph.nodes if node.op == "conv"]
    assert convolutions[:5] == [32, 16, 16, 48, 32]  # fix_stem: the stem keeps its width below a multiplier of 1
    assert convolutions[-2:] == [480, 1280]
    assert load_network("mobilenetv4_conv_small", width=1.5).nodes[1].shape[0] == 48


# -- plain PyTorch, written from the block tables ----------------------------------------------------------------------


class PlainUIB(nn.Module):
    def __init__(self, c: int, out: int, start: int, mid: int, stride: int, expand: int, act: Any, scale: bool) -> None:
        super().__init__()
        hidden = c * expand  # a multiple of 8 in all published networks
        self.skip = stride == 1 and c == out
        self.scale = nn.Parameter(torch.ones(out)) if scale else None
        layers: list[nn.Module] = []
        if start:
            s = 1 if mid else stride
            layers += [nn.Conv2d(c, c, start, s, start // 2, groups=c, bias=False), nn.BatchNorm2d(c)]
        layers += [nn.Conv2d(c, hidden, 1, bias=False), nn.BatchNorm2d(hidden), act()]
        if mid:
            layers += [nn.Conv2d(hidden, hidden, mid, stride, mid // 2, groups=hidden, bias=False)]
            layers += [nn.BatchNorm2d(hidden), act()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Values) -> Values:
        y: Values = self.layers(x)
        if self.scale is not None:
            y = torch.einsum("bchw,c->bchw", y, self.scale)
        return x + y if self.skip else y


class PlainAttention(nn.Module):
    def __init__(self, c: int, heads: int, dim: int, kv_stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c)
        self.heads, self.dim = heads, dim
        self.query = nn.Conv2d(c, heads * dim, 1, bias=False)
        self.key, self.value = self.projection(c, dim, kv_stride), self.projection(c, dim, kv_stride)
        self.out = nn.Conv2d(heads * dim, c, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(c))

    def projection(self, c: int, dim: int, stride: int) -> nn.Sequential:
        down = [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c)] if stride > 1 else []
        return nn.Sequential(*down, nn.Conv2d(c, dim, 1, bias=False))

    def forward(self, x: Values) -> Values:
        y = self.norm(x)
        q = self.query(y).unflatten(1, (self.heads, self.dim)).flatten(3).transpose(2, 3)
        k, v = (p(y).flatten(2).transpose(1, 2)[:, None].expand(-1, self.heads, -1, -1) for p in (self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v)  # scales by one over the root of the width
        y = self.out(attended.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]))
        scaled: Values = y * self.scale[:, None, None]
        return x + scaled


Block = tuple[Any, ...]  # ("conv", kernel, stride, width), ("fused", expansion, width), ("mqa", heads, dim, kv stride)


def plain_network(stem: int, blocks: list[Block], act: Any, scale: bool = False) -> nn.Sequential:
    """UIBs are (kernel before, kernel behind, stride, expansion, width)."""
    layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), act()]
    c = stem
    for block in blocks:
        match block:
            case ("conv", kernel, stride, width):
                layers += [nn.Conv2d(c, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), act()]
            case ("fused", expand, width):
                layers += [nn.Conv2d(c, c * expand, 3, 2, 1, bias=False), nn.BatchNorm2d(c * expand), act()]
                layers += [nn.Conv2d(c * expand, width, 1, bias=False), nn.BatchNorm2d(width)]
            case ("mqa", heads, dim, kv_stride):
                layers.append(PlainAttention(c, heads, dim, kv_stride))
                width = c
            case (start, mid, stride, expand, width):
                layers.append(PlainUIB(c, width, start, mid, stride, expand, act, scale))
        c = width
    layers += [nn.Conv2d(c, 960, 1, bias=False), nn.BatchNorm2d(960), act(), nn.AdaptiveAvgPool2d(1)]
    layers += [nn.Conv2d(960, 1280, 1, bias=False), nn.BatchNorm2d(1280), act(), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


A160, A256 = ("mqa", 4, 64, 2), ("mqa", 4, 64, 1)
A192, A512 = ("mqa", 8, 48, 2), ("mqa", 8, 64, 1)
PLAIN: dict[str, Callable[[], nn.Module]] = {
    "mobilenetv4_conv_small": lambda: plain_network(
        32,
        [
            *(("conv", 3, 2, 32), ("conv", 1, 1, 32), ("conv", 3, 2, 96), ("conv", 1, 1, 64)),
            *((5, 5, 2, 3, 96), *((0, 3, 1, 2, 96),) * 4, (3, 0, 1, 4, 96)),
            *((3, 3, 2, 6, 128), (5, 5, 1, 4, 128), (0, 5, 1, 4, 128), (0, 5, 1, 3, 128), *((0, 3, 1, 4, 128),) * 2),
        ],
        nn.ReLU,
    ),
    "mobilenetv4_hybrid_medium": lambda: plain_network(
        32,
        [
            *(("fused", 4, 48), (3, 5, 2, 4, 80), (3, 3, 1, 2, 80)),
            *((3, 5, 2, 6, 160), (0, 0, 1, 2, 160), (3, 3, 1, 4, 160), (3, 5, 1, 4, 160)),
            *(A160, (3, 3, 1, 4, 160), A160, (3, 0, 1, 4, 160), A160, (3, 3, 1, 4, 160), A160, (3, 0, 1, 4, 160)),
            *((5, 5, 2, 6, 256), (5, 5, 1, 4, 256), *((3, 5, 1, 4, 256),) * 2),
            *((0, 0, 1, 2, 256), (3, 5, 1, 2, 256), (0, 0, 1, 2, 256), (0, 0, 1, 4, 256)),
            *(A256, (3, 0, 1, 4, 256), A256, (5, 5, 1, 4, 256), A256, (5, 0, 1, 4, 256), A256, (5, 0, 1, 4, 256)),
        ],
        nn.ReLU,
        scale=True,
    ),
    "mobilenetv4_hybrid_large": lambda: plain_network(
        24,
        [
            *(("fused", 4, 48), (3, 5, 2, 4, 96), (3, 3, 1, 4, 96)),
            *((3, 5, 2, 4, 192), *((3, 3, 1, 4, 192),) * 3, (3, 5, 1, 4, 192), (5, 3, 1, 4, 192)),
            *((5, 3, 1, 4, 192), A192) * 4,
            *((3, 0, 1, 4, 192), (5, 5, 2, 4, 512), *((5, 5, 1, 4, 512),) * 3, (5, 0, 1, 4, 512), (5, 3, 1, 4, 512)),
            *(*((5, 0, 1, 4, 512),) * 2, (5, 3, 1, 4, 512), (5, 5, 1, 4, 512), *(A512, (5, 0, 1, 4, 512)) * 4),
        ],
        nn.GELU,
        scale=True,
    ),
}


def copied(plain: nn.Module, module: nn.Module) -> None:
    """Random values into ``plain``, and from it into ``module``, whose parameters come in the order of execution."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in [*plain.named_parameters(), *plain.named_buffers()]:
            if value.dim() > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
            elif value.is_floating_point():  # LayerScale far from its start, so that what it scales shows
                value.uniform_(0.4, 1.1, generator=generator)
                if name.endswith(("bias", "running_mean")):
                    value.sub_(0.75)
    order: list[list[Values]] = []

    def record(owner: nn.Module) -> None:
        leaf = [owner.weight, owner.bias] if not isinstance(owner, nn.BatchNorm2d) else [*owner.state_dict().values()]
        order.append([value for value in leaf if value is not None])  # type: ignore[misc]

    for owner in plain.modules():
        if isinstance(owner, PlainUIB | PlainAttention):
            owner.register_forward_hook(lambda owner, *_: None if owner.scale is None else order.append([owner.scale]))
        elif isinstance(owner, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            owner.register_forward_hook(lambda owner, *_: record(owner))
    with torch.no_grad():
        example = torch.zeros(1, 16, 4, 4) if isinstance(plain, PlainAttention) else torch.zeros(1, 3, 32, 32)
        plain(example.to(next(plain.parameters()).dtype))
    layers = module.layers.values()  # type: ignore[operator]
    assert len(order) == len(layers)
    with torch.no_grad():
        for source_layer, layer in zip(order, layers, strict=True):
            for source, target in zip(source_layer, layer.state_dict().values(), strict=True):
                assert source.shape == target.shape
                target.copy_(source)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("mobilenetv4_conv_small", 224),
        ("mobilenetv4_conv_small", 75),
        ("mobilenetv4_hybrid_medium", 96),
        ("mobilenetv4_hybrid_medium", 72),  # maps of 5 and 3 under attention
        ("mobilenetv4_hybrid_medium", 32),  # of 2 and 1
        ("mobilenetv4_hybrid_large", 65),
    ],
)
def test_networks_compute_what_plain_pytorch_does(name: str, image_size: int) -> None:
    plain = PLAIN[name]().double().eval()  # in float32, errors grow to some 1e-3 through networks of random weights
    module = to_module(load_network(name, image_size=image_size)).double().eval()
    copied(plain, module)
    x = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        expected = plain(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(module(x), expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 1), (5, 7), (8, 8)])
@pytest.mark.parametrize("kv_stride", KV_STRIDES)
def test_attention_on_odd_and_small_maps(size: tuple[int, int], kv_stride: int) -> None:
    b = Builder()
    graph = b.build(multi_query_attention(b, b.input((16, *size)), heads=4, key_dim=8, kv_stride=kv_stride))
    plain, module = PlainAttention(16, 4, 8, kv_stride).eval(), to_module(graph).eval()
    copied(plain, module)
    x = torch.randn(2, 16, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain(x), rtol=1e-4, atol=1e-5)
    keys = -(-size[0] // kv_stride) * -(-size[1] // kv_stride)
    assert macs_of(graph, "matmul") == 4 * size[0] * size[1] * keys * 16


@pytest.mark.parametrize("image_size", [32, 40, 64, 100, 224, 225])
def test_hybrids_build_at_any_size(image_size: int) -> None:
    for name in ("mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_large"):
        graph = load_network(name, image_size=image_size, num_classes=10, width=0.5)
        assert graph.output_shapes == {"logits": (10,)}


# -- the space -------------------------------------------------------------------------------------------------------


def expected_size(
    hybrid: bool,
    widths: Any = WIDTHS,
    layers: Any = LAYERS,
    kernels: Any = KERNELS,
    expansions: Any = EXPANSIONS,
) -> int:
    """All genotypes, counted by hand."""
    k, e = len(kernels), len(expansions)
    first = (k * (k + 1) + k) * e  # a kernel behind the expansion, or else one before it
    uib = (k + 1) ** 2 * e
    attention = len(ATTENTION_HEADS) * len(KEY_DIMS) * len(KV_STRIDES) if hybrid else 0

    def stage(depths: Any, other: int) -> int:
        return sum(first * other ** (n - 1) for n in depths)

    total = len(widths[0])
    total *= len(widths[1]) * k * (len(widths[1]) + e)
    total *= len(widths[2]) * (k * (len(widths[2]) + e) + stage(layers[0], uib))
    for options, depths in zip(widths[3:], layers[1:], strict=True):
        total *= len(options) * stage(depths, uib + attention)
    return total


CUT_DOWN: list[dict[str, Any]] = [
    {"layers": ((1, 2), (1, 2), (1, 2)), "kernels": (3,), "expansions": (4,)},
    {"layers": ((1,), (1, 2), (1,)), "kernels": (3,), "expansions": (4,), "hybrid": True},
    {"layers": ((1,), (1,), (1,)), "kernels": (3,), "expansions": (4, 6)},
]


@pytest.mark.parametrize("options", CUT_DOWN, ids=str)
def test_small_spaces_have_the_size_of_their_enumeration(options: dict[str, Any]) -> None:
    widths = ((32,), (48,), (80, 96), (160,), (256,))
    space = load_space("mobilenetv4", image_size=64, widths=widths, **options)
    everything = list(space.enumerate())
    assert len(everything) == len(set(everything))
    assert space.size() == len(everything) == expected_size(**{"hybrid": False, "widths": widths, **options})


def test_the_whole_space_has_the_size_counted_by_hand() -> None:
    assert load_space("mobilenetv4").size() == expected_size(False)


@pytest.mark.slow
def test_the_whole_hybrid_space_has_the_size_counted_by_hand() -> None:
    assert load_space("mobilenetv4", hybrid=True).size() == expected_size(True)


def test_the_stride_is_on_the_only_depthwise_convolution_before_the_expansion() -> None:
    space, architecture = network_space("mobilenetv4_conv_small", image_size=64)
    graph = space.graph(space.parse(architecture.replace("uir_r1_a5_k5_s2_e3", "uir_r1_a5_k0_s2_e3")))
    strided = [node.attrs[:3] for node in graph.nodes if node.op == "conv" and node.attr("stride") == (2, 2)]
    assert strided[3] == (64, (5, 5), (2, 2))


# -- timm's block strings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_strings_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    genotype = space.parse(architecture)
    assert space.format(genotype) == architecture
    assert space.parse(genotype.to_json()) == genotype


def test_conv_networks_are_in_the_hybrid_space_too() -> None:
    space, architecture = network_space("mobilenetv4_conv_medium", hybrid=True)
    scaled = space.graph(space.parse(architecture))
    published = load_network("mobilenetv4_conv_medium")
    assert sum(node.op == "layer_scale" for node in scaled.nodes) == 21
    assert len(scaled) == len(published) + 21


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stem_c32 |", "", "a stem and 5 stages, separated by '|'; .* has 5 parts"),
        ("uir_r4_a0_k3", "uir_r0_a0_k3", "cannot be 2; its options are 4, 6"),
        ("uir_r4_a0_k3", "uir_r9999_a0_k3", "repeats too often"),
        ("uir_r4_a0_k3", "uir_r4_a7_k3", "'stage2.layer1.k_start' cannot be 7; its options are 0, 3, 5"),
        ("uir_r4_a0_k3", "uir_r4_a0_kx", "'uir_r4_a0_kx_s1_e2_c96' is no block string"),
        ("uir_r4_a0_k3", "mqa_r4_k3_h4", "need the option hybrid=True"),
        ("uir_r4_a0_k3_s1_e2_c96", "uir_r4_a0_k3_s1_e2_c64", "part 3 of MobileNetV4's block strings should be"),
        ("uir_r4_a0_k3_s1", "uir_r4_a0_k3_s2", "part 3 of MobileNetV4's block strings should be"),
        ("uir_r4_a0_k3_s1_e2", "uir_r4_a0_k3_s1", "without 'e' are no MobileNetV4"),
        ("c960", "c1280", "part 5 of MobileNetV4's block strings should be"),
    ],
)
def test_strings_that_are_none_say_where(old: str, new: str, message: str) -> None:
    space, architecture = network_space("mobilenetv4_conv_small")
    assert old in architecture
    with pytest.raises(GenotypeError, match=message):
        space.parse(architecture.replace(old, new))


def test_decisions_that_lack_one_have_no_string() -> None:
    space, architecture = network_space("mobilenetv4_conv_small")
    decisions = {n: v for n, v in space.parse(architecture).items() if n != "stage2.layer1.k_mid"}
    with pytest.raises(GenotypeError, match=r"need a decision for 'stage2\.layer1\.k_mid'"):
        space.format(Genotype(decisions))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "detect"}, "no task 'detect'; there is classify"),
        ({"width": 0}, "width must be a factor above 0"),
        ({"widths": ((32,),)}, "widths needs 5 rows of options, and layers 3"),
        ({"kernels": (3, 4)}, r"kernels must be odd numbers, not \(3, 4\)"),
        ({"act": "mish"}, "no activation 'mish'"),
        ({"image_size": 16}, "stride 2 is beyond the input"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space("mobilenetv4", **options).sample(random.Random(0))


def test_yaml_lists_are_options_too() -> None:
    space = load_space("mobilenetv4", image_size=64, layers=[[2], [4], [4]], widths=[[16, 32], [32], [64], [96], [128]])
    assert isinstance(space, Space)
    assert space.sample(random.Random(0))["stem.width"] in (16, 32)
