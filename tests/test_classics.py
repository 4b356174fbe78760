"""The published networks: their counts are those that their authors or other implementations state."""

from __future__ import annotations

import pytest

from search_spaces.catalog import load_network, network_space
from search_spaces.graph import Graph

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
    ],
)
def test_counts_agree_with_rounded_published_ones(
    name: str, options: dict[str, float], params_millions: float, macs_millions: float
) -> None:
    graph = load_network(name, **options)
    assert graph.params / 1e6 == pytest.approx(params_millions, rel=0.04)
    assert graph.macs / 1e6 == pytest.approx(macs_millions, rel=0.04)


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


@pytest.mark.parametrize("name", [row[0] for row in COUNTS])
def test_a_network_without_choices_is_a_space_of_one(name: str) -> None:
    space, architecture = network_space(name)
    assert space.size() == 1
    assert dict(space.parse(architecture)) == {}


@pytest.mark.parametrize("name", ["mobilenet_v1", "densenet121", "resnet50_v2", "inception_v1"])
def test_json_round_trip(name: str) -> None:
    graph = load_network(name)
    assert Graph.from_json(graph.to_json()).digest == graph.digest
