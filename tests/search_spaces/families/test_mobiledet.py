"""MobileDet against its published numbers, and its published notation."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.blocks.heads import ssdlite_anchor_counts
from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families.mobiledet import BASE_FILTERS, FILTER_MULTIPLIERS, SKIP, filter_choices, round_to_8
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import GenotypeError, SpaceError

# Published: samples/configs/ssdlite_mobiledet_*_320x320_coco_sync_4x4.config in tensorflow/models, billions of
# multiply-adds and millions of variables. Counted: an independent count from the block tables of
# models/ssd_mobiledet_feature_extractor.py there, convolutions at 320x320, 90 classes and the background.
NUMBERS = {
    # network: (published MACs, published variables, counted MACs, counted parameters, counted variables)
    "mobiledet_cpu": (0.45, 4.21, 444_227_776, 4_165_055, 4_205_423),
    "mobiledet_dsp": (2.82, 7.16, 2_816_403_904, 7_102_079, 7_159_343),
    "mobiledet_edgetpu": (1.53, 4.20, 1_533_181_504, 4_146_543, 4_196_095),
    "mobiledet_gpu": (5.07, 13.11, 5_073_184_704, 13_069_247, 13_109_151),
}
# tensorflow/models official/projects/tunas/modeling/mobile_models_test.py
EDGETPU_STRING = "2:5:1:6:4:6:4:0:7:4:4:4:2:2:2:4:4:2:3:3:2:2:3:3:2:1:2:2:3:6:5"
CLASSIFIER_PARAMETERS = 3_177_497
WIDER_CLASSIFIER_PARAMETERS = 3_930_105


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_networks_have_their_published_numbers(name: str) -> None:
    graph = load_network(name)
    published_macs, published_variables, macs, params, variables = NUMBERS[name]
    assert (graph.macs, graph.params, graph.variables) == (macs, params, variables)
    assert graph.macs / 1e9 == pytest.approx(published_macs, abs=0.006)
    assert graph.variables / 1e6 == pytest.approx(published_variables, abs=0.005)


def test_the_classifier_of_the_published_string() -> None:
    space = load_space("mobiledet", task="classify", num_classes=1001, image_size=224)
    graph = space.graph(space.parse(EDGETPU_STRING))
    assert graph.params == CLASSIFIER_PARAMETERS
    assert graph.output_shapes == {"logits": (1001,)}


def test_the_classifier_with_other_multipliers_and_expansions() -> None:
    space = load_space(
        "mobiledet",
        task="classify",
        num_classes=1001,
        image_size=224,
        filter_multipliers=(0.5, 0.625, 0.75, 1, 2, 3, 4),
        expansions=(6, 8, 10),
    )
    assert space.graph(space.parse(EDGETPU_STRING)).params == WIDER_CLASSIFIER_PARAMETERS


def test_the_published_numbers_are_those_of_the_facts(shared: Callable[[str], Path]) -> None:
    facts = yaml.safe_load(shared("facts/mobiledets.yaml").read_text(encoding="utf-8"))
    for name, (published_macs, published_variables, macs, params, variables) in NUMBERS.items():
        row = facts["architectures"][f"MobileDet-{fact_name(name)}"]
        counted = row["counted"]
        assert counted["ssdlite_total_macs"] == macs
        assert counted["ssdlite_trainable_params"] == params
        assert counted["ssdlite_all_variables_incl_bn_moving_stats"] == variables
        assert (row["published"]["madds_G"], row["published"]["params_M"]) == (published_macs, published_variables)
    checks = {check["expected"] for check in facts["engine_checks"]}
    assert {CLASSIFIER_PARAMETERS, WIDER_CLASSIFIER_PARAMETERS} <= checks
    assert facts["search_space"]["edgetpu_arch_string"] == EDGETPU_STRING


def fact_name(name: str) -> str:
    return {"cpu": "CPU", "dsp": "DSP", "edgetpu": "EdgeTPU", "gpu": "GPU"}[name.removeprefix("mobiledet_")]


def expected_layers(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every convolution of the backbone as the block table has it: (in, out, kernel, stride, groups, height)."""
    stem = row["stem"]
    layers = [(stem["cin"], stem["cout"], stem["k"], stem["s"], 1, 160)]
    size = 160
    for block in row["blocks"]:
        cin, cout, k, s = block["cin"], block["cout"], block["k"], block["s"]
        out = size // s
        assert out == block["out_hw_at_320"]
        if block["type"] == "tucker":
            first, second = block["c_in_rank"], block["c_out_rank"]
            layers += [(cin, first, 1, 1, 1, size), (first, second, k, s, 1, out), (second, cout, 1, 1, 1, out)]
        else:
            middle = block["cmid"]
            if block["type"] == "fused":
                layers.append((cin, middle, k, s, 1, out))
            else:
                if block["type"] == "ibn":
                    layers.append((cin, middle, 1, 1, 1, size))
                layers.append((middle, middle, k, s, middle, out))
            if block["se"]:
                layers += [(middle, block["se"], 1, 1, 1, 1), (block["se"], middle, 1, 1, 1, 1)]
            layers.append((middle, cout, 1, 1, 1, out))
        size = out
    return layers


@pytest.mark.parametrize("name", list(NUMBERS))
def test_every_layer_has_its_published_width(name: str, shared: Callable[[str], Path]) -> None:
    facts = yaml.safe_load(shared("facts/mobiledets.yaml").read_text(encoding="utf-8"))
    row = facts["architectures"][f"MobileDet-{fact_name(name)}"]
    nodes = load_network(name).nodes
    layers = []
    for node in nodes:
        if node.op == "conv":
            x = nodes[node.inputs[0]].shape
            square = {*node.attr("kernel")}, {*node.attr("stride")}
            layers.append(
                (x[0], node.shape[0], *(n for axis in square for n in axis), node.attr("groups"), node.shape[1])
            )
    expected = expected_layers(row)
    assert layers[: len(expected)] == expected
    sums = [node for node in nodes if node.op == "add"]
    assert len(sums) == sum(block["residual"] for block in row["blocks"])
    activations = {block["act"] for block in row["blocks"]}
    assert activations <= {node.attr("fn") for node in nodes if node.op == "act"}
    taps = [(level["c"], level["hw"], level["hw"]) for level in row["ssd_levels"]]
    anchors = [3, 6, 6, 6, 6, 6]
    assert load_network(name).output_shapes == {
        key: value
        for i, ((_, h, w), a) in enumerate(zip(taps, anchors, strict=True))
        for key, value in ((f"box{i}", (4 * a, h, w)), (f"class{i}", (91 * a, h, w)))
    }
    assert sum(a * h * w for a, (_, h, w) in zip(anchors, taps, strict=True)) == row["num_anchor_boxes"]
    assert ssdlite_anchor_counts(6) == tuple(anchors)


def test_normalisation_is_the_published_one() -> None:
    norms = {node.attrs[:3] for node in load_network("mobiledet_dsp").nodes if node.op == "norm"}
    assert norms == {("batch", 1e-2, 0.01), ("batch", 1e-3, 0.03)}  # backbone, head


def test_widths_that_a_block_may_have() -> None:
    # tensorflow/models official/projects/tunas: multiples of 8, halves up, duplicates removed, ascending
    assert [filter_choices(base, FILTER_MULTIPLIERS) for base in BASE_FILTERS] == [
        (16, 24, 32, 40, 48, 64),
        (8, 16, 24, 32),
        (16, 24, 32, 40, 48, 64),
        (24, 32, 40, 48, 64, 72, 96),
        (48, 64, 72, 96, 120, 144, 192),
        (48, 64, 72, 96, 120, 144, 192),
        (80, 104, 120, 160, 200, 240, 320),
        (96, 120, 144, 192, 240, 288, 384),
        (96, 120, 144, 192, 240, 288, 384),
    ]


@pytest.mark.parametrize(
    ("width", "rounded"), [(0, 8), (1, 8), (11.99, 8), (12, 16), (19.9, 16), (20, 24), (28, 32), (100, 104), (60, 64)]
)
def test_widths_round_halves_up_to_multiples_of_8(width: float, rounded: int) -> None:
    assert round_to_8(width) == rounded


# -- the published string --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_strings_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    genotype = space.parse(architecture)
    assert space.format(genotype) == architecture
    assert space.parse(architecture.rpartition(":")[0]) == genotype  # a detector has no classifier width
    assert space.parse(genotype.to_json()) == genotype


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 31 numbers joined by ':', this one 1"),
        ("1:2:3", "has 31 numbers joined by ':', this one 3"),
        (EDGETPU_STRING + ":0", "has 31 numbers joined by ':', this one 32"),
        ("9" + EDGETPU_STRING[1:], "number 1 of the MobileDet string, stem.width, must be 0 to 5, not '9'"),
        ("x" + EDGETPU_STRING[1:], "number 1 of the MobileDet string, stem.width, must be 0 to 5, not 'x'"),
        ("-1" + EDGETPU_STRING[1:], "must be 0 to 5, not '-1'"),
        ("²" + EDGETPU_STRING[1:], "must be 0 to 5, not '²'"),
        ("2:8" + EDGETPU_STRING[3:], "number 2 of the MobileDet string, block1.layer0, must be 0 to 7, not '8'"),
        ("2:5:1:12" + EDGETPU_STRING[7:], "block2.layer0, must be 0 to 11, not '12'"),
        (EDGETPU_STRING[:-1] + "7", "number 31 of the MobileDet string, feature.width, must be 0 to 6, not '7'"),
    ],
)
def test_strings_that_are_none_say_which_number(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("mobiledet").parse(text)


def test_a_classifiers_string_needs_its_last_number() -> None:
    with pytest.raises(GenotypeError, match="has 31 numbers joined by ':', this one 30"):
        load_space("mobiledet", task="classify").parse(EDGETPU_STRING.rpartition(":")[0])


def test_decisions_that_are_not_the_spaces_have_no_string() -> None:
    space = load_space("mobiledet")
    decisions = dict(space.parse(EDGETPU_STRING))
    for wrong in ({**decisions, "stem.width": 17}, {n: v for n, v in decisions.items() if n != "stem.width"}):
        with pytest.raises(GenotypeError, match="needs stem"):
            space.format(wrong)  # type: ignore[arg-type]


# -- the space -------------------------------------------------------------------------------------------------------


def decided(**changes: Any) -> Graph:
    space = load_space("mobiledet", image_size=64)
    return space.graph({**space.parse(EDGETPU_STRING), **changes})


def test_a_skipped_layer_leaves_nothing() -> None:
    whole, skipped = decided(), decided(**{"block4.layer1": SKIP, "block4.layer2": SKIP})
    assert len(whole) - len(skipped) == 9 + 6  # an inverted bottleneck with its sum, a fused one with its
    again = decided(**{"block4.layer1": "fused_k3_e4", "block4.layer2": SKIP, "block4.layer3": "ibn_k3_e8"})
    assert again.digest != skipped.digest


def test_which_of_equal_layers_is_skipped_does_not_matter() -> None:
    one = decided(**{"block2.layer1": SKIP, "block2.layer2": "ibn_k3_e4", "block2.layer3": "ibn_k5_e8"})
    other = decided(**{"block2.layer1": "ibn_k3_e4", "block2.layer2": SKIP, "block2.layer3": "ibn_k5_e8"})
    assert one == other
    assert one.digest == other.digest


def test_nothing_expands_in_the_first_block_so_both_fused_kernels_are_one_projection() -> None:
    one, other = decided(**{"block1.layer0": "fused_k3_e1"}), decided(**{"block1.layer0": "fused_k5_e1"})
    assert one == other
    assert one != decided(**{"block1.layer0": "ibn_k3_e1"})


def test_squeeze_and_excitation_and_hswish_are_the_cpus() -> None:
    rng = random.Random(0)
    for target, expected in (("cpu", True), ("dsp", False), ("edgetpu", False), ("gpu", False)):
        space = load_space("mobiledet", target=target, blocks="ibn", image_size=64)
        nodes = space.graph(space.sample(rng)).nodes
        assert any(node.op == "mul" for node in nodes) is expected
        assert any(node.op == "act" and node.attr("fn") == "hswish" for node in nodes) is expected


def test_width_thins_every_layer() -> None:
    thin = load_network("mobiledet_edgetpu", width=0.5)
    whole = load_network("mobiledet_edgetpu")
    assert thin.macs < whole.macs / 2
    assert len(thin) == len(whole)
    assert all(node.shape[0] % 8 == 0 for node in thin.nodes if node.op == "norm" and node.shape[0] > 3)


@pytest.mark.parametrize("size", [32, 64, 96, 160, 320])
def test_small_images_keep_a_head_that_fits(size: int) -> None:
    shapes = load_network("mobiledet_dsp", image_size=size).output_shapes
    assert shapes["box0"][1:] == (size // 16, size // 16)
    assert max(shapes[f"box{len(shapes) // 2 - 1}"][1:]) == 1 or len(shapes) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "npu"}, "no target 'npu'; there are cpu, dsp, edgetpu, gpu"),
        ({"task": "segment"}, "no task 'segment'"),
        ({"blocks": "tucker"}, r"no block set 'tucker'; there are ibn, ibn\+fused"),
        ({"base_filters": (32, 16)}, "base_filters needs 9 widths, not 2"),
        ({"expansions": (4, 8.5)}, "expansions must be whole numbers"),
        ({"expansions": (0, 8)}, "expansions must be whole numbers"),
        ({"image_size": 8}, "stride 2 is beyond the input"),
        ({"image_size": 320.0}, "shape must be a whole number, not 320.0"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        load_space("mobiledet", **options).sample(random.Random(0))
    if "image_size" not in options:
        assert "choice" not in str(caught.value)


def test_a_bad_block_set_is_an_error_for_strings_too() -> None:
    with pytest.raises(SpaceError, match="no block set 'x'"):
        load_space("mobiledet", blocks="x").parse(EDGETPU_STRING)
