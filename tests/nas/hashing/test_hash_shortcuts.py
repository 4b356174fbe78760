"""What is memoised by block changes no key and no cost: every shortcut against the network node by node."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings

import nas
from nas.hashing import chains, trees
from nas.hashing.equivalence import EXACT
from nas.hashing.graph_key import graph_key
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.catalog import spaces
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.graph.serialise import graph_from_json
from tests.support import random_programs

MODELS = ("edgetpu", "pixel1_cpu", "note10", "zcu102", "ethos_u55_128")


def one_key(graph: Graph) -> str:
    """The key of a network, checked to be the same by all ways of computing it.

    As a tree, by blocks and by steps; and as a network that is none, by chains and operation by operation.
    """
    key = graph_key(graph, EXACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "_digest_by_blocks", lambda graph: None)
        assert graph_key(graph, EXACT) == key
        patch.setattr(trees, "tree_digest", lambda graph: None)
        by_chains = graph_key(graph, EXACT)
        patch.setattr(chains, "network_signature", lambda graph: None)
        assert graph_key(graph, EXACT) == by_chains
    return key


def node_by_node(graph: Graph) -> Graph:
    """The same network, built of single nodes without blocks."""
    again = graph_from_json(graph.to_json())
    assert len(again.pieces) == len(again)
    return again


@pytest.mark.parametrize("name", sorted(spaces()))
def test_networks_of_every_space_are_the_same_node_by_node(name: str) -> None:
    space, rng = nas.load_space(name), random.Random(name)
    models = [nas.load_hardware(model) for model in MODELS]
    genotype = space.sample(rng)
    for _ in range(4):
        genotype = space.mutate(genotype, rng)
        graph = space.graph(genotype)
        again = node_by_node(graph)
        assert graph == again
        assert (graph.digest, graph.nodes, graph.macs, graph.params) == (
            again.digest,
            again.nodes,
            again.macs,
            again.params,
        )
        assert nas.functional_hash(graph) == nas.functional_hash(again) == one_key(graph)
        for model in models:
            assert model.estimate(graph) == model.estimate(again)


@settings(max_examples=150, deadline=None)
@given(random_programs.programs())
def test_random_networks_have_one_key_however_they_are_cut(program: random_programs.Program) -> None:
    whole, cut = random_programs.run(program), random_programs.run(program, cut=True)
    assert whole == cut
    assert whole.digest == cut.digest
    assert nas.functional_hash(whole) == nas.functional_hash(cut) == one_key(whole)


@settings(max_examples=60, deadline=None)
@given(random_programs.programs())
def test_random_networks_cost_the_same_however_they_are_cut(program: random_programs.Program) -> None:
    whole, cut = random_programs.run(program), random_programs.run(program, cut=True)
    for name in ("edgetpu", "zcu102"):
        model = nas.load_hardware(name)
        cost = model.estimate(cut)
        assert cost == model.estimate(whole)
        rows = sum(row.latency_ms for row in model.estimate(whole).breakdown())
        assert rows == pytest.approx(cost.latency_ms, rel=1e-12)


def test_open_branches_side_by_side_join_their_chains() -> None:
    """Two open runs at the same time, one of them continued, one read twice."""

    def network(block: bool) -> Graph:
        call = conv_norm_act if block else conv_norm_act.__wrapped__  # type: ignore[attr-defined]
        b = Builder()
        x = b.input((4, 8, 8))
        left, right = call(b, x, 4, 3), call(b, x, 4, 3)
        left = call(b, left, 8)
        tapped = call(b, right, 8)
        both = b.add(call(b, left, 8), call(b, tapped, 8))
        return b.build({"both": both, "tapped": b.conv(tapped, 2)})

    assert len(network(True).pieces) < len(network(False).pieces)
    assert graph_key(network(True), EXACT) == graph_key(network(False), EXACT) == one_key(network(True))


@pytest.mark.parametrize("ends", [(0,), (1,), (0, 1), (1, 0)])
def test_a_block_shows_the_branch_as_well_as_the_sum(ends: tuple[int, ...]) -> None:
    @block
    def fork(b: Builder, x: Tensor) -> tuple[Tensor, ...]:
        branch = b.norm(b.conv(x, 4, 3))
        both = branch, b.add(x, branch)
        return tuple([both[i] for i in ends])

    b = Builder()
    tensors = fork(b, conv_norm_act(b, b.input((4, 8, 8)), 4))
    graph = b.build({f"out{i}": b.conv(tensor, 2) for i, tensor in enumerate(tensors)})
    assert nas.functional_hash(graph) == one_key(graph) == nas.functional_hash(node_by_node(graph))


def test_a_block_refuses_a_tensor_of_another_builder() -> None:
    mine, other = Builder(), Builder()
    x, y = mine.input((3, 8, 8)), other.input((3, 8, 8))
    conv_norm_act(mine, x, 4)
    with pytest.raises(GraphError, match="another builder"):
        conv_norm_act(mine, y, 4)
