"""Spaces written in YAML alone: the same networks as in Python, and choices named by location."""

from __future__ import annotations

import json
import random
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.cli.main import main
from search_spaces import registry
from search_spaces.blocks.catalog import BLOCKS, HEADS, load_block
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.catalog import load_space
from search_spaces.families.emo import WindowAttention, irmb
from search_spaces.families.mobilenetv4 import universal_inverted_bottleneck
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.space.genotype import GenotypeError, SpaceError
from tests.support.yaml_files import load, only_graph, write_documented_files

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "yaml.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


# -- the same networks as in Python ------------------------------------------------------------------------------------

MY_SPACE = """
name: my_space
options: {image_size: 128, num_classes: 3}
let:
  stem: {choose: [8, 16]}
stem: {block: conv_norm_act, out_channels: stem, kernel: 3, stride: 2}
stages:
  - &stage
    width: {choose: [8, 16]}
    depth: {choose: {from: 1, to: 3}}
    stride: 2
    block:
      block: inverted_bottleneck
      let: {expansion: {choose: [3, 6]}}
      expanded: in_channels * expansion
      kernel: {choose: [3, 5]}
      residual: layer > 0
  - {<<: *stage, width: {choose: [12, 24]}}
  - {<<: *stage, width: {choose: [24, 48]}, feature: true}
  - {<<: *stage, width: {choose: [48, 96]}, feature: true}
head: {block: ssdlite, num_classes: num_classes, extra_widths: [64, 64]}
"""


def test_the_readmes_space_in_yaml_makes_the_same_networks() -> None:
    (code,) = re.findall(r"```python\n(# my_space.py\n.*?)```", README, flags=re.DOTALL)
    Path("my_space.py").write_text(code)
    python, written = load_space("./my_space.py:my_space"), load(MY_SPACE)
    assert written.size() == python.size()
    assert set(written.decisions().items()) == set(python.decisions().items())
    rng = random.Random(0)
    for _ in range(200):
        genotype = python.sample(rng)
        assert nas.functional_hash(written.graph(dict(genotype))) == nas.functional_hash(python.graph(genotype))


def mobilenetv2() -> str:
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    stages = "".join(
        f"  - {{width: {c}, depth: {n}, stride: {s}, block: {{block: inverted_residual,"
        f" expanded: {'null' if t == 1 else f'in_channels * {t}'},"
        " residual: stride == 1 and in_channels == width_of_stage}}\n"
        for t, c, n, s in rows
    )
    return (
        "options: {image_size: 224, num_classes: 1000}\n"
        "stem: {block: conv_norm_act_symmetric, out_channels: 32, kernel: 3, stride: 2, act: relu6}\n"
        f"stages:\n{stages}"
        "  - {name: last, block: {block: conv_norm_act, out_channels: 1280}}\n"
        "head: {block: classifier, num_classes: num_classes}\n"
    )


def test_mobilenetv2_in_yaml_is_the_published_network() -> None:
    graph = only_graph(load(mobilenetv2()))
    assert graph.params == 3_504_872
    assert graph.output_shapes == {"logits": (1000,)}
    assert nas.functional_hash(graph) == nas.functional_hash(nas.load_network("mobilenetv2"))


def test_a_stage_of_universal_inverted_bottlenecks() -> None:
    space = load(
        "options: {image_size: 32}\nstages:\n"
        "  - width: 24\n    depth: 2\n    stride: 2\n    block:\n      block: universal_inverted_bottleneck\n"
        "      k_start: {choose: [0, 3]}\n      k_mid: '5 if layer == 0 else 0'\n      expanded: in_channels * 4\n"
        "      act: relu\n      layer_scale: false\n"
    )
    b = Builder()
    x = b.input((3, 32, 32))
    shared: dict[str, Any] = {"act": "relu", "layer_scale": False}
    x = universal_inverted_bottleneck(b, x, 24, k_start=0, k_mid=5, expanded=12, stride=2, **shared)
    x = universal_inverted_bottleneck(b, x, 24, k_start=3, k_mid=0, expanded=96, stride=1, **shared)
    graph = space.graph({"stage0.layer0.k_start": 0, "stage0.layer1.k_start": 3})
    assert nas.functional_hash(graph) == nas.functional_hash(b.build(x))


def test_a_stage_of_attention_whose_parameter_is_a_named_tuple() -> None:
    space = load(
        "options: {image_size: 16, window: 4}\nstages:\n"
        "  - stride: 2\n    width: 32\n    depth: 2\n"
        "    first: {block: conv_norm_act, kernel: 3}\n"
        "    block: {block: irmb, expanded: in_channels * 2, kernel: 3, norm: layer, act: gelu,\n"
        "      attention: {kind: {choose: [none, remote]}, head_dim: {choose: [8, 16]}, window: window}}\n"
        "head: {block: classifier, num_classes: 5}\n"
    )
    b = Builder()
    x = conv_norm_act(b, b.input((3, 16, 16)), 32, 3, 2)
    x = irmb(
        b, x, 32, expanded=64, kernel=3, stride=1, norm="layer", act="gelu", attention=WindowAttention("remote", 16, 4)
    )
    decisions = {"stage0.layer1.attention.kind": "remote", "stage0.layer1.attention.head_dim": 16}
    graph = space.graph(decisions)
    assert nas.functional_hash(graph) == nas.functional_hash(b.build({"logits": classifier(b, x, 5)}))


def test_rows_sums_and_concatenations_of_single_operations() -> None:
    space = load(
        "input: [4, 8, 8]\nstages:\n"
        "  - block:\n"
        "      - sum: [identity, [{block: conv, out_channels: in_channels, kernel: 3, padding: =3 // 2}, norm]]\n"
        "      - {block: act, fn: relu}\n"
        "      - concat: [identity, {block: pool, kind: max, kernel: [3, 3]}]\n"
        "      - {block: resize, size: [in_height * 2, in_width * 2]}\n"
    )
    b = Builder()
    x = b.input((4, 8, 8))
    x = b.act(b.add(x, b.norm(b.conv(x, 4, 3, padding=1))), "relu")
    x = b.resize(b.concat([x, b.pool(x, "max", 3)]), (16, 16))
    assert nas.functional_hash(only_graph(space)) == nas.functional_hash(b.build(x))


def test_several_heads() -> None:
    space = load(
        "options: {image_size: 32, num_classes: 4}\nstages:\n"
        "  - {width: 8, stride: 2, block: conv_norm_act, feature: true}\n"
        "  - {width: 16, stride: 2, block: conv_norm_act, feature: true}\n"
        "heads:\n"
        "  species: {block: segmentation_decoder, num_classes: num_classes, width: {choose: [8, 16]}}\n"
        "  height_cm: regressor\n"
        "  week: {block: classifier, num_classes: 11}\n"
    )
    assert space.decisions() == {"heads.species.width": (8, 16)}
    shapes = space.graph({"heads.species.width": 8}).output_shapes
    assert shapes == {"species": (4, 16, 16), "height_cm": (1,), "week": (11,)}
    one = load("options: {image_size: 8}\nstages: [{block: identity}]\nhead: regressor\n")
    assert only_graph(one).output_shapes == {"values": (1,)}


# -- choices -----------------------------------------------------------------------------------------------------------

NESTED = """
options: {image_size: 16, width: 1.0}
stages:
  - width: round8(16 * width)
    depth: {choose: [0, 1, 2]}
    SHARE
    block:
      choose:
        ibn:
          block: inverted_bottleneck
          expanded: {choose: {same: in_channels, more: {choose: [24, 32]}}}
          kernel: {choose: [3, 5], name: kernel}
        plain: {block: conv_norm_act, kernel: {choose: [3, 5], name: kernel}}
        skip: identity
"""


def layer_options(with_kernel: bool) -> int:
    kernels = 2 if with_kernel else 1
    return (1 + 2) * kernels + kernels + 1


@pytest.mark.parametrize(
    ("share", "size"),
    [
        ("", 1 + layer_options(True) + layer_options(True) ** 2),
        ("share: [kernel]", 1 + layer_options(True) + 1 + 2 * (layer_options(False) ** 2 - 1)),
        ("share: [block]", 1 + (6 + 2 + 1) + (6**2 + 2**2 + 1)),
        ("share: true", 1 + 2 * layer_options(True)),
    ],
)
def test_size_is_that_of_the_enumeration_and_of_the_closed_form(share: str, size: int) -> None:
    space = load(NESTED.replace("SHARE", share))
    listed = list(space.enumerate())
    assert space.size() == len(listed) == len(set(listed)) == size


def test_names_follow_from_the_location_and_exist_only_where_the_choice_is_made() -> None:
    space = load(NESTED.replace("SHARE", "share: [block]"))
    assert set(space.decisions()) == {
        "stage0.depth",
        "stage0.block",
        *(f"stage0.layer{i}.{name}" for i in (0, 1) for name in ("ibn.expanded", "ibn.expanded.more", "kernel")),
    }
    taken = {"stage0.depth": 1, "stage0.block": "ibn", "stage0.layer0.kernel": 3, "stage0.layer0.ibn.expanded": "same"}
    assert dict(space.parse(space.format(nas.Genotype(taken)))) == taken
    with pytest.raises(GenotypeError, match=r"makes no choice 'stage0.layer0.ibn.expanded.more' here"):
        space.graph({**taken, "stage0.layer0.ibn.expanded.more": 24})


def test_options_of_a_choice_stay_when_the_spaces_options_change() -> None:
    space = load(
        "options: {image_size: 16, width: 1.0}\nstages:\n"
        "  - width: {choose: {narrow: round8(16 * width), wide: round8(32 * width)}}\n    block: conv_norm_act\n"
    )
    widths = {
        w: [space.with_options(width=w).graph(g).output_shapes["output"][0] for g in space.enumerate()]
        for w in (1.0, 0.5)
    }
    assert widths == {1.0: [16, 32], 0.5: [8, 16]}


def test_a_text_is_plain_where_a_text_is_wanted_and_arithmetic_elsewhere() -> None:
    space = load(
        "options: {image_size: 8}\nlet:\n  hard: \"'hswish'\"\n  wide: 2 > 1\n  k: 3\nstages:\n"
        "  - block:\n      - {block: conv_norm_act, out_channels: 8, act: relu, kernel: k}\n"
        "      - {block: conv_norm_act, out_channels: 8, act: =hard}\n"
        "      - {block: conv_norm_act, out_channels: 8, act: \"='silu' if wide else hard\"}\n"
    )
    nodes = only_graph(space).nodes
    assert [n.attr("fn") for n in nodes if n.op == "act"] == ["relu", "hswish", "silu"]
    assert next(n for n in nodes if n.op == "conv").attr("kernel") == (3, 3)


def test_values_of_the_stage_are_made_once_and_known_to_its_layers() -> None:
    space = load(
        "options: {image_size: 32}\nstages:\n"
        "  - {width: 8, block: conv_norm_act}\n"
        "  - name: body\n    let: {k: {choose: [3, 5]}, twice: in_channels * 2}\n    stride: {choose: [1, 2]}\n"
        "    depth: 2\n    width: twice * stage\n"
        "    block: {block: conv_norm_act, kernel: k, groups: 'in_channels if layer == depth_of_stage - 1 else 1'}\n"
    )
    assert space.decisions() == {"body.k": (3, 5), "body.stride": (1, 2)}
    graph = space.graph({"body.k": 5, "body.stride": 2})
    convs = [(n.shape, n.attr("kernel"), n.attr("groups")) for n in graph.nodes if n.op == "conv"]
    assert convs == [((8, 32, 32), (1, 1), 1), ((16, 16, 16), (5, 5), 1), ((16, 16, 16), (5, 5), 16)]


def test_a_space_without_choices_or_head_has_one_network() -> None:
    space = load("options: {image_size: 8}\nstages: [{width: 4, depth: 2, block: conv_norm_act}]\n")
    assert space.size() == 1
    assert only_graph(space).output_shapes == {"output": (4, 8, 8)}


def test_volumes_have_their_own_input() -> None:
    space = load(
        "options: {size: 8}\ninput: [1, 4, size, size]\nstages:\n"
        "  - {width: 8, stride: [1, 2, 2], block: {block: inverted_bottleneck_3d, expanded: 16}}\n"
    )
    assert only_graph(space.with_options(size=16)).output_shapes == {"output": (8, 4, 8, 8)}


# -- blocks by name ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "head"), [*((n, False) for n in BLOCKS), *((n, True) for n in HEADS)])
def test_every_row_of_the_table_is_a_block_and_on_the_page(name: str, head: bool) -> None:
    function = load_block(name, Path(), head=head)
    assert function.features == (name in ("ssdlite", "dnin", "segmentation_decoder"))
    assert f"`{name}`" in PAGE


def test_blocks_from_modules_files_and_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("below").mkdir()
    Path("below/mine.py").write_text(
        "def thin(b, x, out_channels, act='relu'):\n    return b.act(b.conv(x, out_channels), act)\n"
        "def wrong(b, x):\n    return 3\n"
    )
    point = EntryPoint("plugged", "search_spaces.blocks.mobile:conv_norm_act", "nas.blocks")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "nas.blocks" else [])
    text = (
        "options: {image_size: 8, act: tanh}\nstages:\n  - block:\n"
        "      - {block: './mine.py:thin', out_channels: =2 * 2}\n"
        "      - {block: 'search_spaces.blocks.mobile:squeeze_excite', squeezed: 2}\n"
        "      - {block: plugged, out_channels: 6}\n"
        "      - {block: './mine.py:thin', out_channels: 5, act: =act}\n"
    )
    graph = only_graph(load(text, "below/space.yaml"))
    assert graph.output_shapes == {"output": (5, 8, 8)}
    assert [n.attr("fn") for n in graph.nodes if n.op == "act"] == ["relu", "relu", "sigmoid", "relu6", "tanh"]
    with pytest.raises(SpaceError, match=r"stages\[0\].block: './mine.py:wrong' returned no tensor"):
        only_graph(load("options: {image_size: 8}\nstages: [{block: './mine.py:wrong'}]", "below/space.yaml"))


# -- in use ------------------------------------------------------------------------------------------------------------


def test_the_pages_examples_load_and_count_as_they_should() -> None:
    write_documented_files()
    space = load_space("my_detector.yaml")
    halves = [(4 + 1) + (16 + 1) + (64 + 1)] * 3
    assert space.size() == 2 * 2 * (2 * halves[0]) * (2 * halves[1]) * (3 * halves[2]) * (2 * (1 + 2 + 1 + 1))
    narrowed = load_space("narrowed.yaml")
    assert narrowed.option("image_size") == 96
    assert narrowed.size() * 2 * halves[0] == space.size() * (5 + 17)
    for seed in range(20):
        genotype = space.sample(random.Random(seed))
        full, proxy = space.graph(genotype), space.with_options(width=0.5, image_size=96).graph(genotype)
        assert proxy.params < full.params
        assert proxy.input_shape == (3, 96, 96)


def test_the_documented_space_is_one_that_detectors_are_trained_in() -> None:
    from evaluators.tasks.catalog import network_training

    write_documented_files()
    training = network_training("digits", "detect", {"max_train_images": 8, "max_val_images": 8})
    space = load_space("my_detector.yaml").with_options(**training.proxy)
    training.check(space.graph(space.sample(random.Random(0))))


def test_a_search_in_a_yaml_file(tmp_path: Path) -> None:
    write_documented_files()
    result = nas.search("my_detector.yaml", "edgetpu", train=0, trials=30, directory=tmp_path / "runs")
    assert len(result.candidates) == 30
    assert result.front


def test_the_command_line_shows_it_and_says_what_is_wrong_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_documented_files()
    with pytest.raises(SystemExit) as ended:
        main(["spaces", "show", "my_detector.yaml", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert not ended.value.code
    assert shown["size"] == load_space("my_detector.yaml").size()
    assert shown["decisions"]["last.layer1.block"] == ["attention", "excited", "skip"]
    Path("bad.yaml").write_text("options: {image_size: 8}\nstages: [{block: conv_norm_act, width: 8, depht: 2}]")
    with pytest.raises(SystemExit) as ended:
        main(["spaces", "show", "bad.yaml"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_another_file_narrows_it() -> None:
    load(NESTED.replace("SHARE", ""), "base.yaml")
    space = load("space: base.yaml\nfixed: {stage0.depth: 1}\nonly: {stage0.layer0.block: [ibn, skip]}\n")
    assert space.size() == layer_options(True) - 2
    with pytest.raises(SpaceError, match=r"has no choice 'stage0.depht'; did you mean 'stage0.depth'"):
        load("space: base.yaml\nfixed: {stage0.depht: 1}\n")


def test_anchors_may_be_merged_in_steps() -> None:
    space = load(
        "options: {image_size: 8}\nstages:\n  - &a {width: 4, depth: 1, block: conv_norm_act}\n"
        "  - &b {<<: *a, width: 6}\n  - {<<: *b, width: 8, depth: 2}\n"
    )
    widths = [n.shape[0] for n in only_graph(space).nodes if n.op == "conv"]
    assert widths == [4, 6, 8, 8]


def test_blocks_get_tensors_as_python_gives_them() -> None:
    def network(b: Builder, x: Tensor) -> Tensor:
        return inverted_bottleneck(b, x, 8, expanded=None, kernel=3, stride=2)

    b = Builder()
    expected = b.build(network(b, b.input((3, 8, 8))))
    space = load(
        "options: {image_size: 8}\nstages:\n"
        "  - {stride: 2, width: 8, block: {block: inverted_bottleneck, expanded: null, kernel: 3}}\n"
    )
    assert nas.functional_hash(only_graph(space)) == nas.functional_hash(expected)
