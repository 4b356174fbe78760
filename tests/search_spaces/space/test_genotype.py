"""Genotypes are values, and survive JSON and YAML; any other text is an error of theirs."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype, GenotypeError
from search_spaces.space.space import Space
from tests.support.random_spaces import spaces
from tests.support.small_spaces import network

_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.dictionaries(st.text(), _value, max_size=5))
def test_genotypes_survive_json_and_yaml(values: dict[str, Any]) -> None:
    genotype = Genotype(values)
    for again in (Genotype.from_json(genotype.to_json()), Genotype.from_yaml(genotype.to_yaml())):
        assert again == genotype
        assert list(again) == list(genotype)
        assert hash(again) == hash(genotype)
        assert again.to_json() == genotype.to_json()


def test_genotypes_are_values() -> None:
    genotype = Genotype({"a": 1, "b": "x"})
    assert genotype == Genotype({"b": "x", "a": 1})
    assert hash(genotype) == hash(Genotype({"b": "x", "a": 1}))
    assert genotype != Genotype({"a": 1})
    assert genotype != {"a": 1}
    assert dict(genotype) == {"a": 1, "b": "x"}
    assert len(genotype) == 2
    assert repr(genotype) == "Genotype({'a': 1, 'b': 'x'})"
    with pytest.raises(TypeError):
        genotype["a"] = 2  # type: ignore[index]
    values = {"a": 1}
    copied = Genotype(values)
    values["a"] = 2
    assert copied["a"] == 1


NO_GENOTYPE = r"no genotype|a decision is"


@pytest.mark.parametrize(
    "text", ["", "[", "[1]", "1", "null", '{"a": {}}', '{"a": [[{}]]}', "[" * 100_000, '{"a": ' + "1" * 5000 + "}"]
)
def test_text_that_is_no_genotype_is_a_genotype_error(text: str) -> None:
    with pytest.raises(GenotypeError, match=NO_GENOTYPE):
        Genotype.from_json(text)
    with pytest.raises(GenotypeError, match=NO_GENOTYPE):
        Genotype.from_yaml(text)


@pytest.mark.parametrize(
    "text", ["a: &x [*x]", "a: 2024-99-99", "1: 2", "a: 2024-01-01", "? [1]\n: 2", "a: !!python/x 1"]
)
def test_yaml_that_is_no_genotype_is_a_genotype_error(text: str) -> None:
    with pytest.raises(GenotypeError, match=NO_GENOTYPE):
        Genotype.from_yaml(text)


@settings(max_examples=300)
@given(st.text(alphabet="abc[]{}:,-&*!?|>'\"#% \n01.~", max_size=40))
def test_any_text_is_a_genotype_or_a_genotype_error(text: str) -> None:
    for read in (Genotype.from_json, Genotype.from_yaml):
        with suppress(GenotypeError):
            assert isinstance(read(text), Genotype)


@settings(max_examples=50)
@given(spaces(), st.integers(0, 100))
def test_drawn_genotypes_survive_json_and_yaml(space: Space, seed: int) -> None:
    genotype = space.sample(random.Random(seed))
    assert space.parse(space.format(genotype)) == genotype
    assert Genotype.from_yaml(genotype.to_yaml()) == genotype


def test_options_of_every_kind_survive_json() -> None:
    options = [None, True, 3, 2.5, "text", (1, "x"), ((0, 1), (2.0,)), ()]

    def mixed(choose: Choose) -> Graph:
        choose.one_of("any", options)
        return network()

    space = Space(mixed)
    for genotype in space.enumerate():
        again = space.parse(genotype.to_json())
        assert again == genotype
        assert type(again["any"]) is type(genotype["any"])
