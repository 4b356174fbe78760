"""Isomorphisms against networkx and by brute construction: large symmetric networks, near misses, and the bound."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from typing import Any

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networkx.algorithms.isomorphism import DiGraphMatcher

import nas
from nas.execution import cached_training
from nas.hashing import deduplicate, isomorphism
from nas.hashing.deduplicate import Deduplicator
from nas.hashing.isomorphism import UndecidedNetworks, first_difference, same_network
from nas.hashing.matching import LabelledGraph, UndecidedMatch
from nas.hashing.matching import isomorphism as match
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from tests.support.isomorphism import isomorphic
from tests.support.near_misses import ROOK, SHRIKHANDE, cycles, graph_of, regular
from tests.support.random_programs import Program, programs, run
from tests.support.reencode import reencode

ORDERS = ("order", "sum-order")


def permuted(graph: LabelledGraph, rng: random.Random) -> LabelledGraph:
    numbers = list(range(len(graph.labels)))
    rng.shuffle(numbers)
    labels = dict(zip(numbers, graph.labels, strict=True))
    edges = [(numbers[v], numbers[w], n) for v, w, n in graph.edges]
    rng.shuffle(edges)
    return LabelledGraph([labels[i] for i in range(len(numbers))], edges)


def networkx_isomorphic(a: LabelledGraph, b: LabelledGraph) -> bool:
    graphs = []
    for labels, edges in (a, b):
        graph: nx.DiGraph[Any] = nx.DiGraph()
        graph.add_nodes_from((i, {"label": label}) for i, label in enumerate(labels))
        graph.add_edges_from((v, w, {"n": n}) for v, w, n in edges)
        graphs.append(graph)
    matcher = DiGraphMatcher(
        *graphs, node_match=lambda m, n: m["label"] == n["label"], edge_match=lambda m, n: m["n"] == n["n"]
    )
    return bool(matcher.is_isomorphic())


@st.composite
def labelled_graphs(draw: st.DrawFn, most: int = 7) -> LabelledGraph:
    """Acyclic graphs with few labels, so that many vertices look alike."""
    size = draw(st.integers(0, most))
    labels = draw(st.lists(st.sampled_from("ab"), min_size=size, max_size=size))
    numbers = draw(st.lists(st.sampled_from([0, 0, 1, 1, 2]), min_size=size * size, max_size=size * size))
    edges = [(v, w, numbers[v * size + w]) for v in range(size) for w in range(v + 1, size) if numbers[v * size + w]]
    return LabelledGraph(labels, edges)


@settings(max_examples=300, deadline=None)
@given(labelled_graphs(), st.randoms(use_true_random=False))
def test_a_permuted_graph_is_isomorphic_by_the_mapping_that_is_returned(
    graph: LabelledGraph, rng: random.Random
) -> None:
    other = permuted(graph, rng)
    mapping = match(graph, other)
    assert mapping is not None
    assert [other.labels[image] for image in mapping] == list(graph.labels)
    assert {(mapping[v], mapping[w], n) for v, w, n in graph.edges} == set(other.edges)


@settings(max_examples=300, deadline=None)
@given(labelled_graphs(), st.data())
def test_a_changed_graph_is_isomorphic_where_networkx_says_so(graph: LabelledGraph, data: st.DataObject) -> None:
    rng = data.draw(st.randoms(use_true_random=False))
    edges = list(graph.edges)
    for _ in range(min(len(edges), data.draw(st.integers(1, 3)))):
        *_, n = edges.pop(rng.randrange(len(edges)))
        free = [
            pair for pair in itertools.combinations(range(len(graph.labels)), 2) if pair not in {e[:2] for e in edges}
        ]
        edges.append((*rng.choice(free), n))
    other = permuted(LabelledGraph(graph.labels, edges), rng)
    assert (match(graph, other) is not None) == networkx_isomorphic(graph, other)


def incidence(edges: Sequence[tuple[int, int]], size: int) -> LabelledGraph:
    """An undirected graph: vertices, and a vertex for each edge that both its ends lead to."""
    return LabelledGraph(
        ["v"] * size + ["e"] * len(edges), [(end, size + i, 1) for i, edge in enumerate(edges) for end in edge]
    )


def test_regular_graphs_are_told_apart_as_by_networkx() -> None:
    """Graphs of one degree, where refinement alone tells nothing."""
    graphs = [
        nx.random_regular_graph(degree, size, seed=seed)
        for size, degree in ((8, 3), (10, 3), (9, 4))
        for seed in range(6)
    ]
    for a, b in itertools.combinations(graphs, 2):
        if len(a) == len(b):
            forms = [incidence(list(g.edges), len(g)) for g in (a, b)]
            assert (match(*forms) is not None) == nx.is_isomorphic(a, b)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), programs(), st.integers(0, 2**20))
def test_random_programs_are_the_same_network_as_the_oracle_says(one: Program, two: Program, seed: int) -> None:
    graph, other = run(one), run(two)
    assert same_network(graph, reencode(graph, random.Random(seed), ORDERS))
    assert same_network(graph, other) == isomorphic(graph, other)


# -- large symmetric networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [24, 60, 200])
def test_a_ring_of_convolutions_is_recognised_in_another_order(count: int) -> None:
    ring, halves = graph_of(cycles(count)), graph_of(cycles(count // 2, count // 2))
    started = time.perf_counter()
    for graph in (ring, halves):
        other = reencode(graph, random.Random(count), ORDERS)
        assert other.digest != graph.digest
        assert same_network(graph, other)
    assert not same_network(ring, halves)
    assert first_difference(ring, halves) == "operations that look alike are joined in different ways"
    assert time.perf_counter() - started < 10


def test_many_rings_of_which_two_are_joined_are_another_network() -> None:
    """Every ring that was matched would have to be taken back, if rings were not independent."""
    assert not same_network(graph_of(cycles(*[6] * 10)), graph_of(cycles(*[6] * 8, 12)))
    assert same_network(graph_of(cycles(*[6] * 8, 12)), graph_of(cycles(12, *[6] * 8)))


def moebius(count: int) -> list[tuple[int, int]]:
    """A ring with chords between opposite vertices."""
    return [(i, (i + 1) % count) for i in range(count)] + [(i, i + count // 2) for i in range(count // 2)]


def prism(count: int) -> list[tuple[int, int]]:
    """Two rings, each vertex joined to its partner: as many vertices and edges, and all of the same degree."""
    half = count // 2
    rings = [(start + i, start + (i + 1) % half) for start in (0, half) for i in range(half)]
    return rings + [(i, half + i) for i in range(half)]


def test_connected_near_misses_without_any_local_difference_are_told_apart() -> None:
    one, other = graph_of(regular(moebius(100))), graph_of(regular(prism(100)))
    assert not same_network(one, other)
    for graph in (one, other):
        assert same_network(graph, reencode(graph, random.Random(0), ORDERS))


def test_strongly_regular_networks_are_told_apart() -> None:
    rook, shrikhande = graph_of(regular(ROOK)), graph_of(regular(SHRIKHANDE))
    assert not same_network(rook, shrikhande)
    for graph in (rook, shrikhande):
        assert same_network(graph, reencode(graph, random.Random(0), ORDERS))


def transformer(layers: int, heads: int, order: random.Random) -> Graph:
    """Attention with layers of its own for each head; the heads are made in one order and added in another."""
    b = Builder()
    x = b.input((16, 24))
    for _ in range(layers):
        normal = b.norm(x, "layer", axis=-1)
        outputs: list[Tensor] = []
        for _ in range(heads):
            query, key, value = (b.linear(normal, 8) for _ in range(3))
            weights = b.softmax(b.matmul(query, b.permute(key, (1, 0))), -1)
            outputs.append(b.linear(b.matmul(weights, value), 24))
        order.shuffle(outputs)
        x = b.add(x, *outputs)
    return b.build(x)


def test_a_transformer_with_a_layer_for_each_head_is_recognised() -> None:
    one, other = (transformer(12, 12, random.Random(seed)) for seed in range(2))
    assert same_network(one, reencode(other, random.Random(0), ORDERS))
    assert not same_network(one, transformer(12, 11, random.Random(0)))


# -- the bound ---------------------------------------------------------------------------------------------------------


def ring(count: int) -> LabelledGraph:
    return incidence([(i, (i + 1) % count) for i in range(count)], count)


def test_at_the_bound_the_match_says_that_it_does_not_know() -> None:
    assert match(ring(50), permuted(ring(50), random.Random(0))) is not None
    with pytest.raises(UndecidedMatch, match="not known"):
        match(ring(50), permuted(ring(50), random.Random(0)), max_visits=100)


def test_undecided_networks_are_an_error_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isomorphism, "isomorphism", lambda a, b: match(a, b, max_visits=10))
    graph = graph_of(cycles(6))
    other = reencode(graph, random.Random(0), ORDERS)
    with pytest.raises(UndecidedNetworks, match=f"{graph.digest[:12]} and {other.digest[:12]}"):
        same_network(graph, other)
    assert same_network(graph, graph)
    assert not cached_training._is_same_network(graph.to_json(), other.to_json())


def test_a_search_takes_undecided_networks_for_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def undecided(a: Graph, b: Graph, _: object) -> bool:
        compared.append((a.digest, b.digest))
        raise UndecidedNetworks("not decided")

    monkeypatch.setattr(deduplicate, "same_network", undecided)
    space = nas.load_space("nasbench201")
    deduplicator = Deduplicator(space, "exact")
    first = space.parse("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|")
    second = space.parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")
    key = deduplicator.network_key(first)
    assert deduplicator.network_key(second) == f"{key}#2"
    assert (deduplicator.undecided, deduplicator.collisions, len(compared)) == (1, 0, 1)
    assert deduplicator.network_key(first) == key
