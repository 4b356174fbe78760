"""How many genotypes a space has, by formula, by list and by hand; and which choices it makes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.families.mobiledet import mobiledet
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.counting import GenotypeCounter
from search_spaces.space.genotype import Genotype, SpaceError
from search_spaces.space.space import Space
from tests.support.random_spaces import spaces
from tests.support.small_spaces import key, network, tiny


def count_by_groups(space: Space) -> int | None:
    """The number of genotypes as large spaces are counted, without a list."""
    return GenotypeCounter(space.name, space._run, space._declared_options).count()


@settings(max_examples=150)
@given(spaces())
def test_size_is_the_number_of_genotypes_and_each_is_listed_once(space: Space) -> None:
    listed = [key(genotype) for genotype in space.enumerate()]
    assert len(set(listed)) == len(listed)
    assert space.size() == len(listed)
    assert count_by_groups(space) == len(listed)  # without listing small spaces


@settings(max_examples=25)
@given(spaces(most=12))
def test_size_of_larger_spaces_too(space: Space) -> None:
    assert count_by_groups(space) == sum(1 for _ in space.enumerate())


@settings(max_examples=60)
@given(spaces(), st.integers(0, 1000))
def test_what_is_drawn_changed_or_crossed_is_listed(space: Space, seed: int) -> None:
    rng = random.Random(seed)
    listed = {key(genotype) for genotype in space.enumerate()}
    a, b = space.sample(rng), space.sample(rng)
    assert {key(g) for g in (a, b, space.mutate(a, rng), space.crossover(a, b, rng))} <= listed


def test_listing_goes_in_the_order_of_the_options() -> None:
    def nested(choose: Choose) -> Graph:
        if choose.one_of("a", ("x", "y")) == "y":
            choose.int("b", 0, 1)
        choose.int("c", 0, 1)
        return network()

    assert [tuple(g.values()) for g in Space(nested).enumerate()] == [
        *(("x", 0), ("x", 1)),
        *(("y", 0, 0), ("y", 0, 1), ("y", 1, 0), ("y", 1, 1)),
    ]


def test_size_of_spaces_too_large_to_list() -> None:
    def elastic(choose: Choose) -> Graph:
        for stage in range(5):
            for layer in range(choose.int(f"depth{stage}", 2, 4)):
                choose.one_of(f"kernel{stage}.{layer}", (3, 5, 7))
                choose.one_of(f"expansion{stage}.{layer}", (3, 4, 6))
        return network()

    def nested(choose: Choose) -> Graph:
        for layer in range(20):
            squeezed = choose.one_of(f"op{layer}", ("conv", "skip", "pool")) == "conv" and choose.int(
                f"se{layer}", 0, 1
            )
            if squeezed:
                choose.one_of(f"ratio{layer}", (0.25, 0.5))
        return network()

    def rare(choose: Choose) -> Graph:
        digits = [choose.int(f"digit{i}", 0, 9) for i in range(16)]
        if digits[2] == 3 and digits[11] == 4:
            choose.int("more", 0, 1)
        return network()

    assert Space(elastic).size() == (9**2 + 9**3 + 9**4) ** 5
    assert Space(nested).size() == 5**20
    assert Space(rare).size() == 10**16 + 10**14


def test_a_space_without_choices_has_one_network() -> None:
    space = Space(lambda choose: network())
    assert space.size() == 1
    assert [dict(g) for g in space.enumerate()] == [{}]
    assert space.sample(random.Random(0)) == Genotype({}) == space.mutate(Genotype({}), random.Random(0))
    assert space.encode(Genotype({})).shape == (0,)


def test_a_space_too_entangled_to_count_says_so() -> None:
    graph = network()

    def parity(choose: Choose) -> Graph:
        if sum(choose.int(f"bit{i}", 0, 1) for i in range(18)) % 2:
            choose.int("more", 0, 1)
        return graph

    with pytest.raises(SpaceError, match=r"depends on too many others together to count, for example '\w+'"):
        Space(parity).size()


@pytest.mark.parametrize(
    ("blocks", "options", "printed"), [("ibn", 4, 6.1e20), ("ibn+fused", 8, 5.2e26), ("ibn+fused+tucker", 12, 3.0e30)]
)
def test_size_of_mobiledets_by_hand(blocks: str, options: int, printed: float) -> None:
    # Block 1: both kernels of an IBN and of a fused block, four Tucker ranks. Blocks 2 to 6: one layer that is there
    # and three that may be skipped. Block 7: one layer. Widths: stem, blocks 1 to 7.
    first = {"ibn": 2, "ibn+fused": 4, "ibn+fused+tucker": 8}[blocks]
    layers = first * (options * (options + 1) ** 3) ** 5 * options
    widths = 6 * 4 * 6 * 7 * 7 * 7 * 7 * 7
    size = Space(mobiledet, options={"blocks": blocks}).size()
    assert size == layers * widths
    assert size == pytest.approx(printed, rel=0.02)


def test_size_of_the_classifiers_of_mobiledet_has_the_feature_width() -> None:
    detectors, classifiers = (Space(mobiledet, options={"task": task}) for task in ("detect", "classify"))
    assert classifiers.size() == 7 * detectors.size()
    assert set(classifiers.decisions()) - set(detectors.decisions()) == {"feature.width"}


def test_decisions_are_all_choices_with_their_options() -> None:
    assert Space(tiny).decisions() == {
        "width": (8, 16),
        "depth": (0, 1, 2),
        "kernel0": (1, 3, 5),
        "kernel1": (1, 3, 5),
        "act": ("relu", "hswish"),
    }


def test_check_runs_every_option_of_every_choice() -> None:
    seen = set()

    def noting(choose: Choose) -> Graph:
        op = choose.one_of("op", ("conv", "pool"))
        seen.add(("op", op))
        if op == "conv":
            seen.add(("kernel", choose.int("kernel", 1, 6)))
        return network()

    Space(noting).check()
    assert seen == {("op", "conv"), ("op", "pool")} | {("kernel", k) for k in range(1, 7)}

    def broken(choose: Choose) -> Graph:
        return network(0 if choose.int("width", 1, 40) == 40 else 4)

    with pytest.raises(SpaceError, match="'width' = 40"):
        Space(broken).check()
