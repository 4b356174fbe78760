"""YAML files that are wrong, hostile or spoilt: one line that says where, soon."""

from __future__ import annotations

import copy
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.space.genotype import SpaceError
from tests.support.yaml_files import load, write_documented_files

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


# From 6.0.4 on PyYAML merges every pair once, so that nothing explodes, and the reader goes on to the file's keys.
MERGES_ONCE = tuple(map(int, yaml.__version__.split(".")[:3])) >= (6, 0, 4)
MERGE_BOMB_MESSAGE = "no key 'a0'" if MERGES_ONCE else "too much is merged"


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
        (bomb(20, merge=True), MERGE_BOMB_MESSAGE),
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
    started = time.process_time()
    if message is None:
        load(text).check()
    else:
        with pytest.raises(SpaceError, match=re.escape(message)) as caught:
            load(text).check()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000
    assert time.process_time() - started < 5


JUNK = [
    *(None, True, 0, 1, -1, 3, 2.5, 10**9, "", "x", "=", "=x", "3", "layer", "a b", "conv_norm_act", "identity"),
    *([], [1], ["identity"], [[]], {}, {"choose": []}, {"choose": [1, 2]}, {"choose": {}}, {"choose": {"a": 1}}),
    *({"choose": {"from": 1, "to": 2}}, {"block": "identity"}, {"sum": ["identity"]}, {1: 2}, {None: None}),
]


def entries(value: Any) -> list[tuple[Any, Any]]:
    """Every mapping or list in a document with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [pair for key in keys for pair in entries(value[key])]


def spoilt(seed: int) -> str:
    """The page's example with something of it replaced by junk, taken away, or called otherwise."""
    rng = random.Random(seed)
    document = json.loads(json.dumps(yaml.safe_load(Path("my_detector.yaml").read_text())))  # without aliases
    for _ in range(rng.choice([1, 1, 2])):
        holder, key = rng.choice(entries(document))
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
    write_documented_files()
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
