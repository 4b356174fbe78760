"""Spaces: drawing, changing, counting and writing down genotypes, and errors that name the choice."""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype, GenotypeError, Rng, SpaceError
from search_spaces.space.notation import Notation
from search_spaces.space.space import Space
from tests.support.random_spaces import spaces
from tests.support.small_spaces import key, network, tiny

RNGS: list[Callable[[int], Rng]] = [random.Random, np.random.default_rng]


# -- drawing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rng", RNGS)
def test_the_same_seed_draws_the_same_genotypes(rng: Callable[[int], Rng]) -> None:
    space = Space(tiny)
    one, two, other = rng(1), rng(1), rng(2)
    first = [space.sample(one) for _ in range(20)]
    assert first == [space.sample(two) for _ in range(20)]
    assert first != [space.sample(other) for _ in range(20)]


@pytest.mark.parametrize("rng", RNGS)
def test_every_operation_takes_either_random_source(rng: Callable[[int], Rng]) -> None:
    space, source = Space(tiny), rng(0)
    for _ in range(50):
        a, b = space.sample(source), space.sample(source)
        for genotype in (
            a,
            space.mutate(a, source),
            space.crossover(a, b, source),
            space.complete({"depth": 1}, source),
        ):
            assert space.graph(genotype) == Space(tiny).graph(Genotype.from_json(genotype.to_json()))


def test_draws_are_uniform_over_each_choices_options() -> None:
    space, rng = Space(tiny), random.Random(0)
    depths = Counter(space.sample(rng)["depth"] for _ in range(3000))
    assert set(depths) == {0, 1, 2}
    assert all(900 < count < 1100 for count in depths.values())


def test_decisions_are_in_the_order_they_are_made() -> None:
    genotype = Space(tiny).complete({"depth": 2}, random.Random(0))
    assert list(genotype) == ["width", "depth", "kernel0", "kernel1", "act"]


def test_a_graph_that_was_just_made_is_not_made_again() -> None:
    calls = []

    def counted(choose: Choose) -> Graph:
        calls.append(choose.int("width", 1, 4))
        return network(calls[-1])

    space = Space(counted)
    genotype = space.sample(random.Random(0))
    assert space.graph(genotype) is space.graph(genotype)
    assert len(calls) == 1


def test_complete_keeps_what_is_given_where_it_is_asked_for() -> None:
    space = Space(tiny)
    for seed in range(10):
        genotype = space.complete({"kernel0": 5, "act": "hswish"}, random.Random(seed))
        assert genotype["act"] == "hswish"
        assert genotype.get("kernel0", 5) == 5


# -- changing --------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(spaces(), st.integers(0, 1000))
def test_a_mutation_changes_one_decision_and_what_that_opens_or_closes(space: Space, seed: int) -> None:
    rng = random.Random(seed)
    parent = space.sample(rng)
    child = space.mutate(parent, rng)
    changed = [n for n in parent if n in child and child[n] != parent[n]]
    if all(len(space._declared_options[n]) == 1 for n in parent):
        assert child is parent
        return
    assert len(changed) == 1
    before = list(parent)[: list(parent).index(changed[0])]
    assert list(child)[: len(before)] == before
    assert space.graph(Genotype(dict(child))) is not None


def test_every_neighbour_is_reached_by_mutation() -> None:
    space, rng = Space(tiny), random.Random(0)
    parent = Genotype({"width": 8, "depth": 1, "kernel0": 3, "act": "relu"})
    children = Counter(key(space.mutate(parent, rng)) for _ in range(4000))
    assert len(children) == 1 + (1 + 3) + 2 + 1  # width, depth 0 or 2 with any second kernel, kernel, activation
    shares = Counter({"width": 0})
    for child, count in children.items():
        values = dict(child)
        shares[next(n for n in ("depth", "width", "act", "kernel0") if values.get(n) != parent[n])] += count
    assert all(850 < count < 1150 for count in shares.values())


@settings(max_examples=100)
@given(spaces(), st.integers(0, 1000))
def test_a_crossover_takes_each_decision_from_a_parent_that_has_it(space: Space, seed: int) -> None:
    rng = random.Random(seed)
    a, b = space.sample(rng), space.sample(rng)
    child = space.crossover(a, b, rng)
    for name, value in child.items():
        if name in a or name in b:
            assert value in [parent[name] for parent in (a, b) if name in parent]
    assert space.crossover(a, a, rng) == a


def test_a_crossover_takes_from_both() -> None:
    space, rng = Space(tiny), random.Random(0)
    a = Genotype({"width": 8, "depth": 0, "act": "relu"})
    b = Genotype({"width": 16, "depth": 0, "act": "hswish"})
    children = Counter(key(space.crossover(a, b, rng)) for _ in range(400))
    assert len(children) == 4
    assert min(children.values()) > 60


# -- vectors ---------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(spaces())
def test_vectors_have_one_width_and_tell_genotypes_apart(space: Space) -> None:
    genotypes = list(space.enumerate())
    assume(len(genotypes) <= 500)
    vectors = [space.encode(genotype) for genotype in genotypes]
    assert {v.shape for v in vectors} == {(len(space.decisions()),)}
    assert {v.dtype for v in vectors} == {np.dtype("int64")}
    assert len({tuple(v) for v in vectors}) == len(genotypes)
    for genotype, vector in zip(genotypes, vectors, strict=True):
        assert space.decode(vector) == genotype
        assert space.decode([max(0, int(v)) for v in vector]) == genotype  # unused entries do not matter


def test_a_vector_holds_option_numbers_and_minus_one() -> None:
    space = Space(tiny)
    genotype = Genotype({"width": 16, "depth": 1, "kernel0": 5, "act": "relu"})
    encoded = dict(zip(space.decisions(), space.encode(genotype), strict=True))
    assert encoded == {"width": 1, "depth": 1, "kernel0": 2, "kernel1": -1, "act": 0}


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([0, 0, 0, 0], "a vector has 5 entries, not 4"),
        ([0, 0, 0, 0, 2], "must be -1 to 1, not 2"),
        ([-2, 0, 0, 0, 0], "must be -1 to 1, not -2"),
        ([0.5, 0, 0, 0, 0], "must be -1 to 1, not 0.5"),
        ([float("nan"), 0, 0, 0, 0], "must be -1 to 1, not nan"),
        ([-1, 0, 0, 0, 0], "the genotype has no decision for 'width'"),
    ],
)
def test_vectors_that_are_none_say_why(vector: list[Any], message: str) -> None:
    def ordered(choose: Choose) -> Graph:
        for name in ("width", "b", "c", "d", "e"):
            choose.int(name, 0, 1)
        return network()

    with pytest.raises(GenotypeError, match=message):
        Space(ordered).decode(vector)


def test_encoding_what_the_space_has_not_is_an_error() -> None:
    with pytest.raises(GenotypeError, match="makes no choice 'x'"):
        Space(tiny).encode({"x": 1})
    with pytest.raises(GenotypeError, match="'width' cannot be 9"):
        Space(tiny).encode({"width": 9})


# -- replaying -------------------------------------------------------------------------------------------------------


def test_replaying_reports_what_is_missing_wrong_or_too_much() -> None:
    space = Space(tiny)
    whole = {"width": 8, "depth": 0, "act": "relu"}
    assert space.graph(whole).input_shape == (3, 8, 8)
    for decisions, message in [
        ({"width": 8, "depth": 0}, "space 'tiny': the genotype has no decision for 'act'"),
        ({**whole, "width": 12}, "'width' cannot be 12; its options are 8, 16"),
        ({**whole, "width": (8,)}, r"'width' cannot be \(8,\)"),
        ({**whole, "kernel0": 1}, "makes no choice 'kernel0' here"),
        ({**whole, "x": 1, "y": 2}, "makes no choice 'x', 'y' here"),
    ]:
        with pytest.raises(GenotypeError, match=message):
            space.graph(decisions)
        with pytest.raises(GenotypeError, match=message):
            space.parse(json.dumps(decisions))


def test_mutating_what_the_space_has_not_is_a_genotype_error() -> None:
    space = Space(lambda choose: network(choose.int("width", 1, 2) if choose.int("any", 1, 2) == 1 else 4))
    space.check()
    for decisions, message in [
        ({"any": 3}, "'any' cannot be 3; its options are"),
        ({"any": 1, "width": 5}, "'width' cannot be 5"),
        ({"any": 2, "width": 2}, "makes no choice 'width' here"),
        ({"none": 2}, "the genotype has no decision for 'any'"),
    ]:
        with pytest.raises(GenotypeError, match=message):
            space.mutate(Genotype(decisions), _Last())


class _Last:
    """Draws the last of everything."""

    def random(self) -> float:
        return 0.999


def test_values_are_replayed_as_the_space_writes_them() -> None:
    read = Space(tiny).parse('{"width": 8.0, "depth": false, "act": "relu"}')
    assert read.to_json() == '{"width": 8, "depth": 0, "act": "relu"}'


def test_a_published_notation_reads_and_writes_and_json_is_still_read() -> None:
    def parse(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
        if not text.isdigit():
            raise GenotypeError("digits")
        return {"width": int(text), "depth": 0, "act": "relu", **({"more": 1} if text == "16" else {})}

    def write(decisions: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        return f"{decisions['width']}@{options['image_size']}"

    space = Space(tiny, notation=Notation(parse, write), options={"image_size": 10})
    assert space.format(space.parse("8")) == "8@10"
    assert space.parse(' {"width": 8, "depth": 0, "act": "relu"}') == space.parse("8")
    with pytest.raises(GenotypeError, match="digits"):
        space.parse("x")
    with pytest.raises(GenotypeError, match="makes no choice 'more'"):
        space.parse("16")


# -- spaces that contradict themselves -------------------------------------------------------------------------------


def failing(function: Callable[..., Any]) -> str:
    """What the space says of itself within fifty draws."""
    space, rng = Space(function, "mine"), random.Random(0)
    with pytest.raises(SpaceError) as caught:
        deque((space.sample(rng) for _ in range(50)), maxlen=0)
    return str(caught.value)


def test_a_name_used_twice_is_an_error_that_names_it() -> None:
    def twice(choose: Choose) -> Graph:
        return network(choose.int("width", 1, 2) + choose.int("width", 1, 2))

    assert "space 'mine': the choice 'width' is made twice in one network" in failing(twice)


def test_options_that_change_are_an_error_that_names_the_choice() -> None:
    def changing(choose: Choose) -> Graph:
        return network(choose.int("width", 1, choose.int("most", 1, 4)))

    message = failing(changing)
    assert "the choice 'width' was offered (1" in message
    assert "must not depend on other choices" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "the choice 'x' has no options"),
        (range(3, 1), "the choice 'x' has no options"),
        ([[1], [2]], r"the choice 'x' offers \[1\]; options are finite numbers"),
        ([{}, {}], "the choice 'x' offers {}"),
        ([(1, [2])], r"the choice 'x' offers \(1, \[2\]\)"),
        ([object], "the choice 'x' offers <class 'object'>"),
        ([float("nan")], "the choice 'x' offers nan"),
        ([1, 2, 1], r"the choice 'x' offers one option twice: \(1, 2, 1\)"),
        ([1, True], "the choice 'x' offers one option twice"),
        ({1, 2}, "the choice 'x' needs its options in order, as a list or tuple, not set"),
        ((i for i in range(2)), "the choice 'x' needs its options in order"),
        (None, "the choice 'x' needs its options in order"),
    ],
)
def test_options_that_cannot_be_are_an_error_that_names_the_choice(options: Any, message: str) -> None:
    def choosing(choose: Choose) -> Graph:
        choose.one_of("x", options)
        return network()

    with pytest.raises(SpaceError, match=message):
        Space(choosing).sample(random.Random(0))


@pytest.mark.parametrize("name", ["", 3, None])
def test_choices_need_names(name: Any) -> None:
    def nameless(choose: Choose) -> Graph:
        choose.int(name, 0, 1)
        return network()

    assert "needs a name" in failing(nameless)


@pytest.mark.parametrize("width", [0, -8])
def test_channels_below_one_are_an_error_that_names_the_choice(width: int) -> None:
    def thin(choose: Choose) -> Graph:
        choose.one_of("unrelated", ("a", "b"))
        return network(choose.one_of("width", (width, 8)), choose.int("stride", 1, 2))

    message = failing(thin)
    assert "out_channels must be a whole number from 1" in message
    assert f"(choice 'width' = {width} of ({width}, 8))" in message


def test_a_choice_without_any_option_that_works_is_named_as_the_last_one_made() -> None:
    def never(choose: Choose) -> Graph:
        choose.one_of("unrelated", ("a", "b"))
        return network(choose.one_of("width", (0, -1)))

    assert "(choice 'width' = " in failing(never)


def test_a_stride_beyond_the_input_is_an_error_that_names_the_choices() -> None:
    def strided(choose: Choose) -> Graph:
        choose.one_of("unrelated", ("a", "b"))
        b = Builder()
        x = b.input((3, 8, 8))
        for layer in range(4):
            x = b.conv(x, 4, 3, choose.one_of(f"stride{layer}", (1, 4)))
        return b.build(x)

    message = failing(strided)
    assert "stride 4 is beyond the input, which is 2x2 here" in message or "is 1x1 here" in message
    assert "choice 'stride0' = 4 of (1, 4) or 'stride" in message
    assert "unrelated" not in message


def test_a_function_that_returns_no_graph_is_an_error() -> None:
    def forgetful(choose: Choose) -> None:
        choose.int("width", 1, 2)

    assert failing(forgetful) == (
        "space 'mine' returned NoneType, not a Graph; end the function with `return builder.build(outputs)`"
    )


def test_other_errors_of_a_space_are_not_hidden() -> None:
    def buggy(choose: Choose) -> Graph:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Space(buggy).sample(random.Random(0))


# -- options ---------------------------------------------------------------------------------------------------------


def test_options_reach_the_function() -> None:
    space = Space(tiny, options={"image_size": 12})
    assert space.graph(space.sample(random.Random(0))).input_shape == (3, 12, 12)
    assert space.option("image_size") == 12
    assert space.option("widest") == 16
    assert space.option("no") is None
    wider = space.with_options(widest=32)
    assert wider.decisions()["width"] == (8, 32)
    assert wider.option("image_size") == 12
    assert space.decisions()["width"] == (8, 16)
    assert space.accepts("widest")
    assert not space.accepts("depth")


def test_unknown_and_missing_options_are_errors() -> None:
    def needy(choose: Choose, *rest: Any, size: int, kind: str) -> Graph:
        return network()

    with pytest.raises(SpaceError, match="space 'tiny' has no option 'depth'; its options: image_size, widest"):
        Space(tiny, options={"depth": 3})
    with pytest.raises(SpaceError, match="space 'tiny' has no option 'depth'"):
        Space(tiny).with_options(depth=3)
    with pytest.raises(SpaceError, match="space 'needy' needs a value for kind"):
        Space(needy, options={"size": 3})
    with pytest.raises(SpaceError, match="must take `choose` as its first argument"):
        Space(lambda: network())


def test_a_space_takes_its_functions_name_and_any_option_where_that_does() -> None:
    def free(choose: Choose, **options: Any) -> Graph:
        return network(**options)

    assert Space(free).name == "free"
    assert Space(free, "other").name == "other"
    assert Space(free, options={"width": 5}).graph({}).output_shapes == {"output": (5, 8, 8)}


def test_sizes_multiply_over_independent_choices() -> None:
    def product(choose: Choose) -> Graph:
        for i in range(1, 30):
            choose.int(f"c{i}", 1, i)
        return network()

    assert Space(product).size() == prod(range(1, 30))
