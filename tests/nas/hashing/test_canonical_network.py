"""All writings of a network have one canonical graph, which trains to the same bits."""

from __future__ import annotations

import random

import pytest
import torch

from nas.hashing import functional_hash as key
from nas.hashing.canonical import canonical
from nas.hashing.isomorphism import same_network
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module
from tests.support.carried_weights import module_outputs
from tests.support.near_misses import (
    NEAR_MISSES,
    graph_of,
)
from tests.support.random_networks import parameter_shapes, random_graph
from tests.support.reencode import reencode


@pytest.mark.parametrize("seed", range(4))
def test_the_canonical_network_keeps_what_counts(seed: int) -> None:
    for number in range(seed * 100, seed * 100 + 100):
        rng = random.Random(number)
        graph = random_graph(number, rng)
        same = canonical(graph)
        assert key(same) == key(graph), number
        assert (same.macs, same.params, same.variables) == (graph.macs, graph.params, graph.variables), number
        assert parameter_shapes(same) == parameter_shapes(graph), number
        assert same.input_shapes == graph.input_shapes
        assert same.output_shapes == graph.output_shapes
        assert same_network(same, graph), number


@pytest.mark.parametrize("seed", range(4))
def test_all_writings_have_one_canonical_network(seed: int) -> None:
    # All but few: where one concatenation goes into another channel by channel, the order of parts may stay as it was.
    unlike = []
    for number in range(seed * 100, seed * 100 + 100):
        rng = random.Random(number)
        graph = random_graph(number, rng)
        other = reencode(graph, rng)
        if canonical(other).digest != canonical(graph).digest:
            unlike.append(number)
            assert same_network(other, graph), number
    assert len(unlike) <= 4


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_all_writings_of_symmetric_networks_have_one_canonical_network(name: str) -> None:
    for network in NEAR_MISSES[name]:
        graph = graph_of(network)
        assert {canonical(reencode(graph, random.Random(seed))).digest for seed in range(3)} == {
            canonical(graph).digest
        }


def trained(graph: Graph, seed: int) -> dict[str, torch.Tensor]:
    """The weights after some steps of stochastic gradient descent, all from one seed."""
    module = to_module(canonical(graph), seed).train()
    generator = torch.Generator().manual_seed(seed)
    if not module.layers:
        return {}
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        inputs = [torch.randn(4, *shape, generator=generator) for shape in graph.input_shapes]
        outputs = module_outputs(module.graph, module, inputs)
        loss = sum((outputs[name].square().mean() for name in sorted(outputs)), torch.zeros(()))
        optimiser.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return module.state_dict()


@pytest.mark.parametrize(
    "number", [number for number in range(20) if number != 5]
)  # 5: see test_all_writings_have_one_canonical_network
def test_equal_networks_train_to_the_same_bits(number: int) -> None:
    rng = random.Random(number)
    graph = random_graph(number, rng)
    other = reencode(graph, rng)
    weights, others = trained(graph, number), trained(other, number)
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.allclose(tensor, others[name], rtol=0, atol=0, equal_nan=True), name
