"""Choices made together, and known options, change nothing: every shortcut against choices one by one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from search_spaces.catalog import spaces
from search_spaces.families.mobiledet import mobiledet
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import ChoiceGroup, Choose, choose_all
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space
from tests.support import random_spaces


class OneByOne(Choose):
    """A chooser that is not ``Choose`` itself: spaces make their choices one by one with it."""


def test_choices_together_are_choices_one_by_one() -> None:
    space = nas.load_space("mobiledet")
    one_by_one = Space(lambda choose: mobiledet(slow(choose)), "mobiledet")

    def slow(choose: Choose) -> Choose:
        return OneByOne("mobiledet", choose._options, choose._preset, choose._rng)

    for seed in range(5):
        genotype = space.sample(random.Random(seed))
        chooser = OneByOne("mobiledet", {}, {}, random.Random(seed))
        assert mobiledet(chooser) == space.graph(genotype)
        assert list(chooser.decisions.items()) == list(genotype.items())
        replayed = OneByOne("mobiledet", {}, genotype, None)
        assert mobiledet(replayed) == one_by_one.function(Choose("mobiledet", {}, genotype, None))


@settings(max_examples=60, deadline=None)
@given(random_spaces.spaces(), st.integers(0, 99))
def test_spaces_without_choice_groups_sample_and_mutate_as_written_out(space: Space, seed: int) -> None:
    rng, again = random.Random(seed), random.Random(seed)
    genotype = space.sample(rng)
    assert genotype == space.sample(again)
    child = space.mutate(genotype, rng)
    changed = [name for name in genotype if name in child and child[name] != genotype[name]]
    changeable = [name for name in genotype if len(space._declared_options[name]) > 1]
    if changeable:
        name = changeable[int(again.random() * len(changeable))]
        options = space._declared_options[name]
        shift = 1 + int(again.random() * (len(options) - 1))
        expected = {**genotype, name: options[(options.index(genotype[name]) + shift) % len(options)]}
        assert child == space.complete(expected, again)
        assert name in changed


@pytest.mark.parametrize("name", sorted(spaces()))
def test_a_mutant_is_what_a_new_space_makes_of_its_decisions(name: str) -> None:
    space, rng = nas.load_space(name), random.Random(7)
    child = space.mutate(space.sample(rng), rng)
    new = nas.load_space(name)
    again = new.parse(child.to_json())
    assert list(again.items()) == list(child.items())
    assert [type(v) for v in again.values()] == [type(v) for v in child.values()]
    assert new.graph(again) == space.graph(child)


def test_replayed_choices_are_the_options_themselves() -> None:
    choices = ChoiceGroup({"a": (0, 1), "b": ("x", "y")})
    b = Builder()
    network = b.build(b.conv(b.input((1, 2, 2)), 1))

    def function(choose: Choose) -> Graph:
        choose_all(choose, choices)
        return network

    space = Space(function, "two")
    for _ in range(2):  # the second time, the options are declared already
        genotype = space._run({"a": True, "b": "x"}, None)[0]
        assert [type(v) for v in genotype.values()] == [int, str]
        for wrong, text in (
            ({"a": 2, "b": "x"}, "'a' cannot be 2"),
            ({"a": [], "b": "x"}, "'a' cannot be"),
            ({"b": "x"}, "no decision for 'a'"),
            ({"a": 1, "b": "x", "c": 3}, "makes no choice 'c'"),
        ):
            with pytest.raises(GenotypeError, match=text):
                space.graph(wrong)  # type: ignore[arg-type]
        assert list(space.graph({"b": "y", "a": 1}).nodes) == list(network.nodes)
        assert list(space._run({"b": "y", "a": 1}, None)[0]) == ["a", "b"]


def test_choices_made_twice_or_with_other_options_are_refused() -> None:
    first, second = ChoiceGroup({"a": (0, 1)}), ChoiceGroup({"a": (0, 1, 2)})
    choose = Choose("s", {}, Genotype({"a": 1}), None)
    assert choose_all(choose, first) == {"a": 1}
    with pytest.raises(SpaceError, match="made twice"):
        choose_all(choose, first)
    options: dict[str, tuple[object, ...]] = {}
    groups: set[ChoiceGroup] = set()
    choose_all(Choose("s", options, {"a": 1}, None, groups), first)
    with pytest.raises(SpaceError, match="was offered"):
        choose_all(Choose("s", options, {"a": 1}, None, groups), second)
