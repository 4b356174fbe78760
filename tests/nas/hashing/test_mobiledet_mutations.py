"""MobileDets have one key exactly where a mutation kept the network, by isomorphism and by running both."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from nas.hashing import functional_hash as key
from nas.hashing.isomorphism import same_network
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from tests.support.carried_weights import disagreement
from tests.support.isomorphism import isomorphic
from tests.support.random_networks import TINY, parameter_shapes, small_mobiledets
from tests.support.reencode import reencode, reencode_mobiledet

# Thin, and few of them: every second pair is one network.
CONFINED: dict[str, Any] = {
    **TINY,
    "width": 0.02,
    "task": "classify",
    "filter_multipliers": (0.5, 1.0),
    "expansions": (4,),
}


def mobiledet_pairs(count: int) -> Iterator[tuple[int, Graph, Graph]]:
    """Neighbours, chains of silent mutations, and genotypes that differ in a few decisions of a confined space."""
    confined = load_space("mobiledet").with_options(**CONFINED)
    for number in range(count):
        rng = random.Random(number)
        space = confined if number % 2 else small_mobiledets()[rng.randrange(3)]
        genotype = space.sample(rng)
        other = genotype
        for _ in range(rng.randint(0 if number % 3 == 0 else 1, 3)):
            other = space.mutate(other, rng)
        if number % 3 == 0:
            other = reencode_mobiledet(other, rng, space.option("width"))
        yield number, space.graph(genotype), space.graph(other)


def check_pairs(count: int, executed: int) -> tuple[int, int]:
    """Equal keys mean equal networks, by every oracle; how many pairs were equal, and how many of them were run."""
    equal_pairs = run_pairs = 0
    for number, graph, other in mobiledet_pairs(count):
        same = isomorphic(graph, other)
        assert (key(graph) == key(other)) == same == same_network(graph, other), number
        if not same:
            continue
        equal_pairs += 1
        assert parameter_shapes(graph) == parameter_shapes(other)
        assert (graph.macs, graph.params, graph.variables) == (other.macs, other.params, other.variables)
        if run_pairs < executed:
            run_pairs += 1
            rewritten = reencode(other, random.Random(number))
            assert disagreement(graph, rewritten, number, train=True) < 1e-10, number
    return equal_pairs, run_pairs


def test_mobiledets_of_one_key_are_one_network() -> None:
    equal_pairs, run_pairs = check_pairs(60, executed=5)
    assert equal_pairs >= 5
    assert run_pairs == 5


@pytest.mark.slow
def test_many_mobiledets_of_one_key_are_one_network() -> None:
    equal_pairs, run_pairs = check_pairs(3000, executed=500)
    print(f"3000 mutated pairs, {equal_pairs} of one key, {run_pairs} of them run")
    assert run_pairs == 500


@pytest.mark.slow
def test_a_hundred_thousand_mutations_are_told_apart_or_isomorphic() -> None:
    count = int(os.environ.get("NAS_MUTATIONS", "100000"))
    active = equal_pairs = 0
    for number, graph, other in mobiledet_pairs(count):
        active += graph.digest != other.digest
        if key(graph) == key(other):
            equal_pairs += 1
            assert graph.digest == other.digest or isomorphic(graph, other), number
            assert parameter_shapes(graph) == parameter_shapes(other)
            assert (graph.macs, graph.params) == (other.macs, other.params)
        else:
            assert graph.digest != other.digest
    print(f"{count} mutated pairs, {active} of another graph, {equal_pairs} of one key")
    assert equal_pairs > count / 20
