"""Networks that are trees of chains: which are, that different ones have other keys, and how sums are grouped."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

import nas
from nas.hashing.isomorphism import same_network
from nas.hashing.trees import tree_digest
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph

WIDTH = 4


def network(body: Callable[[Builder, Tensor], Tensor | dict[str, Tensor]]) -> Graph:
    b = Builder()
    return b.build(body(b, b.input((WIDTH, 8, 8))))


def conv(b: Builder, x: Tensor, kernel: int = 1) -> Tensor:
    return b.conv(x, WIDTH, kernel)


def residual(b: Builder, x: Tensor) -> Tensor:
    return b.add(x, b.act(b.norm(conv(b, x, 3)), "relu"))


def squeezed(b: Builder, x: Tensor) -> Tensor:
    return b.mul(x, b.act(b.conv(b.global_pool(x), WIDTH), "sigmoid"))


def crossed(b: Builder, x: Tensor) -> Tensor:
    """A bridge between two branches: no series or parallel rule takes it apart."""
    left, right = conv(b, x), conv(b, x, 3)
    over = b.add(left, right)
    return b.mul(b.act(left, "relu"), conv(b, over))


def is_tree(graph: Graph) -> bool:
    return tree_digest(graph) is not None


@pytest.mark.parametrize(
    "body",
    [
        conv,
        residual,
        squeezed,
        lambda b, x: residual(b, squeezed(b, residual(b, x))),
        lambda b, x: b.mul(residual(b, squeezed(b, x)), conv(b, x, 3)),  # a branch that has branches
        lambda b, x: b.matmul(conv(b, x), conv(b, x, 3)),
        lambda b, x: {"a": residual(b, x), "b": conv(b, x), "c": x},
        lambda b, x: b.add(x, x),
    ],
)
def test_chains_and_branches_that_meet_again_are_trees(body: Callable[[Builder, Tensor], Tensor]) -> None:
    assert is_tree(network(body))


@pytest.mark.parametrize(
    "body",
    [
        crossed,
        lambda b, x: b.concat([conv(b, x), conv(b, x, 3)]),
        lambda b, x: b.add(x, crossed(b, conv(b, x))),
    ],
)
def test_bridges_and_concatenations_are_no_trees(body: Callable[[Builder, Tensor], Tensor]) -> None:
    assert not is_tree(network(body))


@pytest.mark.parametrize("name", ["mobiledet", "mobilenetv2", "mobilenetv3", "fbnet", "efficientnet", "tinynet"])
def test_the_mobile_spaces_are_trees(name: str) -> None:
    space, rng = nas.load_space(name), random.Random(0)
    assert all(is_tree(space.graph(space.sample(rng))) for _ in range(10))


def test_two_inputs_that_never_meet_are_two_trees_and_their_order_counts() -> None:
    def both(first: int, second: int) -> Graph:
        b = Builder()
        x, y = b.input((WIDTH, 8, 8)), b.input((WIDTH, 8, 8))
        return b.build({"x": conv(b, x, first), "y": conv(b, y, second)})

    keys = {nas.functional_hash(both(*kernels)) for kernels in itertools.product((1, 3), repeat=2)}
    assert len(keys) == 4
    assert is_tree(both(1, 3))


def test_branches_may_be_written_in_any_order() -> None:
    branches: list[Callable[[Builder, Tensor], Tensor]] = [
        conv,
        lambda b, x: conv(b, x, 3),
        squeezed,
        residual,
        lambda b, x: b.act(x, "relu"),
    ]

    def joined(order: tuple[int, ...], join: str) -> Graph:
        return network(lambda b, x: getattr(b, join)(*[branches[i](b, x) for i in order]))

    orders = list(itertools.permutations(range(5)))[::17]
    assert len({nas.functional_hash(joined(order, "add")) for order in orders}) == 1
    assert nas.functional_hash(joined((0, 1), "mul")) == nas.functional_hash(joined((1, 0), "mul"))
    assert nas.functional_hash(joined((0, 1), "matmul")) != nas.functional_hash(joined((1, 0), "matmul"))


def test_different_joins_of_equal_branches_have_other_keys() -> None:
    """All have the same operations with the same neighbours, which colour refinement alone would not separate."""

    def tails(groups: tuple[tuple[int, ...], ...]) -> Graph:
        def body(b: Builder, x: Tensor) -> dict[str, Tensor]:
            outputs = {}
            for group in groups:
                stem = conv(b, x, 3)
                for tail in group:
                    outputs[f"out{tail}"] = b.act(conv(b, conv(b, stem)), "relu")
            return outputs

        return network(body)

    partitions = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)), ((0, 1, 2), (3,)), ((0,), (1,), (2,), (3,))]
    graphs = [tails(groups) for groups in partitions]
    assert all(map(is_tree, graphs))
    assert len({nas.functional_hash(graph) for graph in graphs}) == len(graphs)
    assert nas.functional_hash(tails(((3, 2), (1, 0)))) == nas.functional_hash(graphs[0])


def test_a_shared_branch_is_not_two_copies() -> None:
    shared = network(lambda b, x: (lambda y: b.add(y, b.act(y, "relu")))(conv(b, x)))
    copied = network(lambda b, x: b.add(conv(b, x), b.act(conv(b, x), "relu")))
    twice = network(lambda b, x: b.add(x, x))
    assert is_tree(shared)
    assert is_tree(copied)
    assert len({nas.functional_hash(graph) for graph in (shared, copied, twice, network(lambda b, x: x))}) == 4


def test_a_sum_that_is_part_of_another_may_be_written_out() -> None:
    def grouped(b: Builder, x: Tensor) -> Tensor:
        p = conv(b, x)
        inner = b.add(x, p)
        return b.add(inner, b.act(inner, "relu"))

    def written_out(b: Builder, x: Tensor) -> Tensor:
        p = conv(b, x)
        return b.add(x, p, b.act(b.add(x, p), "relu"))

    one, other = network(grouped), network(written_out)
    assert one.digest != other.digest
    assert is_tree(one)
    assert is_tree(other)
    assert nas.functional_hash(one) == nas.functional_hash(other)
    assert same_network(one, other)


def test_sums_that_overlap_are_no_trees_in_any_writing() -> None:
    def body(order: int) -> Callable[[Builder, Tensor], Tensor]:
        def build(b: Builder, x: Tensor) -> Tensor:
            p, q = conv(b, x), b.act(x, "relu")
            first, second = b.add(x, p), b.add(x, q)
            ends = [b.act(first, "relu"), b.act(second, "sigmoid")]
            return b.mul(*(ends if order else ends[::-1]))

        return build

    graphs = [network(body(order)) for order in (0, 1)]
    assert not any(map(is_tree, graphs))
    assert len({nas.functional_hash(graph) for graph in graphs}) == 1


@pytest.mark.parametrize("writing", [(4,), (2, 2)])
def test_a_sum_of_a_sum_with_itself_is_the_sum_of_all(writing: tuple[int, ...]) -> None:
    def body(b: Builder, x: Tensor) -> Tensor:
        for times in writing:
            x = b.add(*[x] * times)
        return conv(b, x)

    assert nas.functional_hash(network(body)) == nas.functional_hash(network(lambda b, x: conv(b, b.add(*[x] * 4))))
