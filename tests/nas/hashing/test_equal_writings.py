"""Networks rewritten by ``tests/support/reencode.py`` keep their key, and compute the same."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.hashing import functional_hash as key
from search_spaces.graph.builder import Builder
from tests.support.carried_weights import disagreement
from tests.support.random_networks import random_graph, small_mobiledets
from tests.support.random_programs import Program, programs, run
from tests.support.reencode import RULES, reencode, reencode_mobiledet


def mismatches(numbers: range, used: Counter[str], rules: Sequence[str] = tuple(RULES)) -> list[int]:
    """The seeds at which another writing of a network got another key. One in two is rewritten twice."""
    mismatching = []
    for number in numbers:
        rng = random.Random(number)
        graph = random_graph(number, rng)
        other = reencode(graph, rng, rules, used)
        if number % 2:
            other = reencode(other, rng, rules, used)
        if key(other) != key(graph):
            mismatching.append(number)
    return mismatching


def test_another_writing_has_the_same_key() -> None:
    used: Counter[str] = Counter()
    assert mismatches(range(4000), used) == []
    assert {rule for rule in RULES if used[rule] < 10} == set()


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_alone_keeps_the_key(rule: str) -> None:
    used: Counter[str] = Counter()
    assert mismatches(range(10_000, 10_150), used, [rule]) == []


@settings(max_examples=150)
@given(programs(), st.integers(0, 2**32))
def test_another_writing_of_a_program_with_blocks_has_the_same_key(program: Program, seed: int) -> None:
    graph = run(program, cut=True)
    assert key(reencode(graph, random.Random(seed))) == key(graph)


@pytest.mark.parametrize("twice", [True, False])
def test_zeros_in_a_concatenation_inside_another_are_dropped_like_any(twice: bool) -> None:
    """Through a sum as well, which is where the inner one is left as it is."""
    b = Builder()
    x = b.input((2, 6, 6))
    inner = b.concat([x, x, b.zero((2, 6, 6))])
    whole = b.concat([inner, inner])
    plain = Builder()
    y = plain.input((2, 6, 6))
    same = plain.concat([y, y, y, y])
    ends = [builder.add(t, t) if twice else t for builder, t in ((b, whole), (plain, same))]
    assert key(b.build(b.conv(ends[0], 2, 3))) == key(plain.build(plain.conv(ends[1], 2, 3)))


@pytest.mark.slow
def test_a_hundred_thousand_other_writings_have_the_same_key() -> None:
    used: Counter[str] = Counter()
    count = int(os.environ.get("NAS_REENCODINGS", "100000"))
    assert mismatches(range(1_000_000, 1_000_000 + count), used) == []
    print(f"{count} re-encodings, 0 mismatches; rules used: {dict(used)}")
    assert {rule for rule in RULES if used[rule] < count / 1000} == set()


def mobiledet_mismatches(count: int, used: Counter[str]) -> list[str]:
    mismatching = []
    for number in range(count):
        rng = random.Random(number)
        space = small_mobiledets()[number % 3]
        genotype = space.sample(rng)
        graph = space.graph(genotype)
        other = reencode_mobiledet(genotype, rng, space.option("width"))
        if not key(reencode(graph, rng, used=used)) == key(space.graph(other)) == key(graph):
            mismatching.append(genotype.to_json())
    return mismatching


def test_another_writing_of_a_mobiledet_has_the_same_key() -> None:
    assert mobiledet_mismatches(60, Counter()) == []


@pytest.mark.slow
def test_another_writing_of_two_thousand_mobiledets_has_the_same_key() -> None:
    assert mobiledet_mismatches(2000, Counter()) == []


def test_another_genotype_of_a_mobiledet_is_another_genotype() -> None:
    space = small_mobiledets()[2]
    rng = random.Random(0)
    genotypes = [space.sample(rng) for _ in range(20)]
    assert any(reencode_mobiledet(genotype, rng, 0.2) != genotype for genotype in genotypes)


@pytest.mark.parametrize("number", range(60))
def test_another_writing_computes_the_same(number: int) -> None:
    """The re-encoder and the isomorphism that this file relies on are right: outputs and gradients agree."""
    rng = random.Random(number)
    graph = random_graph(number, rng)
    # Zero channels have weights of their own, that never learn: not the same layers, though the same training.
    other = reencode(graph, rng, [rule for rule in RULES if rule != "concat-zeros-through"])
    assert disagreement(graph, other, number, train=False) < 1e-10
