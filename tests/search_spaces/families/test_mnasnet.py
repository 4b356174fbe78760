"""MnasNet against its published tables and counts, and its space."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families import mnasnet
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from tests.search_spaces.families.test_mobilenets import plain_conv
from tests.search_spaces.pytorch.test_module import on_meta
from tests.support.published_tables import (
    check_counts,
    check_layers,
    check_pytorch_constants,
    check_same_outputs,
    check_table,
    facts,
)

# Trainable parameters, running statistics, multiply-adds of convolutions and linear layers: timm 1.0.31, instantiated
# (mnasnet_100, semnasnet_100, mnasnet_small), 1000 classes at 224x224.
COUNTS = {
    "mnasnet_b1": ("MnasNet-B1", 4_383_312, 37_920, 314_415_872),
    "mnasnet_a1": ("MnasNet-A1", 3_887_038, 33_488, 311_579_072),
    "mnasnet_small": ("MnasNet-small", 2_030_264, 16_928, 68_339_184),
}


@pytest.mark.parametrize("name", list(COUNTS))
def test_counts_are_the_published_ones(name: str) -> None:
    check_counts(name, COUNTS[name])


@pytest.mark.parametrize("name", list(COUNTS))
def test_every_layer_is_the_published_one(name: str, shared: Callable[[str], Path]) -> None:
    row = facts(shared)["architectures"][COUNTS[name][0]]
    check_layers(name, COUNTS[name], row, "sigmoid")
    counted = row["counted"]
    check_pytorch_constants(load_network(name), counted["bn_eps"], counted["bn_momentum_pytorch"])


def test_b1_with_a_background_class_has_the_count_of_the_official_test(shared: Callable[[str], Path]) -> None:
    graph = load_network("mnasnet_b1", num_classes=1001)
    assert graph.params == 4_384_593  # tensorflow/models official/projects/tunas/modeling/mobile_models_test.py
    assert len(list(on_meta(graph).parameters())) == 158
    row = facts(shared)["architectures"]["MnasNet-B1 (TuNAS table)"]
    assert row["counted"]["expected_in_official_test"] == graph.params
    check_table(graph, row)


@pytest.mark.parametrize(
    ("name", "width", "params"),
    [("mnasnet_b1", 0.5, 2_218_512), ("mnasnet_a1", 0.75, 2_912_278)],  # timm's mnasnet_050, semnasnet_075
)
def test_other_widths_are_the_published_ones(name: str, width: float, params: int) -> None:
    assert load_network(name, width=width).params == params


# -- an independent implementation -----------------------------------------------------------------------------------


class PlainGate(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class PlainMBConv(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expand: int, squeezed: int) -> None:
        super().__init__()
        middle = cin * expand
        self.expand = nn.Sequential(*plain_conv(cin, middle, 1, act="RE")) if expand > 1 else nn.Identity()
        self.depthwise = nn.Sequential(*plain_conv(middle, middle, kernel, stride, middle, "RE"))
        self.gate = PlainGate(middle, squeezed) if squeezed else nn.Identity()
        self.project = nn.Sequential(*plain_conv(middle, cout, 1))
        self.skips = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return y + x if self.skips else y


def plain_a1() -> nn.Module:
    """arXiv 1807.11626, fig. 7a: expansion, kernel, width, squeeze-excite, layers, stride."""
    layers, width = plain_conv(3, 32, 3, 2, act="RE"), 32
    for expand, kernel, cout, gated, repeats, stride in [
        (1, 3, 16, False, 1, 1),
        (6, 3, 24, False, 2, 2),
        (3, 5, 40, True, 3, 2),
        (6, 3, 80, False, 4, 2),
        (6, 3, 112, True, 2, 1),
        (6, 5, 160, True, 3, 2),
        (6, 3, 320, False, 1, 1),
    ]:
        for layer in range(repeats):
            squeezed = width // 4 if gated else 0
            layers.append(PlainMBConv(width, cout, kernel, 1 if layer else stride, expand, squeezed))
            width = cout
    head = plain_conv(320, 1280, 1, act="RE")
    return nn.Sequential(*layers, *head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


def test_outputs_are_those_of_a_plain_implementation() -> None:
    for size in (64, 75):
        check_same_outputs(load_network("mnasnet_a1", image_size=size), plain_a1())


# -- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(COUNTS))
def test_published_notations_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    genotype = space.parse(architecture)
    assert space.parse(space.format(genotype)) == genotype
    assert space.format(genotype) == architecture


def test_its_size_is_the_product_of_its_blocks_choices() -> None:
    operations = 1 + 1 + 2  # a convolution, a separable one, an inverted bottleneck of either expansion
    each = operations * 2 * 3 * 2 * 4
    assert load_space("mnasnet").size() == each**7 * (2 * 3 * 3 * 3 * 3 * 3 * 2)


def one_block(text: str, **options: Any) -> Graph:
    space, architecture = network_space("mnasnet_b1", image_size=64, **options)
    return space.graph(space.parse(":".join([*architecture.split(":")[:-1], text])))


def test_widths_of_the_released_space_are_cut_to_whole_numbers() -> None:
    assert mnasnet.filter_choices(24) == (18, 24, 30)
    assert mnasnet.filter_choices(112) == (84, 112, 140)
    assert mnasnet.layer_choices(1) == (1, 2)
    assert mnasnet.layer_choices(4) == (3, 4, 5)


def test_a_skip_is_there_where_it_fits() -> None:
    sums = {
        skip: sum(node.op == "add" for node in one_block(f"ir_r2_k3_e6_c320{skip}").nodes)
        for skip in ("", "_noskip", "_avgpool", "_maxpool")
    }
    without = sums["_noskip"]
    assert sums == {"": without + 1, "_noskip": without, "_avgpool": without + 1, "_maxpool": without + 1}
    pools = [n for n in one_block("ir_r2_k3_e6_c320_maxpool").nodes if n.op == "pool"]
    assert [(n.attr("kind"), n.attr("kernel"), n.attr("stride")) for n in pools] == [("max", (3, 3), (1, 1))]
    # MnasNet-small's third block keeps its width at stride 2: only a pooling skip fits its first layer
    space, text = network_space("mnasnet_small", image_size=64)
    pooled = space.graph(space.parse(text.replace("ir_r2_k3_e6_c16", "ir_r2_k3_e6_c16_avgpool")))
    assert [n.attr("stride") for n in pooled.nodes if n.op == "pool"] == [(2, 2), (1, 1)]


def test_squeeze_and_excitation_is_a_quarter_of_the_input_for_every_operation() -> None:
    for text in ("cn_r1_k5_c320_se0.25", "ds_r1_k5_c320_se0.25", "ir_r1_k5_e3_c320_se0.25"):
        squeezes = [n for n in one_block(text).nodes if n.op == "conv" and n.attr("bias")]
        assert squeezes[0].shape[0] == 48  # of 192
        assert len(squeezes) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ir_r1_k3_e6_c320", "a MnasNet has 7 blocks joined by ':', this one 1"),
        (":".join(["ir_r1_k3_c320"] * 7), "block 1 of a MnasNet is written as in ir_r3_k5_e3_c40_se0.25"),
        (":".join(["ds_r1_k3_e6_c320"] * 7), "block 1 of a MnasNet is written"),
        (":".join(["ds_r1_k3_c16_se."] * 7), "'.' is no ratio"),
        (":".join(["ds_r1_k7_c16"] * 7), "'block1.kernel' cannot be 7"),
        (":".join(["ds_r1_k3_c17"] * 7), "'block1.filters' cannot be 17; its options are 12, 16, 20"),
    ],
)
def test_texts_that_are_no_architecture_say_why(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("mnasnet").parse(text)


def test_decisions_and_options_that_cannot_be_are_errors_that_say_so() -> None:
    with pytest.raises(GenotypeError, match=r"'block1.op' is not there"):
        load_space("mnasnet").format(Genotype({}))
    with pytest.raises(SpaceError, match="base_filters and base_layers need 7 numbers each"):
        load_space("mnasnet", base_filters=(16, 24)).sample(random.Random(0))
