"""Cuts of a graph in two: what crosses them, by hand; separators against networkx's dominators."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
from hypothesis import given, settings

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.split_bottleneck import bottlefit_resnet, split_encoder
from search_spaces.catalog import load_network
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.cuts import bytes_across, narrowest_cut, separator_cuts
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from tests.support.built_graphs import built
from tests.support.random_programs import programs, run


def bypass(b: Builder, x: Tensor) -> dict[str, Tensor]:
    """A chain with a residual: what its middle needs goes across next to it."""
    y = b.conv(x, 4, 3)  # node 1: (4, 8, 8)
    z = b.act(b.norm(b.conv(y, 2, 3, 2)), "relu")  # nodes 2 to 4: (2, 4, 4)
    y = b.add(y, b.conv(b.resize(z, (8, 8)), 4))  # nodes 5 to 7
    return {"map": b.conv(y, 6, 3, 4)}  # node 8: (6, 2, 2)


def test_a_cut_beside_a_residual_carries_both() -> None:
    graph = built((3, 8, 8), bypass)
    assert [cut.node for cut in separator_cuts(graph)] == [1, 7]
    assert bytes_across(graph) == 4 * 4 * 64
    assert bytes_across(graph, 0) == 4 * 3 * 64
    assert bytes_across(graph, 4) == 4 * (4 * 64 + 2 * 16)
    assert bytes_across(graph, 4, bits=1) == (4 * 64 + 2 * 16) // 8
    assert bytes_across(graph, "map") == 4 * 6 * 4


def test_outputs_that_the_device_makes_cross_too() -> None:
    def network(b: Builder, x: Tensor) -> dict[str, Tensor]:
        y = b.conv(x, 4, 3)
        early = classifier(b, y, 5)
        z = split_encoder(b, y, 1)
        return {"early": early, "late": classifier(b, b.conv(z, 8, 3), 10)}

    graph = built((3, 8, 8), network)
    assert [graph.nodes[cut.node].shape for cut in separator_cuts(graph)] == [(4, 8, 8)]
    narrow = next(i for i, node in enumerate(graph.nodes) if node.shape == (1, 5, 5))
    assert bytes_across(graph, narrow) == 4 * (25 + 5)


def test_a_classifier_is_narrowest_at_its_end_unless_the_device_is_slow() -> None:
    graph = built((3, 64, 64), lambda b, x: classifier(b, bottlefit_resnet(b, x, 3), 1000))
    assert graph.nodes[narrowest_cut(graph, bits=8).node].shape == (3, 9, 9)
    graph = built((3, 64, 64), lambda b, x: classifier(b, bottlefit_resnet(b, x, 24), 1000))
    assert graph.nodes[narrowest_cut(graph).node].op == "global_pool"
    assert graph.nodes[narrowest_cut(graph, device_macs=11_000_000).node].shape == (24, 9, 9)
    with pytest.raises(GraphError, match="within 10 multiply-adds"):
        narrowest_cut(graph, device_macs=10)
    with pytest.raises(GraphError, match=r"no cut 'stem'; a node's number below \d+, or an output: output"):
        bytes_across(graph, "stem")
    with pytest.raises(GraphError, match="bits must be at least 1"):
        bytes_across(graph, 1, bits=0)


def dominators_of_the_end(graph: Graph) -> set[int]:
    """networkx's: nodes on every path from the inputs to the outputs, neither of them."""
    flow: networkx.DiGraph[int | str] = networkx.DiGraph()
    for index, node in enumerate(graph.nodes):
        flow.add_edges_from(("start", index) for _ in [0] if node.op == "input")
        flow.add_edges_from((i, index) for i in node.inputs)
    flow.add_edges_from((index, "end") for _, index in graph.outputs)
    above = networkx.immediate_dominators(flow, "start")
    dominators, node_name = set(), above.get("end", "start")
    while node_name != "start":
        dominators.add(node_name)
        node_name = above[node_name]
    ends = {index for _, index in graph.outputs}
    return {i for i in dominators if i not in ends and graph.nodes[i].op != "input"}


@settings(max_examples=60)
@given(programs())
def test_separators_are_the_dominators_of_the_end(program: Any) -> None:
    graph = run(program)
    if any(graph.nodes[index].op in ("zero", "input") for _, index in graph.outputs):
        return  # nothing to cut
    assert {cut.node for cut in separator_cuts(graph)} == dominators_of_the_end(graph)


@pytest.mark.parametrize("name", ["mobiledet_cpu", "mobilenet_v2"])
def test_separators_of_published_networks(name: str) -> None:
    graph = load_network(name)
    assert {cut.node for cut in separator_cuts(graph)} == dominators_of_the_end(graph)
