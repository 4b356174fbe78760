"""EfficientNet against its published numbers, its block strings, and a plain PyTorch network written apart from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families.efficientnet import COMPOUND, round_filters
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule, to_module
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError

# Counted on timm's networks: trainable parameters, batch normalisation's running statistics, multiply-adds of
# convolutions and linear layers (squeeze-excite and classifier included) at 224 pixels and 1000 classes; exact.
COUNTED = {
    "efficientnet_b0": ("EfficientNet-B0", 5_288_548, 42_016, 385_814_752),
    "efficientnet_lite0": ("EfficientNet-Lite0", 4_652_008, 42_016, 385_187_552),
    "efficientnet_edgetpu_s": ("EfficientNet-EdgeTPU-S", 5_438_392, 51_440, 1_788_731_008),
}
# torchvision's models/efficientnet.py: parameters, and billions of multiply-adds at its resolution, to 0.001
TORCHVISION = {
    "b0": (5_288_548, 224, 0.386),
    "b1": (7_794_184, 240, 0.687),
    "b2": (9_109_994, 288, 1.088),
    "b3": (12_233_232, 300, 1.827),
    "b4": (19_341_616, 380, 4.394),
    "b5": (30_389_784, 456, 10.266),
    "b6": (43_040_704, 528, 19.068),
    "b7": (66_347_960, 600, 37.746),
}


def facts_of(shared: Callable[[str], Path], name: str) -> dict[str, Any]:
    sheet = yaml.safe_load(shared("facts/baselines.yaml").read_text(encoding="utf-8"))
    row: dict[str, Any] = sheet["architectures"][COUNTED[name][0]]
    return row


@pytest.mark.parametrize("name", list(COUNTED))
def test_counts_are_the_published_ones(name: str, shared: Callable[[str], Path]) -> None:
    graph = load_network(name)
    _, params, statistics, macs = COUNTED[name]
    assert (graph.params, graph.variables - graph.params, graph.macs) == (params, statistics, macs)
    counted = facts_of(shared, name)["counted"]
    assert (counted["params_trainable"], counted["bn_moving_stats"], counted["macs"]) == (params, statistics, macs)


@pytest.mark.parametrize("name", list(COMPOUND))
def test_compound_scaling_has_the_published_counts(name: str) -> None:
    params, size, gmacs = TORCHVISION[name]
    graph = load_network("efficientnet_b0", **COMPOUND[name])
    assert graph.params == params
    at_their_size = load_network("efficientnet_b0", **{**COMPOUND[name], "image_size": size})
    assert at_their_size.macs / 1e9 == pytest.approx(gmacs, abs=5.1e-4)


def test_compound_scaling_is_that_of_the_facts(shared: Callable[[str], Path]) -> None:
    sheet = yaml.safe_load(shared("facts/baselines.yaml").read_text(encoding="utf-8"))
    table = sheet["search_spaces"]["EfficientNet"]["width_depth_res_dropout"]
    assert {n: [o["width"], o["depth"], o["image_size"]] for n, o in COMPOUND.items()} == {
        n: row[:3] for n, row in table.items()
    }


# -- the block tables ------------------------------------------------------------------------------------------------


def expected_layers(row: dict[str, Any]) -> list[tuple[int, ...]]:
    """Every convolution as a block table has it: (in, out, kernel, stride, groups, height)."""
    stem, size = row["stem"], -(-row["input"][0] // 2)
    layers = [(stem["cin"], stem["cout"], stem["k"], stem["s"], 1, size)]
    for block in row["blocks"]:
        cin, middle, out = block["cin"], block["cmid"], block["out_hw"]
        if block["type"] == "fused":
            layers.append((cin, middle, block["k"], block["s"], 1, out))
        else:
            if block["type"] == "ibn":
                layers.append((cin, middle, 1, 1, 1, size))
            layers.append((middle, middle, block["k"], block["s"], middle, out))
        if block["se"]:
            layers += [(middle, block["se"], 1, 1, 1, 1), (block["se"], middle, 1, 1, 1, 1)]
        layers.append((middle, block["cout"], 1, 1, 1, out))
        size = out
    head = row["head"]["conv_head"]
    return [*layers, (head["cin"], head["cout"], 1, 1, 1, size)]


def made_layers(graph: Graph) -> list[tuple[int, ...]]:
    """Every convolution of a graph, as ``expected_layers`` has it."""
    layers = []
    for node in graph.nodes:
        if node.op == "conv":
            (kernel, other), (stride, _) = node.attr("kernel"), node.attr("stride")
            assert kernel == other
            cin = graph.nodes[node.inputs[0]].shape[0]
            layers.append((cin, node.shape[0], kernel, stride, node.attr("groups"), node.shape[1]))
    return layers


def check_table(graph: Graph, row: dict[str, Any]) -> None:
    """The graph is the fact sheet's block table: layers, sums, squeezes, activations, biases, classifier."""
    assert graph.input_shape == (row["input"][2], *row["input"][:2])
    assert made_layers(graph) == expected_layers(row)
    ops = [node.op for node in graph.nodes]
    assert ops.count("add") == sum(block["residual"] for block in row["blocks"])
    squeezes = sum(bool(block["se"]) for block in row["blocks"])
    assert ops.count("mul") == squeezes
    functions = [node.attr("fn") for node in graph.nodes if node.op == "act"]
    assert functions.count("sigmoid") == squeezes
    assert set(functions) - {"sigmoid"} == {row["head"]["act"]} == {block["act"] for block in row["blocks"]}
    biased = [n for n in graph.nodes if n.op == "conv" and n.attr("bias")]
    assert len(biased) == 2 * squeezes
    assert [n.attrs for n in graph.nodes if n.op == "linear"] == [(row["head"]["fc"][1], True)]


@pytest.mark.parametrize("name", list(COUNTED))
def test_every_layer_is_the_published_one(name: str, shared: Callable[[str], Path]) -> None:
    check_table(load_network(name), facts_of(shared, name))


def test_constants_are_those_of_the_tensorflow_code() -> None:
    for name in ("efficientnet_b0", "efficientnet_lite0"):
        nodes = load_network(name).nodes
        assert {node.attrs for node in nodes if node.op == "norm"} == {("batch", 1e-3, 0.01, 0)}
        stem = next(node for node in nodes if node.op == "conv")
        assert stem.attr("padding") == ((0, 1), (0, 1))  # SAME, on an even image and stride 2


@pytest.mark.parametrize(
    ("width", "rounded"),
    [(1, 8), (8.8, 8), (9, 16), (12, 16), (18, 24), (20, 24), (35.2, 32), (140, 144), (1408, 1408)],
)
def test_widths_round_as_round_filters(width: float, rounded: int) -> None:
    assert round_filters(width) == rounded


def test_lite_keeps_stem_head_and_the_layers_of_both_ends() -> None:
    graph = load_network("efficientnet_lite0", width=1.4, depth=1.8, image_size=300)  # EfficientNet-Lite4
    layers = [layer for layer in made_layers(graph) if layer[2] > 1]
    assert layers[0][1] == 32
    assert made_layers(graph)[-1][1] == 1280
    depthwise = [layer[5] for layer in layers[1:]]
    assert len(depthwise) == 1 + ceil(3.6) + ceil(3.6) + ceil(5.4) * 2 + ceil(7.2) + 1
    assert graph.params == 13_006_568  # timm's efficientnet_lite4


# -- the published notation ------------------------------------------------------------------------------------------


def test_published_strings_round_trip() -> None:
    for name in ("efficientnet_b0", "efficientnet_lite0"):
        space, text = network_space(name)
        genotype = space.parse(text)
        assert space.format(genotype) == text
        assert space.parse(genotype.to_json()) == genotype


B0_TEXT = network_space("efficientnet_b0")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 7 block strings joined by commas, this one 1"),
        (B0_TEXT + ",r1", "has 7 block strings joined by commas, this one 8"),
        (B0_TEXT.replace("r1_k3_s11", "r1_k3_t11", 1), "block string 1 .* is not like r2_k3_s22"),
        (B0_TEXT.replace("k3_s22", "k3_s11", 1), "block string 2 of the EfficientNet must have s22 and i16"),
        (B0_TEXT.replace("i24", "i32", 1), "block string 3 of the EfficientNet must have s22 and i24"),
        (B0_TEXT.replace("k3", "k7", 1), r"'stage1.kernel' cannot be 7; its options are 3, 5"),
        (B0_TEXT.replace("_se0.25", "_se0.5", 1), r"'stage1.se_ratio' cannot be 0.5"),
    ],
)
def test_strings_that_are_none_say_which_block(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("efficientnet").parse(text)


def test_decisions_that_are_not_whole_have_no_string() -> None:
    space, text = network_space("efficientnet_b0")
    decisions = {n: v for n, v in space.parse(text).items() if n != "stage3.width"}
    with pytest.raises(GenotypeError, match=r"block strings need stage3\.width"):
        space.format(Genotype(decisions))


# -- the space -------------------------------------------------------------------------------------------------------


def test_its_size_is_the_product_of_its_choices() -> None:
    whole = 1
    for layers, widths in ((2, 2), (3, 2), (3, 3), (3, 3), (3, 3), (3, 3), (2, 3)):
        whole *= 2 * 3 * 2 * layers * widths
    assert load_space("efficientnet").size() == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "detect"}, "no task 'detect'; there is classify"),
        ({"width": 0}, "width must be a factor above 0, not 0"),
        ({"depth": "deep"}, "depth must be a factor above 0, not 'deep'"),
        ({"image_size": 8}, "stride 2 is beyond the input"),
    ],
)
def test_options_that_cannot_be_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space("efficientnet", **options).sample(random.Random(0))


# -- the same network in plain PyTorch -------------------------------------------------------------------------------


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, worked out from the image as it comes."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for extent, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-extent // s) - 1) * s + k - extent, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides))


class SymmetricConv(nn.Conv2d):
    """A convolution with PyTorch's padding of half a kernel on every side."""

    def forward(self, x: Tensor) -> Tensor:
        self.padding = tuple(k // 2 for k in self.kernel_size)
        return super().forward(x)


class PlainBlock(nn.Module):
    """MBConv as arXiv 1905.11946 describes it; no expansion where the factor is 1."""

    def __init__(
        self, conv: type[nn.Conv2d], cin: int, cout: int, k: int, s: int, e: int, se: int, act: nn.Module, eps: float
    ) -> None:
        super().__init__()
        mid = cin * e
        self.act = act
        self.grow = nn.Sequential(nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid, eps), act) if e > 1 else None
        self.depthwise = conv(mid, mid, k, s, groups=mid, bias=False)
        self.norm = nn.BatchNorm2d(mid, eps)
        self.squeeze = nn.Linear(mid, se) if se else None
        self.excite = nn.Linear(se, mid) if se else None
        self.project = nn.Sequential(nn.Conv2d(mid, cout, 1, bias=False), nn.BatchNorm2d(cout, eps))
        self.skips = s == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = self.grow(x) if self.grow is not None else x
        y = self.act(self.norm(self.depthwise(y)))
        if self.squeeze is not None and self.excite is not None:
            gate = torch.sigmoid(self.excite(self.act(self.squeeze(y.mean((2, 3))))))
            y = y * gate[:, :, None, None]
        y = self.project(y)
        skipped: Tensor = x + y if self.skips else y
        return skipped


def plain_network(
    row: dict[str, Any], conv: type[nn.Conv2d], eps: float, act: nn.Module, num_classes: int
) -> nn.Sequential:
    """A fact sheet's network in plain PyTorch, layers in the order that they run in."""
    stem = row["stem"]["cout"]
    parts: list[nn.Module] = [conv(3, stem, 3, 2, bias=False), nn.BatchNorm2d(stem, eps), act]
    for block in row["blocks"]:
        sizes = (block["cin"], block["cout"], block["k"], block["s"], int(block["exp"]), block["se"])
        parts.append(PlainBlock(conv, *sizes, act, eps))
    head = row["head"]["conv_head"]
    parts += [nn.Conv2d(head["cin"], head["cout"], 1, bias=False), nn.BatchNorm2d(head["cout"], eps), act]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head["cout"], num_classes))


def copy_weights(plain: nn.Module, module: GraphModule) -> None:
    """Random weights and statistics into ``plain``, and the same into ``module``, in the order that they run in."""
    generator = torch.Generator().manual_seed(0)
    for layer in plain.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, least in ((layer.weight, 0.5), (layer.running_var, 0.5), (layer.bias, -0.5)):
                assert values is not None
                values.data.uniform_(least, least + 1, generator=generator)
            assert layer.running_mean is not None
            layer.running_mean.normal_(generator=generator)
    mine, theirs = state(module), state(plain)
    assert len(mine) == len(theirs)
    for own, value in zip(mine, theirs, strict=True):
        assert own.numel() == value.numel()
        own.data.copy_(value.detach().reshape(own.shape))


def state(module: nn.Module) -> Sequence[Tensor]:
    return [value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")]


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet_b0", 75), ("efficientnet_b0", 64), ("efficientnet_lite0", 70)]
)
def test_it_computes_what_a_plain_network_does(name: str, size: int, shared: Callable[[str], Path]) -> None:
    act = nn.ReLU6() if "lite" in name else nn.SiLU()
    plain = plain_network(facts_of(shared, name), SameConv, 1e-3, act, 10).eval()
    module = to_module(load_network(name, image_size=size, num_classes=10)).eval()
    copy_weights(plain, module)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, result = plain(x), module(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
