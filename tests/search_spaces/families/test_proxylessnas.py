"""ProxylessNAS against its published tables and counts, and its space."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families import proxylessnas
from search_spaces.families.proxylessnas import SKIP, op_choices
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from tests.search_spaces.pytorch.test_module import on_meta
from tests.support.published_tables import (
    activations,
    check_pytorch_constants,
    check_same_outputs,
    check_table,
    facts,
    loaded,
    tabled_activations,
)

# Trainable parameters with 1001 classes (tensorflow/models official/projects/tunas/modeling/mobile_models_test.py; GPU
# and CPU counted from the tables), M parameters and M multiply-adds with 1000 (the authors' logs/imagenet_*_log.txt).
COUNTS = {
    "proxyless_mobile": ("ProxylessNAS-Mobile", 4_081_793, 4.08, 320.4),
    "proxyless_gpu": ("ProxylessNAS-GPU", 7_121_577, 7.12, 465.3),
    "proxyless_cpu": ("ProxylessNAS-CPU", 4_363_081, 4.36, 439.2),
}


@pytest.mark.parametrize("name", list(COUNTS))
def test_counts_are_the_published_ones(name: str) -> None:
    graph = load_network(name)
    _, params, mparams, mmacs = COUNTS[name]
    assert load_network(name, num_classes=1001).params == params
    assert graph.params / 1e6 == pytest.approx(mparams, abs=0.005)
    assert graph.macs / 1e6 == pytest.approx(mmacs, abs=0.05)
    assert graph.input_shape == (3, 224, 224)
    assert graph.output_shapes == {"logits": (1000,)}


def test_the_mobile_network_has_as_many_variables_as_in_the_official_test() -> None:
    assert len(list(on_meta(load_network("proxyless_mobile", num_classes=1001)).parameters())) == 185


@pytest.mark.parametrize("name", list(COUNTS))
def test_every_layer_is_the_published_one(name: str, shared: Callable[[str], Path]) -> None:
    fact_name, params, _, _ = COUNTS[name]
    row = facts(shared)["architectures"][fact_name]
    check_table(load_network(name, num_classes=1001), row)
    space, architecture = network_space(name)
    assert [int(index) for index in architecture.split(":")] == row["op_indices"]
    assert list(space.option("filters")) == row["filters"]
    assert row["counted"]["params_trainable_1001"] == params


def test_activations_are_the_authors_or_those_of_tunas(shared: Callable[[str], Path]) -> None:
    assert set(activations(load_network("proxyless_mobile"))) == {"relu6"}
    tunas = load_network("proxyless_mobile", act="relu")
    row = facts(shared)["architectures"]["ProxylessNAS-Mobile"]
    row = {**row, "blocks": [{**block, "act": row["act"]} for block in row["blocks"]]}
    assert activations(tunas) == tabled_activations(row, "")


@pytest.mark.parametrize("name", list(COUNTS))
def test_constants_are_the_authors(name: str) -> None:
    # mit-han-lab/proxylessnas search/models/super_nets/super_proxyless.py, bn_param
    check_pytorch_constants(load_network(name), eps=1e-3, momentum=0.1)


@pytest.mark.parametrize(
    ("fact_name", "network"), [("MobileNetV2 (TuNAS table)", "mobilenetv2"), ("MnasNet-B1 (TuNAS table)", "mnasnet_b1")]
)
def test_tunas_networks_are_points_of_this_space(fact_name: str, network: str, shared: Callable[[str], Path]) -> None:
    row = facts(shared)["architectures"][fact_name]
    space = load_space("proxylessnas", filters=row["filters"], num_classes=1001)
    graph = space.graph(space.parse(":".join(map(str, row["op_indices"]))))
    check_table(graph, row)
    assert graph.params == load_network(network, num_classes=1001).params


# -- an independent implementation -----------------------------------------------------------------------------------


def plain_conv(cin: int, cout: int, kernel: int, stride: int, groups: int, act: bool) -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(cout, eps=1e-3), *([nn.ReLU6()] if act else [])]


class PlainMBConv(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, expand: int, stride: int, adds: bool) -> None:
        super().__init__()
        middle = cin * expand
        layers = plain_conv(cin, middle, 1, 1, 1, True) if expand > 1 else []
        layers += plain_conv(middle, middle, kernel, stride, middle, True)
        self.layers, self.adds = nn.Sequential(*layers, *plain_conv(middle, cout, 1, 1, 1, False)), adds

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


def plain_gpu() -> nn.Module:
    """kernel, expansion, width, stride of each layer, and whether its input is added."""
    layers, width = plain_conv(3, 40, 3, 2, 1, True), 40
    for kernel, expand, cout, stride, adds in [
        (3, 1, 24, 1, False),
        (5, 3, 32, 2, False),
        (7, 3, 56, 2, False),
        (3, 3, 56, 1, True),
        (7, 6, 112, 2, False),
        (5, 3, 112, 1, True),
        (5, 6, 128, 1, False),
        (3, 3, 128, 1, True),
        (5, 3, 128, 1, True),
        (7, 6, 256, 2, False),
        (7, 6, 256, 1, True),
        (7, 6, 256, 1, True),
        (5, 6, 256, 1, True),
        (7, 6, 432, 1, False),
    ]:
        layers.append(PlainMBConv(width, cout, kernel, expand, stride, adds))
        width = cout
    head = plain_conv(432, 1728, 1, 1, 1, True)
    return nn.Sequential(*layers, *head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1728, 1000))


def test_outputs_are_those_of_a_plain_implementation() -> None:
    for size in (64, 75):
        check_same_outputs(load_network("proxyless_gpu", image_size=size), plain_gpu())


# -- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(COUNTS))
def test_published_strings_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    assert space.format(space.parse(architecture)) == architecture


def test_blocks_layers_and_operations_are_those_of_tunas(shared: Callable[[str], Path]) -> None:
    space = loaded(shared("facts/tunas.yaml"))["spaces"]["proxylessnas_search"]
    assert list(proxylessnas.FILTERS) == space["filters"]
    macro = [(block["first_stride"], block["layers"]) for block in space["blocks"]]
    assert macro == list(proxylessnas.MACRO)
    for block in space["blocks"]:
        skippable = [SKIP in op_choices(block["block"], layer) for layer in range(block["layers"])]
        assert sum(skippable) == block["skippable"]
    assert op_choices(2, 1) == (
        *("3x3_MBConv3", "5x5_MBConv3", "7x7_MBConv3"),
        *("3x3_MBConv6", "5x5_MBConv6", "7x7_MBConv6", "skip"),
    )


def test_its_size_is_the_product_of_its_choices() -> None:
    assert load_space("proxylessnas").size() == 3 * 6**6 * 7**15


def test_which_of_equal_layers_is_skipped_does_not_matter() -> None:
    space, text = network_space("proxyless_mobile", image_size=64)
    decisions = dict(space.parse(text))
    one = space.graph(Genotype({**decisions, "block2.layer1": SKIP, "block2.layer2": "5x5_MBConv6"}))
    other = space.graph(Genotype({**decisions, "block2.layer1": "5x5_MBConv6", "block2.layer2": SKIP}))
    assert one == other


def test_width_scales_as_the_authors_code_does() -> None:
    thin, wide = (load_network("proxyless_mobile", width=width) for width in (0.5, 1.4))
    features = [next(node for node in graph.nodes if node.op == "linear") for graph in (thin, wide)]
    assert [graph.nodes[node.inputs[0]].shape for graph, node in zip((thin, wide), features, strict=True)] == [
        (1280,),
        (1792,),
    ]
    stems = [next(node.shape[0] for node in graph.nodes if node.op == "conv") for graph in (thin, wide)]
    assert stems == [16, 48]  # of 44.8: rounded down to 40 it would lose more than a tenth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:1", "a ProxylessNAS string has 22 numbers joined by ':', this one 2"),
        (":".join(["3"] * 22), "block1.layer0 of a ProxylessNAS string must be 0 to 2, not '3'"),
        (":".join(["0", "6", *["0"] * 20]), "block2.layer0 of a ProxylessNAS string must be 0 to 5, not '6'"),
        (":".join(["-1"] * 22), "must be 0 to 2, not '-1'"),
    ],
)
def test_strings_that_are_none_say_which_number(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("proxylessnas").parse(text)


def test_decisions_and_options_that_cannot_be_are_errors_that_say_so() -> None:
    with pytest.raises(GenotypeError, match=r"needs block1.layer0 from .*, not None"):
        load_space("proxylessnas").format(Genotype({}))
    with pytest.raises(SpaceError, match="filters needs 9 widths, not 2"):
        load_space("proxylessnas", filters=(32, 16)).sample(random.Random(0))
