"""FBNet against its published tables and counts, and its space."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families import fbnet
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from tests.support.published_tables import (
    activations,
    check_pytorch_constants,
    check_same_outputs,
    check_table,
    facts,
    tabled_activations,
)

# Multiply-adds of convolutions; trainable parameters without the biases of the first and the last convolution, as the
# sheet counts them; published M FLOPs and M parameters (mobile-vision, mobile_cv/model_zoo/README.md).
COUNTS = {
    "fbnet_a": ("FBNet-A (mobile-vision)", 244_452_664, 4_319_712, 244.5, 4.3),
    "fbnet_b": ("FBNet-B (mobile-vision)", 291_004_424, 4_816_216, 291.1, 4.8),
    "fbnet_c": ("FBNet-C (mobile-vision)", 378_136_224, 5_590_784, 378.2, 5.5),
}


def feature(graph: Graph) -> tuple[int, ...]:
    """The shape of what the last pooling averages."""
    pool = next(node for node in graph.nodes if node.op == "global_pool")
    return graph.nodes[pool.inputs[0]].shape


@pytest.mark.parametrize("name", list(COUNTS))
def test_counts_are_the_published_ones(name: str) -> None:
    graph = load_network(name)
    _, macs, params, published_mflops, published_mparams = COUNTS[name]
    channels, height, width = feature(graph)
    assert graph.macs == macs
    # The code gives every convolution that does not say otherwise a bias: the first and the last too.
    assert graph.params == params + 16 + channels
    assert (graph.macs + channels * height * width) / 1e6 == pytest.approx(published_mflops, abs=0.05)
    assert graph.params / 1e6 == pytest.approx(published_mparams, abs=0.1)
    assert graph.input_shape == (3, 224, 224)
    assert graph.output_shapes == {"logits": (1000,)}


def test_the_papers_own_figure_for_b_is_a_little_higher() -> None:
    assert load_network("fbnet_b").macs / 1e6 == pytest.approx(295, rel=0.015)  # arXiv 1812.03443, abstract


@pytest.mark.parametrize("name", list(COUNTS))
def test_every_layer_is_the_published_one(name: str, shared: Callable[[str], Path]) -> None:
    fact_name, macs, params, published_mflops, published_mparams = COUNTS[name]
    row = facts(shared)["architectures"][fact_name]
    graph = load_network(name)
    check_table(graph, row)
    check_pytorch_constants(graph)
    # without an expansion a block has one activation less
    acts = tabled_activations(row, "")
    for block in row["blocks"]:
        if block["type"] == "ibn" and block["cmid"] == block["cin"]:
            acts.remove(block["act"])
    assert activations(graph) == acts
    shuffles = sum(node.op == "permute" for node in graph.nodes)
    assert shuffles == sum(bool(block["channel_shuffle"]) for block in row["blocks"])
    assert all(node.attr("bias") for node in graph.nodes if node.op == "conv")
    assert (row["counted"]["macs"], row["counted"]["params_trainable"]) == (macs, params)
    assert (row["published"]["flops_M"], row["published"]["params_M"]) == (published_mflops, published_mparams)


def test_timms_fbnet_c_is_the_same_genotype(shared: Callable[[str], Path]) -> None:
    graph = load_network("fbnet_c", implementation="timm")
    row = facts(shared)["architectures"]["FBNet-C (timm)"]
    counted = row["counted"]
    assert (graph.params, graph.macs) == (5_572_200, 384_960_160)
    assert (graph.params, graph.macs) == (counted["params_trainable"], counted["macs"])
    assert graph.variables - graph.params == counted["bn_moving_stats"]
    check_table(graph, row)
    assert activations(graph) == tabled_activations(row, "")
    check_pytorch_constants(graph, counted["bn_eps"], counted["bn_momentum_pytorch"])


# -- an independent implementation -----------------------------------------------------------------------------------


class PlainShuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return torch.stack([x[:, :half], x[:, half:]], 2).flatten(1, 2)


def plain_conv(cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups), nn.BatchNorm2d(cout)]


class PlainBlock(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, expand: int, stride: int, groups: int) -> None:
        super().__init__()
        middle = cin * expand
        layers: list[nn.Module] = [*plain_conv(cin, middle), nn.ReLU()] if expand > 1 else []
        layers += [PlainShuffle()] if groups == 2 else []
        layers += [*plain_conv(middle, middle, kernel, stride, middle), nn.ReLU()]
        self.layers = nn.Sequential(*layers, *plain_conv(middle, cout, groups=groups))
        self.adds = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x if self.adds else self.layers(x)


def plain_fbnet_a() -> nn.Module:
    """kernel, expansion, groups, width, stride; the layers that are skipped are not here."""
    layers, width = [*plain_conv(3, 16, 3, 2), nn.ReLU()], 16
    for kernel, expand, groups, cout, stride in [
        (3, 3, 1, 24, 2),
        (3, 1, 1, 24, 1),
        (5, 6, 1, 32, 2),
        (3, 3, 1, 32, 1),
        (5, 1, 1, 32, 1),
        (3, 3, 1, 32, 1),
        (5, 6, 1, 64, 2),
        (5, 3, 1, 64, 1),
        (5, 1, 2, 64, 1),
        (5, 6, 1, 64, 1),
        (3, 6, 1, 112, 1),
        (5, 1, 2, 112, 1),
        (5, 3, 1, 112, 1),
        (3, 1, 2, 112, 1),
        (5, 6, 1, 184, 2),
        (5, 6, 1, 184, 1),
        (5, 3, 1, 184, 1),
        (5, 6, 1, 184, 1),
        (5, 6, 1, 352, 1),
    ]:
        layers.append(PlainBlock(width, cout, kernel, expand, stride, groups))
        width = cout
    layers += [*plain_conv(352, 1504), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(1504, 1000, 1), nn.Flatten()]
    return nn.Sequential(*layers)


def test_outputs_are_those_of_a_plain_implementation() -> None:
    for size in (64, 75):
        check_same_outputs(load_network("fbnet_a", image_size=size), plain_fbnet_a())


# -- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(COUNTS))
def test_published_notations_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    assert space.format(space.parse(architecture)) == architecture


def test_candidates_layers_and_widths_are_the_published_ones(shared: Callable[[str], Path]) -> None:
    space = facts(shared)["search_spaces"]["FBNet"]
    assert [c.replace(" ", "_") for c in space["candidates"]] == list(fbnet.CHOICES)
    assert [width for width, layers, _ in fbnet.STAGES for _ in range(layers)] == space["out_channels"]
    assert len(load_space("fbnet").decisions()) == space["searched_layers"] == 22


def test_its_size_is_that_of_the_paper() -> None:
    assert load_space("fbnet").size() == 9**22


def test_a_skipped_layer_is_nothing_or_fits_its_input() -> None:
    space = load_space("fbnet", image_size=64)
    text = ":".join(["k3_e1", "skip", *["k3_e1"] * 20])
    convs = [node for node in space.graph(space.parse(text)).nodes if node.op == "conv"]
    fitting = next(node for node in convs if node.attr("kernel") == (1, 1) and node.attr("stride") == (2, 2))
    assert (fitting.shape, fitting.attr("bias")) == ((24, 16, 16), False)
    nothing = space.graph(space.parse(":".join(["skip", *["k3_e1"] * 21])))
    assert len(convs) - sum(node.op == "conv" for node in nothing.nodes) == 2 + 1 - 2


def test_grouped_blocks_shuffle_their_input() -> None:
    values = torch.arange(8.0).reshape(1, 8, 1, 1)
    torch.testing.assert_close(nn.functional.channel_shuffle(values, 2), PlainShuffle()(values))


@pytest.mark.parametrize(("width", "rounded"), [(8, 8), (2.5, 8), (12, 16), (19, 24), (20.9, 24), (752, 752), (92, 96)])
def test_widths_round_to_multiples_of_8_but_not_below_95_hundredths(width: float, rounded: int) -> None:
    assert fbnet.divisible_by_8(width) == rounded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k3_e1", "an FBNet has 22 blocks joined by ':', this one 1"),
        (":".join(["k7_e1"] * 22), "'stage1.layer0' cannot be 'k7_e1'; its options are 'k3_e1'"),
    ],
)
def test_texts_that_are_no_architecture_say_why(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("fbnet").parse(text)


def test_decisions_and_options_that_cannot_be_are_errors_that_say_so() -> None:
    with pytest.raises(GenotypeError, match=r"needs stage1.layer0 from .*, not None"):
        load_space("fbnet").format(Genotype({}))
    with pytest.raises(SpaceError, match="no implementation 'keras'; there are mobile-vision, timm"):
        load_space("fbnet", implementation="keras").sample(random.Random(0))
