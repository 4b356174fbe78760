"""TinyNet against its published numbers, and a plain PyTorch network written apart from it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families import tinynet
from search_spaces.families.tinynet import DEPTHS, RESOLUTIONS, WIDTHS, round_channels, round_layers, scaled_tinynet
from search_spaces.pytorch.module import to_module
from search_spaces.space.genotype import SpaceError
from tests.search_spaces.families.test_efficientnet import (
    SymmetricConv,
    check_table,
    copy_weights,
    made_layers,
    plain_network,
)

# Published: tinynet_pytorch/readme.md, millions of FLOPs, which are multiply-adds. Counted on timm's networks, exact:
# trainable parameters, batch normalisation's running statistics, multiply-adds of convolutions and linear layers.
NUMBERS = {
    "tinynet_a": (339, 6_187_972, 52_000, 336_867_712),
    "tinynet_b": (202, 3_730_562, 33_328, 200_709_360),
    "tinynet_c": (100, 2_457_234, 21_552, 99_536_432),
    "tinynet_d": (52, 2_338_446, 17_808, 51_580_656),
    "tinynet_e": (24, 2_042_972, 14_240, 24_356_848),
}


@pytest.fixture(scope="session")
def facts(shared: Callable[[str], Path]) -> dict[str, Any]:
    sheet: dict[str, Any] = yaml.safe_load(shared("facts/tinynet.yaml").read_text(encoding="utf-8"))
    return sheet


def row_of(facts: dict[str, Any], name: str) -> dict[str, Any]:
    row: dict[str, Any] = facts["architectures"][f"TinyNet-{name[-1].upper()}"]
    return row


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_networks_have_their_published_numbers(name: str) -> None:
    published, params, statistics, macs = NUMBERS[name]
    graph = load_network(name)
    assert (graph.params, graph.variables - graph.params, graph.macs) == (params, statistics, macs)
    # 0.6 % apart for A and B, within half a million for the others: the paper's counter is not known
    assert graph.macs / 1e6 == pytest.approx(published, rel=0.0065, abs=0.5)


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_networks_are_those_of_the_facts(name: str, facts: dict[str, Any]) -> None:
    row, graph = row_of(facts, name), load_network(name)
    counted = row["counted"]
    assert (counted["params_trainable"], counted["bn_moving_stats"], counted["macs"]) == NUMBERS[name][1:]
    assert row["published"][0]["value"] == NUMBERS[name][0]
    check_table(graph, row)
    space, text = network_space(name)
    decisions = dict(space.parse(text))
    assert decisions == {
        "resolution": row["multipliers"]["r"],
        "depth": row["multipliers"]["d"],
        "width": row["multipliers"]["w"],
    }
    assert graph.input_shape[1] == int(224 * row["multipliers"]["r"]) == row["resolution"]
    assert [round_layers(s.layers * row["multipliers"]["d"]) for s in tinynet.STAGES] == row["repeats"]
    assert [round_channels(s.width * row["multipliers"]["w"]) for s in tinynet.STAGES] == row["stage_channels"]


def test_multipliers_of_one_are_efficientnet_b0(facts: dict[str, Any]) -> None:
    graph, row = scaled_tinynet(1, 1, 1), facts["baseline_efficientnet_b0"]
    check_table(graph, row)
    assert (graph.params, graph.macs) == (row["counted"]["params_trainable"], row["counted"]["macs"])
    assert (graph.params, graph.macs) == (5_288_548, 385_814_752)
    assert graph.macs / 1e6 == pytest.approx(387, rel=0.0065)  # published
    theirs = load_network("efficientnet_b0")
    assert made_layers(graph) == made_layers(theirs)
    assert graph != theirs  # padding and normalisation are PyTorch's


def test_constants_are_those_of_the_pytorch_code() -> None:
    nodes = load_network("tinynet_b").nodes
    assert {node.attrs for node in nodes if node.op == "norm"} == {("batch", 1e-5, 0.1, 0)}
    for node in nodes:
        if node.op == "conv":
            assert set(node.attr("padding")) == {(k // 2,) * 2 for k in node.attr("kernel")}


@pytest.mark.parametrize(
    ("layers", "rounded"), [(0.4, 1), (0.5, 1), (1.5, 2), (2.4, 2), (2.5, 2), (2.55, 3), (3.5, 4), (4.8, 5)]
)
def test_layers_round_halves_to_even_and_never_to_none(layers: float, rounded: int) -> None:
    assert round_layers(layers) == rounded


@pytest.mark.parametrize(("width", "rounded"), [(3, 8), (8.64, 8), (8.96, 16), (12.24, 16), (60, 64), (172.8, 176)])
def test_widths_lose_no_more_than_a_tenth(width: float, rounded: int) -> None:
    assert round_channels(width) == rounded


# -- the space -------------------------------------------------------------------------------------------------------


def test_its_size_is_the_product_of_its_multipliers() -> None:
    assert load_space("tinynet").size() == len(RESOLUTIONS) * len(DEPTHS) * len(WIDTHS)
    assert load_space("tinynet", resolutions=(0.2, 0.3), depths=[0.5, 1.2, 1.4], widths=(0.3, 0.5)).size() == 12


def test_the_image_size_overrides_the_chosen_resolution() -> None:
    space = load_space("tinynet")
    high, low = ({"resolution": r, "depth": 0.85, "width": 0.54} for r in (1.2, 0.4))
    assert [space.graph(g).input_shape[1] for g in (high, low)] == [int(224 * 1.2), int(224 * 0.4)]
    small = space.with_options(image_size=64)
    assert small.graph(high) == small.graph(low)
    assert small.graph(high).input_shape == (3, 64, 64)


def test_the_width_multiplies_the_chosen_one() -> None:
    half = load_network("tinynet_a", width=0.54)  # a chosen width of 1.0
    other = scaled_tinynet(0.86, 1.2, 0.54)
    assert half == other
    assert made_layers(half)[0][1] == 32
    assert made_layers(half)[-1][1] == 1280
    assert made_layers(load_network("tinynet_a", width=1.2))[-1][1] == 1536


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "detect"}, "no task 'detect'; there is classify"),
        ({"width": 0}, "width must be a factor above 0, not 0"),
        ({"width": "wide"}, "width must be a factor above 0, not 'wide'"),
        ({"depths": (0.0,)}, "depth must be a factor above 0, not 0.0"),
        ({"resolutions": (0.05,)}, "stride 2 is beyond the input"),
    ],
)
def test_options_that_cannot_be_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space("tinynet", **options).sample(random.Random(0))


@pytest.mark.parametrize(("name", "size"), [("tinynet_a", 64), ("tinynet_c", 75), ("tinynet_e", None)])
def test_it_computes_what_a_plain_network_does(name: str, size: int | None, facts: dict[str, Any]) -> None:
    plain = plain_network(row_of(facts, name), SymmetricConv, 1e-5, nn.SiLU(), 10).eval()
    graph = load_network(name, image_size=size, num_classes=10)
    module = to_module(graph).eval()
    copy_weights(plain, module)
    x = torch.randn(2, *graph.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, result = plain(x), module(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
