"""Spaces from YAML files: options set, choices fixed or narrowed, and files that say something wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from search_spaces.catalog import load_space
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from search_spaces.graph.builder import Builder\n"
        "def mine(choose, *, image_size=8, widths=(4, 8, 16)):\n"
        "    b = Builder()\n"
        "    x = b.conv(b.input((3, image_size, image_size)), choose.one_of('width', widths))\n"
        "    if choose.one_of('pair', ((1, 3), (3, 3))) == (3, 3):\n"
        "        x = b.act(x, choose.one_of('act', ('relu', 'tanh')))\n"
        "    return b.build(x)\n"
    )


def load(text: str, name: str = "space.yaml", **options: object) -> Space:
    Path(name).write_text(text)
    return load_space(name, **options)


def test_a_file_sets_options_fixes_choices_and_narrows_others() -> None:
    space = load(
        "space: ./mine.py:mine\nname: small\noptions: {image_size: 10}\nfixed: {pair: [3, 3]}\nonly: {width: [16, 4]}\n"
    )
    assert space.name == "small"
    assert space.decisions() == {"width": (4, 16), "act": ("relu", "tanh")}
    assert space.size() == 4 == len(list(space.enumerate()))
    genotype = space.sample(random.Random(0))
    assert set(genotype) == {"width", "act"}
    assert space.graph(genotype).input_shape == (3, 10, 10)
    assert space.parse(space.format(genotype)) == genotype
    with pytest.raises(GenotypeError, match="'width' cannot be 8; its options are 4, 16"):
        space.graph({**genotype, "width": 8})


def test_one_option_left_is_no_choice() -> None:
    assert load("space: ./mine.py:mine\nonly: {width: [8, 8]}\n").decisions().keys() == {"pair", "act"}


def test_a_file_with_nothing_but_a_space_is_that_space() -> None:
    space = load("space: mobiledet\n")
    assert space.size() == load_space("mobiledet").size()
    assert space.name == "space"


def test_options_given_in_code_win_over_the_files() -> None:
    text = "space: ./mine.py:mine\noptions: {image_size: 10}\n"
    for space in (load(text, image_size=12), load(text).with_options(image_size=12)):
        assert space.option("image_size") == 12
        assert space.graph(space.sample(random.Random(0))).input_shape == (3, 12, 12)


def test_files_start_from_files_beside_them() -> None:
    Path("below").mkdir()
    load("space: ../mine.py:mine\nonly: {width: [4, 8]}\n", "below/first.yaml")
    space = load("space: below/first.yaml\nfixed: {width: 8}\noptions: {image_size: 9}\n")
    assert space.size() == 3
    assert {space.graph(g).output_shapes["output"] for g in space.enumerate()} == {(8, 9, 9)}
    with pytest.raises(SpaceError, match="'width' cannot be 16; its options are 4, 8"):
        load("space: below/first.yaml\nfixed: {width: 16}\n")


def test_a_mobiledet_for_a_small_image() -> None:
    space = load(
        "space: mobiledet\noptions: {image_size: 64, blocks: ibn}\nfixed: {stem.width: 32, block2.layer1: skip}\n"
        "only: {block3.width: [32, 48]}\n"
    )
    whole = load_space("mobiledet", blocks="ibn")
    assert space.size() == whole.size() // 6 // 5 // 7 * 2
    assert space.graph(space.sample(random.Random(0))).input_shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with a text `space`"),
        ("[]", "expected a mapping with a text `space`"),
        ("space: 3", "expected a mapping with a text `space`"),
        ("a: [", "cannot read the space file 'space.yaml'"),
        ("space: 2024-99-99", "cannot read the space file 'space.yaml'"),
        ("space: ./mine.py:mine\nfix: {width: 4}", "no key 'fix'; the keys are space, name, options, fixed, only"),
        ("space: ./mine.py:mine\nfixed: [width]", "'fixed' must be a mapping of names"),
        ("space: ./mine.py:mine\nonly: {1: [2]}", "'only' must be a mapping of names"),
        ("space: ./mine.py:mine\nfixed: {widht: 4}", "space 'mine' has no choice 'widht'; did you mean 'width'?"),
        ("space: ./mine.py:mine\nonly: {zzz: [4]}", "space 'mine' has no choice 'zzz'$"),
        ("space: ./mine.py:mine\nfixed: {width: 5}", "'width' cannot be 5; its options are 4, 8, 16"),
        ("space: ./mine.py:mine\nonly: {width: [4, 5]}", "'width' cannot be 5; its options are 4, 8, 16"),
        ("space: ./mine.py:mine\nonly: {width: 4}", "`only` needs a list of options for 'width'"),
        ("space: ./mine.py:mine\nonly: {width: []}", "`only` needs a list of options for 'width'"),
        ("space: ./mine.py:mine\nfixed: {width: 4}\nonly: {width: [8]}", "which `fixed` does not name"),
        (
            "space: ./mine.py:mine\noptions: {size: 4}",
            "space 'mine' has no option 'size'; its options: image_size, widths",
        ),
        ("space: space.yaml", "the space file 'space.yaml' starts from itself"),
    ],
)
def test_files_that_say_something_wrong_are_errors_that_say_what(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load(text)


def test_unknown_options_are_errors_later_too() -> None:
    space = load("space: ./mine.py:mine\n")
    with pytest.raises(SpaceError, match="space 'space' has no option 'size'; its options: image_size, widths"):
        space.with_options(size=4)


def test_options_that_take_a_narrowed_choices_options_away_are_an_error() -> None:
    space = load("space: ./mine.py:mine\nonly: {width: [4, 16]}\n").with_options(widths=(4, 8))
    with pytest.raises(SpaceError, match=r"'width' was narrowed to \(4, 16\), and is offered \(4, 8\) now"):
        space.sample(random.Random(0))


def test_files_in_a_circle_are_an_error() -> None:
    Path("one.yaml").write_text("space: two.yaml\n")
    Path("two.yaml").write_text("space: one.yaml\n")
    with pytest.raises(SpaceError, match=r"the space file 'one.yaml' starts from itself"):
        load_space("one.yaml")
