"""MobileNetV2, V3 and -EdgeTPU against their published tables and counts, and the spaces around V2 and V3."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.blocks.heads import ssdlite
from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families import mobilenetv2, mobilenetv3
from search_spaces.graph.builder import Builder
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from tests.search_spaces.pytorch.test_module import on_meta
from tests.support.published_tables import (
    check_counts,
    check_layers,
    check_pytorch_constants,
    check_same_outputs,
    check_table,
    convolutions,
    facts,
)

# Trainable parameters, running statistics, multiply-adds of convolutions and linear layers: timm 1.0.31, instantiated
# (mobilenetv2_100, mobilenetv3_large_100, mobilenetv3_small_100, mobilenet_edgetpu_100), 1000 classes at 224x224.
COUNTS = {
    "mobilenetv2": ("MobileNetV2-1.0", 3_504_872, 34_112, 300_774_272),
    "mobilenetv3_large": ("MobileNetV3-Large-1.0", 5_483_032, 24_400, 216_589_760),
    "mobilenetv3_small": ("MobileNetV3-Small-1.0", 2_542_856, 12_112, 56_510_400),
    "mobilenet_edgetpu": ("MobileNet-EdgeTPU-v1-1.0", 4_091_432, 38_880, 990_669_184),
}
# SSDLite at 320x320, 90 classes and the background, counted independently from the tables of the TensorFlow zoo:
# multiply-adds, those of the backbone, trainable parameters, all variables, weights and biases of convolutions.
DETECTORS: dict[str, tuple[str, dict[str, Any], tuple[int, int], tuple[int, int, int, int, int]]] = {
    "mobilenetv3_large": (
        "MobileNetV3-Large",
        {"task": "detect", "image_size": 320, "num_classes": 90},
        (672, 480),
        (506_563_904, 369_264_000, 3_248_255, 3_281_199, 3_215_311),
    ),
    "mobilenetv2": (
        "MobileNetV2-1.0",
        {"task": "detect", "image_size": 320, "num_classes": 90},
        (576, 1280),
        (804_397_504, 611_212_800, 4_500_543, 4_551_295, 4_449_791),
    ),
    "ssdlite_mobilenet_edgetpu": (
        "MobileNet-EdgeTPU",
        {},
        (768, 192),
        (2_119_213_504, 1_994_585_600, 3_975_103, 4_024_479, 3_925_727),
    ),
}


# -- published numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(COUNTS))
def test_counts_are_the_published_ones(name: str) -> None:
    check_counts(name, COUNTS[name])


@pytest.mark.parametrize("name", list(COUNTS))
def test_every_layer_is_the_published_one(name: str, shared: Callable[[str], Path]) -> None:
    row = facts(shared)["architectures"][COUNTS[name][0]]
    check_layers(name, COUNTS[name], row, "hsigmoid")
    if name != "mobilenet_edgetpu":  # which has TensorFlow's
        counted = row["counted"]
        check_pytorch_constants(load_network(name), counted["bn_eps"], counted["bn_momentum_pytorch"])


def test_mobilenetv2_with_a_background_class_has_the_count_of_the_official_test(shared: Callable[[str], Path]) -> None:
    graph = load_network("mobilenetv2", num_classes=1001)
    assert graph.params == 3_506_153  # tensorflow/models official/projects/tunas/modeling/mobile_models_test.py
    assert len(list(on_meta(graph).parameters())) == 158
    row = facts(shared)["architectures"]["MobileNetV2 (TuNAS table)"]
    assert row["counted"]["expected_in_official_test"] == graph.params
    check_table(graph, row)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_detectors_have_the_counts_of_the_zoo(name: str, shared: Callable[[str], Path]) -> None:
    fact_name, options, taps, counts = DETECTORS[name]
    graph = load_network(name, **options)
    b = Builder()
    features = [b.input((channels, size, size)) for channels, size in zip(taps, (20, 10), strict=True)]
    head = b.build(ssdlite(b, features, num_classes=90))
    norms = sum(f.params for node, f in zip(graph.nodes, graph.node_counts(), strict=True) if node.op == "norm")
    measured = (graph.macs, graph.macs - head.macs, graph.params, graph.variables, graph.params - norms)
    assert measured == counts
    row = next(r for r in facts(shared)["ssdlite_baselines"] if r["backbone"] == fact_name)
    assert [(tap["c"], tap["hw"]) for tap in row["taps"]] == list(zip(taps, (20, 10), strict=True))
    keys = ("macs", "backbone_macs", "trainable", "all_vars", "conv_plus_bias_only")
    assert tuple(row["counted"][key] for key in keys) == counts


def test_the_published_detector_counts_two_operations_a_multiply_add_and_no_normalisation() -> None:
    _, options, _, (*_, weights) = DETECTORS["mobilenetv3_large"]
    # header of ssdlite_mobilenet_v3_large_320x320_coco.config: 3.22 M parameters, 1.02 B FLOPs
    assert weights / 1e6 == pytest.approx(3.22, abs=0.005)
    assert 2 * load_network("mobilenetv3_large", **options).macs / 1e9 == pytest.approx(1.02, abs=0.01)


def test_a_small_detector_halves_its_last_blocks() -> None:
    # tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, V3_SMALL_DETECTION: entries 9 to 12
    layers = convolutions(load_network("mobilenetv3_small", task="detect", image_size=320, num_classes=90))
    assert (288, 48, 1, 1, 1, 10) in layers
    assert (48, 288, 1, 1, 1, 10) in layers
    assert not any(576 in layer[:2] for layer in layers)


@pytest.mark.parametrize(
    ("name", "width", "params"),
    [  # timm 1.0.31, instantiated
        ("mobilenetv2", 0.5, 1_968_680),  # mobilenetv2_050
        ("mobilenetv2", 1.4, 6_108_776),  # mobilenetv2_140
        ("mobilenetv3_small", 0.5, 1_593_224),  # mobilenetv3_small_050
        ("mobilenetv3_large", 0.75, 3_993_528),  # mobilenetv3_large_075
    ],
)
def test_other_widths_are_the_published_ones(name: str, width: float, params: int) -> None:
    assert load_network(name, width=width).params == params


@pytest.mark.parametrize(
    ("width", "rounded"), [(0, 8), (8.8, 8), (11, 16), (18, 24), (88.08, 88), (90, 88), (184, 184)]
)
def test_widths_round_to_multiples_of_8_but_not_below_nine_tenths(width: float, rounded: int) -> None:
    assert mobilenetv2.make_divisible(width) == mobilenetv3.make_divisible(width) == rounded


# -- an independent implementation -----------------------------------------------------------------------------------


class PlainGate(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.shrink, self.grow = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.shrink(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.grow(y))


def plain_conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, act: str = "") -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    last = {"RE": [nn.ReLU()], "HS": [nn.Hardswish()], "R6": [nn.ReLU6()], "": []}[act]
    return [conv, nn.BatchNorm2d(cout), *last]


class PlainResidual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return x + y if x.shape == y.shape else y


def plain_block(cin: int, middle: int, cout: int, kernel: int, stride: int, squeezed: int, act: str) -> PlainResidual:
    layers = plain_conv(cin, middle, 1, act=act) if middle != cin else []
    layers += plain_conv(middle, middle, kernel, stride, middle, act)
    layers += [PlainGate(middle, squeezed)] if squeezed else []
    return PlainResidual(*layers, *plain_conv(middle, cout, 1))


def plain_mobilenetv3_small() -> nn.Module:
    """arXiv 1905.02244, table 2: kernel, expanded width, width, squeezed width, activation, stride."""
    table = [
        (3, 16, 16, 8, "RE", 2),
        (3, 72, 24, 0, "RE", 2),
        (3, 88, 24, 0, "RE", 1),
        (5, 96, 40, 24, "HS", 2),
        (5, 240, 40, 64, "HS", 1),
        (5, 240, 40, 64, "HS", 1),
        (5, 120, 48, 32, "HS", 1),
        (5, 144, 48, 40, "HS", 1),
        (5, 288, 96, 72, "HS", 2),
        (5, 576, 96, 144, "HS", 1),
        (5, 576, 96, 144, "HS", 1),
    ]
    layers, width = plain_conv(3, 16, 3, 2, act="HS"), 16
    for kernel, middle, cout, squeezed, act, stride in table:
        layers.append(plain_block(width, middle, cout, kernel, stride, squeezed, act))
        width = cout
    layers += [*plain_conv(96, 576, 1, act="HS"), nn.AdaptiveAvgPool2d(1), nn.Conv2d(576, 1024, 1), nn.Hardswish()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 1000))


def plain_mobilenetv2() -> nn.Module:
    """arXiv 1801.04381, table 2."""
    layers, width = plain_conv(3, 32, 3, 2, act="R6"), 32
    for t, c, n, s in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for layer in range(n):
            layers.append(plain_block(width, t * width, c, 3, 1 if layer else s, 0, "R6"))
            width = c
    layers += [*plain_conv(320, 1280, 1, act="R6"), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("name", "plain"), [("mobilenetv2", plain_mobilenetv2), ("mobilenetv3_small", plain_mobilenetv3_small)]
)
def test_outputs_are_those_of_a_plain_implementation(name: str, plain: Callable[[], nn.Module]) -> None:
    for size in (64, 75):
        check_same_outputs(load_network(name, image_size=size), plain())


# -- the spaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_large", "mobilenetv3_small"])
def test_published_notations_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    assert space.format(space.parse(architecture)) == architecture


def test_sizes_are_the_products_of_the_tables() -> None:
    widths = [len(mobilenetv2.width_choices(w, mobilenetv2.WIDTH_MULTIPLIERS)) for w in (32, 16, 24, 32, 64, 320)]
    assert widths == [5, 3, 4, 5, 5, 5]  # of 24, three and four quarters are both rounded to 24
    depths = 2 * 3**5 * 2  # stages of one layer cannot lose it
    assert load_space("mobilenetv2").size() == 5**6 * 4 * 3 * 3**6 * depths
    assert load_space("mobilenetv3").size() == 8 * (2 * 7 * 2 * 2) ** 14
    assert load_space("mobilenetv3", size="small").size() == 8 * (2 * 7 * 2 * 2) ** 10


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mobilenetv2", "", "is whole numbers"),
        ("mobilenetv2", "32 1,16", "the stem's width and 7 stages t,c,n"),
        ("mobilenetv2", "32 2,16,1 6,24,2 6,32,3 6,64,4 6,96,3 6,160,3 6,320,1", "stage 1 of a MobileNetV2 has"),
        ("mobilenetv2", "32 1,16,1 6,25,2 6,32,3 6,64,4 6,96,3 6,160,3 6,320,1", "'stage2.width' cannot be 25"),
        ("mobilenetv3", "k3_RE", "a large MobileNetV3 has 15 layers joined by ':', not 1"),
        ("mobilenetv3", ":".join(["k3_RE"] * 15), "stage2.layer0 of a MobileNetV3 is written as in k5_e3_SE_RE"),
        ("mobilenetv3", ":".join(["k3_RE"] + ["k3_e._RE"] * 14), "'.' is no expansion"),
        ("mobilenetv3", ":".join(["k3_RE"] + ["k3_e5_RE"] * 14), "'stage2.layer0.expansion' cannot be 5.0"),
    ],
)
def test_texts_that_are_no_architecture_say_why(name: str, text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space(name).parse(text)


def test_decisions_that_are_not_the_spaces_have_no_notation() -> None:
    for name in ("mobilenetv2", "mobilenetv3"):
        with pytest.raises(GenotypeError, match="is not there"):
            load_space(name).format(Genotype({}))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mobilenetv2", {"task": "segment"}, "no task 'segment'; there are classify and detect"),
        ("mobilenetv3", {"task": "segment"}, "no task 'segment'; there are classify and detect"),
        ("mobilenetv3", {"size": "huge"}, "no size 'huge'; there are large, small"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(name, **options).sample(random.Random(0))
