"""The published networks: their counts are those that their authors or other implementations state."""

from __future__ import annotations

import re

import pytest

from search_spaces.catalog import load_network, network_space
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from search_spaces.space.genotype import SpaceError

# network, options, trainable parameters, multiply-adds (None: no exact figure is known)
COUNTS: list[tuple[str, dict[str, float], int, int | None]] = [
    ("mobilenet_v1", {}, 4_231_976, 568_740_352),  # Keras MobileNet, trainable; arXiv 1704.04861: 569 M
    ("mobilenet_v2", {}, 3_504_872, 300_774_272),  # timm mobilenetv2_100
    ("mobilenet_edgetpu", {}, 4_091_432, 990_669_184),  # timm mobilenet_edgetpu_100
    ("efficientnet_edgetpu_s", {}, 5_438_392, 1_788_731_008),  # timm efficientnet_es
    ("inception_v1", {}, 6_624_904, None),  # torchvision googlenet without auxiliary heads
    ("resnet50_v1", {}, 25_557_032, None),  # torchvision resnet50
    ("resnet50_v2", {}, 25_568_360, None),  # Keras ResNet50V2, trainable
    ("resnet152_v2", {}, 60_236_904, None),  # Keras ResNet152V2, trainable
    ("densenet121", {}, 7_978_856, None),  # torchvision densenet121
    ("ssdlite_mobilenet_edgetpu", {}, 3_975_103, 2_119_213_504),  # counted from the TF zoo's definition
    # torchvision 0.29
    ("alexnet", {}, 61_100_840, 714_188_480),
    ("densenet121", {}, 7_978_856, 2_834_161_664),
    ("densenet161", {}, 28_681_000, 7_727_907_072),
    ("densenet169", {}, 14_149_480, 3_359_843_328),
    ("densenet201", {}, 20_013_928, 4_291_365_888),
    ("inception_v3", {}, 23_834_568, 5_713_216_096),
    ("mnasnet_b1", {"width": 0.5}, 2_218_512, 104_455_968),
    ("mnasnet_b1", {"width": 0.75}, 3_170_208, 215_493_104),
    ("mnasnet_b1", {"width": 1.3}, 6_282_256, 526_362_432),
    ("resnet18", {}, 11_689_512, 1_814_073_344),
    ("resnet34", {}, 21_797_672, 3_663_761_408),
    ("resnet50", {}, 25_557_032, 4_089_184_256),
    ("resnet101", {}, 44_549_160, 7_801_405_440),
    ("resnet152", {}, 60_192_808, 11_513_626_624),
    ("shufflenet_v2_x0_5", {}, 1_366_792, 40_476_448),
    ("shufflenet_v2_x1_0", {}, 2_278_604, 144_907_992),
    ("shufflenet_v2_x1_5", {}, 3_503_624, 295_759_392),
    ("shufflenet_v2_x2_0", {}, 7_393_996, 583_253_464),
    ("squeezenet1_0", {}, 1_248_424, 818_924_576),
    ("squeezenet1_1", {}, 1_235_496, 349_151_936),
    ("vgg11", {}, 132_863_336, 7_609_090_048),
    ("vgg11_bn", {}, 132_868_840, 7_609_090_048),
    ("vgg13", {}, 133_047_848, 11_308_466_176),
    ("vgg13_bn", {}, 133_053_736, 11_308_466_176),
    ("vgg16", {}, 138_357_544, 15_470_264_320),
    ("vgg16_bn", {}, 138_365_992, 15_470_264_320),
    ("vgg19", {}, 143_667_240, 19_632_062_464),
    ("vgg19_bn", {}, 143_678_248, 19_632_062_464),
    # timm 1.0.31, at these sizes
    ("efficientnet_edgetpu_m", {}, 6_899_496, 3_013_321_088),
    ("efficientnet_edgetpu_l", {}, 10_589_712, 7_936_082_848),
    ("efficientnet_lite1", {}, 5_416_680, 600_185_232),
    ("efficientnet_lite2", {}, 6_092_072, 859_736_272),
    ("efficientnet_lite3", {"image_size": 300}, 8_197_096, 1_607_554_544),
    ("efficientnet_lite4", {"image_size": 380}, 13_006_568, 3_943_564_112),
    ("inception_resnet_v2", {}, 55_843_464, 13_155_794_016),
    ("inception_v4", {}, 42_679_816, 12_253_974_624),
    ("mobilenet_edgetpu_v2_s", {}, 5_986_456, 1_198_002_688),
    ("mobilenet_edgetpu_v2_m", {}, 8_462_888, 1_835_637_440),
    ("mobilenet_edgetpu_v2_l", {}, 10_921_640, 2_530_786_432),
    ("mobilenetv3_large_minimal", {}, 3_924_288, 209_136_704),
    ("mobilenetv3_small_minimal", {}, 2_044_736, 52_288_448),
    # Keras 3.15, trainable
    ("mobilenet_v1", {"width": 0.25}, 470_072, None),
    ("mobilenet_v1", {"width": 0.5}, 1_331_592, None),
    ("mobilenet_v1", {"width": 0.75}, 2_585_560, None),
    ("mobilenet_v2", {"width": 0.35}, 1_677_128, None),
    ("mobilenet_v2", {"width": 0.5}, 1_968_680, None),
    ("mobilenet_v2", {"width": 0.75}, 2_636_424, None),
    ("mobilenet_v2", {"width": 1.3}, 5_386_792, None),
    ("mobilenet_v2", {"width": 1.4}, 6_108_776, None),
    ("mobilenetv3_large", {"width": 0.75}, 3_993_528, 154_560_624),
    ("nasnet_large", {}, 88_753_150, None),
    ("nasnet_mobile", {}, 5_289_978, None),
    ("resnet101_v2", {}, 44_577_896, None),
]


@pytest.mark.parametrize(("name", "options", "params", "macs"), COUNTS)
def test_counts_are_the_published_ones(name: str, options: dict[str, float], params: int, macs: int | None) -> None:
    graph = load_network(name, **options)
    assert graph.params == params
    assert macs is None or graph.macs == macs


@pytest.mark.parametrize(
    ("name", "options", "params_millions", "macs_millions"),
    [
        ("mobilenet_edgetpu", {"width": 0.75}, 2.9, 624),  # slim's README: 2.9 M, 624 M
        ("mobilenet_v1_ssd", {}, 6.8, 1200),  # arXiv 1704.04861, table 13: 6.8 M, 1.2 G at 300
        ("inception_v1", {}, 6.6, 1500),  # arXiv 1409.4842 and torchvision: 1.5 G
        ("resnet50_v1", {}, 25.6, 3800),  # arXiv 1512.03385, table 1: 3.8 G
        ("densenet121", {}, 8.0, 2850),  # arXiv 1608.06993: 5.7 G FLOPs, two a multiply-add
        # arXiv 1704.04861, tables 6 and 7
        ("mobilenet_v1", {"width": 0.75}, 2.6, 325),
        ("mobilenet_v1", {"width": 0.5}, 1.3, 149),
        ("mobilenet_v1", {"width": 0.25}, 0.47, 41),
        ("mobilenet_v1", {"image_size": 192}, 4.2, 418),
        ("mobilenet_v1", {"image_size": 160}, 4.2, 290),
        ("mobilenet_v1", {"image_size": 128}, 4.2, 186),
        # slim's README
        ("mobilenet_v2", {"width": 1.4}, 6.06, 582),
        ("mobilenet_v2", {"width": 1.3}, 5.34, 509),
        ("mobilenet_v2", {"width": 0.75, "image_size": 160}, 2.61, 107),
        ("mobilenet_v2", {"width": 0.5, "image_size": 192}, 1.95, 71),
        ("mobilenet_v2", {"width": 0.35, "image_size": 192}, 1.66, 43),
        ("nasnet_mobile", {}, 5.3, 564),  # arXiv 1707.07012, table 3
        ("nasnet_large", {}, 88.9, 23800),  # the same, table 2
    ],
)
def test_counts_agree_with_rounded_published_ones(
    name: str, options: dict[str, float], params_millions: float, macs_millions: float
) -> None:
    graph = load_network(name, **options)
    assert graph.params / 1e6 == pytest.approx(params_millions, rel=0.04)
    assert graph.macs / 1e6 == pytest.approx(macs_millions, rel=0.04)


@pytest.mark.parametrize(
    ("name", "variables"),
    [("inception_v1", 5_607_184), ("inception_v2", 10_173_112), ("inception_v3", 21_802_784)],
)
def test_inception_has_the_variables_of_slims_tests(name: str, variables: int) -> None:
    graph = load_network(name)
    channels = sum(node.shape[0] for node in graph.nodes if node.op == "norm")
    width = next(node.shape[0] for node in reversed(graph.nodes) if node.op == "global_pool")
    # There: moving statistics too, no scale, no classifier
    assert graph.params + channels - (width + 1) * 1000 == variables


def test_the_smallest_edgetpu_v2_have_the_stem_of_their_own_file() -> None:
    wider_stem = 3 * 32 * (5 * 5 - 3 * 3)  # timm's is 3x3
    assert load_network("mobilenet_edgetpu_v2_xs").params == 4_459_880 + wider_stem
    assert load_network("mobilenet_edgetpu_v2_tiny").params < load_network("mobilenet_edgetpu_v2_xs").params


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("resnet50", {"depth": 51}, "no depth 51; there are 18, 34, 50, 101, 152"),
        ("resnet50_v2", {"depth": 18}, "Keras has depths 50, 101 and 152, not 18"),
        ("densenet121", {"depth": 1}, "no depth 1"),
        ("vgg16", {"depth": 12}, "no depth 12"),
        ("vgg16", {"image_size": 200}, "a map of a multiple of 7 positions"),
        ("squeezenet1_0", {"version": "2"}, "no version '2'"),
        ("shufflenet_v2_x1_0", {"width": "x3"}, "no width 'x3'"),
        ("nasnet_mobile", {"size": "tiny"}, "no size 'tiny'"),
        ("mobilenet_edgetpu_v2_s", {"size": "xxl"}, "no size 'xxl'"),
        ("mobilenetv3_large_minimal", {"size": "tiny"}, "no size 'tiny'"),
    ],
)
def test_sizes_that_there_are_not_are_explained(network: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(SpaceError, match=re.escape(message)):
        load_network(network, **options)


def test_squeezenets_pooling_reaches_over_the_border() -> None:
    pools = [n.shape[1:] for n in load_network("squeezenet1_0").nodes if n.op == "pool"]
    assert pools == [(54, 54), (27, 27), (13, 13)]  # torchvision, ceil_mode


def test_a_shuffle_moves_channels_between_the_halves() -> None:
    permutes = [n for n in load_network("shufflenet_v2_x1_0").nodes if n.op == "permute"]
    assert len(permutes) == 16
    assert {n.shape[1] for n in permutes} == {2}


@pytest.mark.parametrize("name", ["mobilenet_v1_ssd", "mobilenet_v2_ssd", "ssdlite_mobilenet_edgetpu"])
def test_detectors_have_six_levels_and_the_known_anchors(name: str) -> None:
    graph = load_network(name)
    shapes = graph.output_shapes
    boxes = [shape for output, shape in shapes.items() if output.startswith("box")]
    anchors = sum(channels // 4 * height * width for channels, height, width in boxes)
    assert len(boxes) == 6
    assert anchors == (1917 if graph.input_shape[1] == 300 else 2034)
    assert sum(c * h * w for o, (c, h, w) in shapes.items() if o.startswith("class")) == anchors * 91


@pytest.mark.parametrize("name", ["mobilenet_v1_ssd", "mobilenet_v2_ssd"])
def test_detectors_end_early_on_small_images(name: str) -> None:
    assert len(load_network(name, image_size=96).outputs) < 12


@pytest.mark.parametrize(
    "name", [name for name in sorted({row[0] for row in COUNTS}) if "classics" in networks()[name].space]
)
def test_a_network_without_choices_is_a_space_of_one(name: str) -> None:
    space, architecture = network_space(name)
    assert space.size() == 1
    assert dict(space.parse(architecture)) == {}


@pytest.mark.parametrize(
    "name", ["mobilenet_v1", "densenet121", "resnet50_v2", "inception_v1", "shufflenet_v2_x1_0", "nasnet_mobile"]
)
def test_json_round_trip(name: str) -> None:
    graph = load_network(name)
    assert graph_from_json(graph.to_json()).digest == graph.digest
