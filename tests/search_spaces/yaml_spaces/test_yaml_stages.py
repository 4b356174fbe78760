"""Spaces written in YAML alone: the same networks as in Python, choices by place, and errors that name the place."""

from __future__ import annotations

import copy
import json
import random
import re
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

import nas
from nas.cli.main import main
from search_spaces.blocks import catalog as block_table
from search_spaces.blocks.catalog import BLOCKS, HEADS, load_block
from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.catalog import load_space
from search_spaces.families.emo import WindowAttention, irmb
from search_spaces.families.mobilenetv4 import universal_inverted_bottleneck
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "yaml.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str, name: str = "space.yaml", **options: Any) -> Space:
    Path(name).write_text(text)
    return load_space(name, **options)


def only_graph(space: Space) -> nas.Graph:
    (genotype,) = space.enumerate()
    return space.graph(genotype)


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
    made = space.graph({"stage0.layer0.k_start": 0, "stage0.layer1.k_start": 3})
    assert nas.functional_hash(made) == nas.functional_hash(b.build(x))


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
    made = space.graph(decisions)
    assert nas.functional_hash(made) == nas.functional_hash(b.build({"logits": classifier(b, x, 5)}))


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


def test_names_follow_from_the_place_and_exist_only_where_the_choice_is_made() -> None:
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
    found = load_block(name, Path(), head=head)
    assert found.features == (name in ("ssdlite", "dnin", "segmentation_decoder"))
    assert f"`{name}`" in PAGE


def test_blocks_from_modules_files_and_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("below").mkdir()
    Path("below/mine.py").write_text(
        "def thin(b, x, out_channels, act='relu'):\n    return b.act(b.conv(x, out_channels), act)\n"
        "def wrong(b, x):\n    return 3\n"
    )
    point = EntryPoint("plugged", "search_spaces.blocks.mobile:conv_norm_act", "nas.blocks")
    monkeypatch.setattr(block_table, "entry_points", lambda group: [point] if group == "nas.blocks" else [])
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


def documented() -> None:
    for example in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL):
        name = re.match(r"# (\w+\.yaml)\n", example)
        assert name is not None
        Path(name[1]).write_text(example)


def test_the_pages_examples_load_and_count_as_they_should() -> None:
    documented()
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
    from evaluators.tasks.detection import DetectionTraining

    documented()
    training = DetectionTraining()
    space = load_space("my_detector.yaml").with_options(**training.proxy)
    training.check(space.graph(space.sample(random.Random(0))))


def test_a_search_in_a_yaml_file(tmp_path: Path) -> None:
    documented()
    result = nas.search("my_detector.yaml", "edgetpu", train=0, trials=30, directory=tmp_path / "runs")
    assert len(result.candidates) == 30
    assert result.front


def test_the_command_line_shows_it_and_says_what_is_wrong_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    documented()
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


# -- errors ------------------------------------------------------------------------------------------------------------

STAGE = "options: {image_size: 8, width: 1.0}\nstages: [{STAGE}]\n"
BLOCK = "options: {image_size: 8, width: 1.0}\nstages: [{width: 8, block: {block: conv_norm_act, BLOCK}}]\n"
HEAD = "options: {image_size: 8}\nstages: [{width: 8, block: conv_norm_act}]\nhead: HEAD\n"


def stage(text: str) -> str:
    return STAGE.replace("STAGE", text)


def block(text: str) -> str:
    return BLOCK.replace("BLOCK", text)


def head(text: str) -> str:
    return HEAD.replace("HEAD", text)


LOAD_ERRORS = [
    ("stages: [{block: identity}]", "space.yaml: the options need an image_size, or the file an `input`"),
    ("stages: []\noptions: {image_size: 8}", "space.yaml: stages: expected a list of stages, not []"),
    ("stages: 3\noptions: {image_size: 8}", "stages: expected a list of stages, not 3"),
    (
        "options: {image_size: 8}\nstages: [3]",
        "stages[0]: expected a mapping with name, let, width, depth, stride, first, block, share, feature, not ",
    ),
    ("space: mobiledet\nstages: []", "there is `space`, to narrow another space, or `stages`, but not both"),
    (
        "stages: []\nhaed: 3",
        "no key 'haed'; the keys are name, options, input, let, stem, stages, head, heads; did you",
    ),
    ("stages: []\n3: 3", "no key 3; the keys are"),
    ("stages: []\nname: a/b", "name: expected letters, digits, spaces and . _ + -, at most 80, not 'a/b'"),
    ("stages: []\noptions: [3]", "options: expected a mapping of names and values, not [3]"),
    ("stages: []\noptions: {min: 3}", "options: 'min' means something in arithmetic; take another name"),
    ("stages: []\noptions: {a-b: 3}", "options: 'a-b' is no name: letters, digits and _, and no digit first"),
    ("stages: []\noptions: {layer: 3}", "options: the name 'layer' is taken; take another one"),
    (
        "stages: []\noptions: {a: {choose: [3]}}",
        "options.a: an option is a plain value or a list of them; choices go under",
    ),
    (stage("block: identity}, {name: stage0, block: identity"), "stages[1].name: the name 'stage0' is taken"),
    (stage("depth: 2"), "stages[0]: the key 'block' is missing"),
    (stage("block: identity, depht: 2"), "stages[0]: no key 'depht'; the keys are name, let, width, depth"),
    (stage("block: identity, depth: two"), "stages[0].depth: no name 'two' here; known: image_size, in_channels,"),
    (
        stage("block: identity, depth: 1.5"),
        "stages[0].depth: expected a whole number, not 1.5; write round8(...), round",
    ),
    (
        stage("block: identity, depth: {choose: [1, two]}"),
        "stages[0].depth.choose[1]: expected a whole number, not 'two'",
    ),
    (stage("block: identity, depth: {choose: []}"), "stages[0].depth.choose: there are no options"),
    (stage("block: identity, depth: {choose: [1, 1]}"), "stages[0].depth.choose: one option is offered twice (1, 1.0"),
    (
        stage("block: identity, depth: {choose: 3}"),
        "expected a list of options, a range {from, to} or named alternatives",
    ),
    (stage("block: identity, depth: {choose: {from: 3, to: 1}}"), "choose: from 3 to 1 by 1 is no range of 1 to 1000"),
    (stage("block: identity, depth: {choose: {from: 1, to: a}}"), "choose.to: expected a whole number, not 'a'"),
    (
        stage("block: identity, depth: {choose: {from: 1, to: 2, by: 1}}"),
        "choose: no key 'by'; the keys are from, to, step",
    ),
    (
        stage("block: identity, depth: {choose: {true: 1}}"),
        "an alternative is called by a text or a whole number, not true",
    ),
    (stage("block: identity, depth: {choose: [{a: 1}]}"), "an option is a plain value; alternatives that are more are"),
    (
        stage("block: identity, depth: {chose: [1]}"),
        "stages[0].depth: expected a whole number or a choice, not {'chose'",
    ),
    (
        stage("block: identity, depth: {choose: [1], names: a}"),
        "depth: no key 'names'; the keys are choose, name; did you",
    ),
    (stage("block: identity, depth: {choose: [1], name: 3}"), "depth: the name of a choice is a text, not 3"),
    (stage("block: identity, depth: [1]"), "stages[0].depth: expected a whole number, not a list"),
    (stage("block: identity, width: round8(3"), "stages[0].width: 'round8(3' is no arithmetic; that is written"),
    (stage("block: identity, width: round8(4 * widht)"), "width: no name 'widht' here; did you mean 'width'? (known: "),
    (stage("block: identity, width: 2 ** 99"), "stages[0].width: an exponent of 99 is above 64"),
    (stage("block: identity, feature: 1"), "stages[0].feature: expected true or false, not 1"),
    (
        stage("block: identity, share: kernel"),
        "stages[0].share: expected true, or a list of names of choices, not 'ker",
    ),
    (
        stage("width: 8, block: {block: conv_norm_act, kernel: {choose: [1, 3]}}, share: [kernl]"),
        "stages[0].share: no choice 'kernl' in this stage; did you mean 'kernel'?",
    ),
    (stage("block: identity, share: [a]"), "stages[0].share: no choice 'a' in this stage; there are none"),
    (stage("block: identity, let: {layer: 3}"), "stages[0].let: the name 'layer' is taken"),
    (stage("block: identity, let: {width: 3}"), "stages[0].let: the name 'width' is taken"),
    (stage("block: identity, let: 3"), "stages[0].let: expected a mapping of names and values, not 3"),
    (
        stage("block: {blok: a}"),
        "stages[0].block: expected a block, a list of blocks, a choice, a sum or a concat, not {'bl",
    ),
    (stage("block: []"), "stages[0].block: expected a list of blocks, not []"),
    (stage("block: {sum: 3}"), "stages[0].block.sum: expected a list of blocks, not 3"),
    (stage("block: {block: 3}"), "stages[0].block.block: expected the name of a block, not 3"),
    (stage("block: {choose: [3]}"), "stages[0].block.choose: expected blocks by name, or names of blocks, not [3]"),
    (
        stage("block: {choose: [identity, idntity]}"),
        "choose.idntity.block: no block 'idntity'; did you mean 'identity'?",
    ),
    (stage("block: ssdlite"), "stages[0].block.block: 'ssdlite' is a head, not a block"),
    (stage("block: 'no_module:a'"), "stages[0].block.block: no module 'no_module' (in 'no_module:a'); is it installed"),
    (stage("block: './no.py:a'"), "stages[0].block.block: no file 'no.py'"),
    (stage("block: 'math:pi'"), "'math:pi' is float, not a function of a builder and a tensor"),
    (stage("block: 'math:sin'"), "'math:sin' takes (x, /); a block takes a builder and a tensor first"),
    (
        stage("block: 'search_spaces.families.leyolo:dnin'"),
        "'search_spaces.families.leyolo:dnin' takes several tensors; it may be a head",
    ),
    (
        block("kernl: 3"),
        "stages[0].block: no parameter 'kernl'; did you mean 'kernel'; its signature is conv_norm_act("
        "out_channels: int, kernel: int = 1, stride: int = 1, act: str = 'relu6', groups: int = 1,"
        " norm: Norm = Norm(eps=1e-05,"
        " momentum=0.1))",
    ),
    (block("kernel: three"), "stages[0].block.kernel: no name 'three' here"),
    (block("kernel: 3.0"), "stages[0].block.kernel: expected a whole number, not 3.0; write"),
    (block("kernel: true"), "stages[0].block.kernel: expected a whole number, not true"),
    (block("kernel: null"), "stages[0].block.kernel: expected a whole number, not null"),
    (
        block("let: {act: 3}, act: act"),
        "block.act: 'act' is a plain text here, and there is a value of that name: write",
    ),
    (block("act: 3"), "stages[0].block.act: expected a text, not 3"),
    (block("norm: {epsilon: 3}"), "stages[0].block.norm: no key 'epsilon'; the keys are eps, momentum; did you mean"),
    (block("norm: 3"), "stages[0].block.norm: expected a mapping of eps, momentum, not 3"),
    (
        block("let: {a: {choose: [1]}, a: 2}"),
        "cannot read the space file 'space.yaml': the key 'a' is there twice, line 2, column 75",
    ),
    (
        stage("block: {block: inverted_bottleneck, out_channels: 3}"),
        "stages[0].block: the parameter 'expanded' is missing; its signature is inverted_bottleneck(out_ch",
    ),
    (
        stage(
            "width: 8, block: {choose: {a: {block: conv_norm_act, kernel: {choose: [3], name: k}},"
            " b: {block: conv_norm_act, kernel: {choose: [5], name: k}}}}"
        ),
        "block.choose.b.kernel.choose: the choice 'k' has the options (3,) elsewhere in this part and (5,) here; give",
    ),
    (head("ssdlite"), "head: 'ssdlite' reads the features, and no stage has `feature: true`"),
    (head("conv_norm_act"), "head.block: 'conv_norm_act' is a block, not a head"),
    (head("clasifier"), "head.block: no head 'clasifier'; did you mean 'classifier'?"),
    (head("3"), "head: expected a mapping with a `block`, the name of a head, not 3"),
    (head("classifier"), "head: the parameter 'num_classes' is missing; its signature is classifier(num_classes: int)"),
    (
        head("{block: classifier, num_classes: 3}\nheads: {}"),
        "there is `head`, one head, or `heads`, several by name, but",
    ),
    (
        "options: {image_size: 8}\nstages: [{block: identity}]\nheads: [3]",
        "heads: expected a mapping of names and heads",
    ),
]


@pytest.mark.parametrize(("text", "message"), LOAD_ERRORS)
def test_files_that_say_something_wrong_are_errors_that_say_where(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=re.escape(message)) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    assert "space.yaml" in str(caught.value)


RUN_ERRORS = [
    (stage("block: identity, depth: 1 // (stage * 1)"), "stages[0].depth: '1 // (stage * 1)' divides by zero"),
    (
        stage("block: conv_norm_act, width: 16 * width"),
        "width: '16 * width': expected a whole number, not 16.0; write ro",
    ),
    (
        stage("block: identity, depth: in_channels - 4"),
        "stages[0].depth: -1 layers; a stage has at least 0, and a network",
    ),
    (
        stage("block: identity, depth: 10001"),
        "stages[0].depth: 10001 layers; a stage has at least 0, and a network at most",
    ),
    (
        stage("block: identity, stride: 2"),
        "stages[0].stride: a stride of 2 that no block of the first layer has; give it to",
    ),
    (stage("block: [conv_norm_act]"), None),
    (block("kernel: 99999999999"), "stages[0].block: conv: kernel must hold 2 whole number(s) up to 2147483647"),
    (block("kernel: {choose: [1, -1]}"), "(choice 'stage0.layer0.kernel' = -1 of (1, -1))"),
    (block("act: rleu"), "stages[0].block: act: no activation 'rleu'; known: relu"),
    (stage("block: {sum: [identity, {block: conv, out_channels: 4}]}"), "stages[0].block.sum: add: operands differ in"),
    (head("{block: classifier, num_classes: 0}"), "head: linear: out_features must be a whole number from 1"),
    (
        "input: [3, 0, 8]\nstages: [{block: identity}]",
        "space.yaml: input: input: shape must be at least 1 on every axis, not (3, 0, 8)",
    ),
    (
        "input: [9000000000, 9000000000]\nstages: [{block: identity}]",
        "space.yaml: input: input: shape must hold 2 whole",
    ),
]


@pytest.mark.parametrize(("text", "message"), RUN_ERRORS)
def test_networks_that_cannot_be_are_errors_that_say_where(text: str, message: str | None) -> None:
    with pytest.raises(SpaceError, match=re.escape(message or "the parameter 'out_channels' is missing")) as caught:
        load(text).check()
    assert "\n" not in str(caught.value)


def test_an_option_of_a_wrong_kind_is_an_error_where_it_is_used() -> None:
    space = load("options: {image_size: 8, width: 1.0}\nstages: [{width: round8(8 * width), block: conv_norm_act}]")
    with pytest.raises(SpaceError, match=r"stages\[0\].width: '8 \* width': \* takes numbers, not 'thin'"):
        space.with_options(width="thin").sample(random.Random(0))
    with pytest.raises(SpaceError, match="no option 'depth'; its options: image_size, width"):
        space.with_options(depth=2)


def bomb(levels: int, merge: bool) -> str:
    rows = ["a0: &a0 {k0: 1, j0: 1}" if merge else "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        aliases = ", ".join([f"*a{i - 1}"] * 9)
        rows.append(f"a{i}: &a{i} " + (f"{{<<: [{aliases}]}}" if merge else f"[{aliases}]"))
    return "\n".join(rows) + f"\nstages: *a{levels - 1}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(20, merge=False), "it holds more than 20000 values or nests more than 30 deep, aliases included"),
        (bomb(20, merge=True), "too much is merged"),
        ("stages: &a [*a]", "aliases included"),
        ("stages: &a {<<: *a}", "cannot read the space file"),
        ("stages: " + "[" * 5000, "it nests too deep"),
        ("stages: " + "[" * 40 + "]" * 40, "nests more than 30 deep"),
        ("stages: [" + "3, " * 30_000 + "]", "it holds more than 20000 values"),
        ("stages: '" + "x" * 300_000 + "'", "it has more than 200000 characters"),
        ("stages: !!python/object/apply:os.system ['true']", "could not determine a constructor for the tag"),
        ("stages: !mine 3", "could not determine a constructor for the tag"),
        ("stages: !!set {a}", "it holds a set; there are numbers, texts, true, false and null"),
        ("stages: 2024-01-01", "it holds a date"),
        ("stages: !!binary aGk=", "it holds a bytes"),
        ("stages: .inf", "it holds a number that is not finite"),
        ("stages: 99999999999999999999", "it holds a whole number beyond 64 bits"),
        ("stages: " + "9" * 5000, "cannot read the space file"),
        ("stages: [\0]", "cannot read the space file"),
        ("stages: {[1]: 2}", "cannot read the space file"),
        (stage("block: identity, width: '" + "9 ** " * 20 + "9'"), "is above 64"),
        (stage("block: identity, width: '" + "(" * 190 + "1" + ")" * 190 + "'"), None),
        (stage("block: identity, width: '" + "not " * 100 + "1'"), "nests at most 40 deep"),
        (stage("block: identity, width: '__import__(\"os\").getcwd()'"), "no function"),
        (
            stage("block: identity, let: {" + ", ".join(f"a{i}: 'a{i - 1} * a{i - 1}'" for i in range(1, 9)) + "}"),
            "no name",
        ),
        (
            stage(
                "block: identity, let: {a0: 9, " + ", ".join(f"a{i}: 'a{i - 1} * a{i - 1}'" for i in range(1, 9)) + "}"
            ),
            "no real number of at most",
        ),
        (stage("depth: 9000000, width: 8, block: conv_norm_act"), "9000000 layers"),
        (stage("depth: 900, block: [" + "identity, " * 100 + "]"), "900 layers"),
        (stage("depth: {choose: {from: 0, to: 900000000000}}, block: identity"), "is no range of 1 to 1000 numbers"),
    ],
)
def test_hostile_files_end_soon_in_one_line(text: str, message: str | None) -> None:
    started = time.perf_counter()
    if message is None:
        load(text).check()
    else:
        with pytest.raises(SpaceError, match=re.escape(message)) as caught:
            load(text).check()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000
    assert time.perf_counter() - started < 5


JUNK = [
    *(None, True, 0, 1, -1, 3, 2.5, 10**9, "", "x", "=", "=x", "3", "layer", "a b", "conv_norm_act", "identity"),
    *([], [1], ["identity"], [[]], {}, {"choose": []}, {"choose": [1, 2]}, {"choose": {}}, {"choose": {"a": 1}}),
    *({"choose": {"from": 1, "to": 2}}, {"block": "identity"}, {"sum": ["identity"]}, {1: 2}, {None: None}),
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every mapping or list in a document with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [pair for key in keys for pair in places(value[key])]


def spoilt(seed: int) -> str:
    """The page's example with something of it replaced by junk, taken away, or called otherwise."""
    rng = random.Random(seed)
    document = json.loads(json.dumps(yaml.safe_load(Path("my_detector.yaml").read_text())))  # without aliases
    for _ in range(rng.choice([1, 1, 2])):
        holder, key = rng.choice(places(document))
        what = rng.random()
        if what < 0.6 or isinstance(holder, list):
            holder[key] = copy.deepcopy(rng.choice(JUNK))
        elif what < 0.8:
            del holder[key]
        else:
            holder[rng.choice([1, "x", "choose", "let", "block", "act"])] = holder.pop(key)
    return yaml.safe_dump(document, sort_keys=False)


def spoil(seeds: range) -> tuple[int, int]:
    """How many spoilt files still make networks, and how many are refused; whatever else they raise goes through."""
    documented()
    good = bad = 0
    for seed in seeds:
        text = spoilt(seed)
        try:
            space = load(text)
            for i in range(3):
                space.sample(random.Random(i))
            good += 1
        except SpaceError as error:
            bad += 1
            lines = str(error).splitlines()
            if len(lines) != 1:
                pytest.fail(f"{len(lines)} lines for {text}")
    return good, bad


def test_spoilt_files_make_networks_or_end_in_a_space_error() -> None:
    good, bad = spoil(range(40))
    assert good > 2
    assert bad > 20


@pytest.mark.slow
def test_many_spoilt_files_make_networks_or_end_in_a_space_error() -> None:
    assert sum(spoil(range(40, 700))) == 660


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
    made = load(
        "options: {image_size: 8}\nstages:\n"
        "  - {stride: 2, width: 8, block: {block: inverted_bottleneck, expanded: null, kernel: 3}}\n"
    )
    assert nas.functional_hash(only_graph(made)) == nas.functional_hash(expected)
