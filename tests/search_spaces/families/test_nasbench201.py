"""NAS-Bench-201 against its published counts, its published strings and its network written out plainly."""

from __future__ import annotations

import csv
import gzip
import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import networkx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from networkx.algorithms.isomorphism import categorical_multiedge_match, categorical_node_match

from search_spaces.catalog import load_space
from search_spaces.families.nasbench201 import CHOICES, EDGES, OPERATIONS, format_string, parse_string, published_string
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import GenotypeError, SpaceError

CELLS = [dict(zip(CHOICES, operations, strict=True)) for operations in itertools.product(OPERATIONS, repeat=6)]
OPTIMUM = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
IDENTITY = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
FIRST = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
SMALL = load_space("nasbench201", image_size=8, cells=1)
CIFAR10: dict[str, int] = {}
CIFAR100 = {"num_classes": 100}
IMAGENET16 = {"num_classes": 120, "image_size": 16}


def network(text: str, **options: Any) -> Graph:
    space = load_space("nasbench201", **options)
    return space.graph(space.parse(text))


@pytest.mark.parametrize(
    ("text", "options", "millions_of_params", "millions_of_flops"),
    [
        # D-X-Y/NATS-Bench issue 24: the API's figures of architecture 0 (FLOPs on each data set)
        (FIRST, CIFAR10, None, 15.64737),
        (FIRST, CIFAR100, None, 15.65322),
        (FIRST, IMAGENET16, None, 3.91948),
        # The least and most that the API has for any architecture, as third parties scale by them
        (IDENTITY, CIFAR10, 0.073306, 7.78305),
        (ALL_3X3, CIFAR10, 1.531546, 220.11969),
        (IDENTITY, CIFAR100, 0.079156, 7.7889),
        (ALL_3X3, CIFAR100, 1.537396, 220.12554),
        # D-X-Y/NATS-Bench issue 36
        (
            "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            CIFAR10,
            0.802426,
            113.95137,
        ),
    ],
)
def test_networks_have_the_published_counts(
    text: str, options: dict[str, int], millions_of_params: float | None, millions_of_flops: float
) -> None:
    graph = network(text, **options)
    if millions_of_params is not None:
        assert graph.params == round(millions_of_params * 1e6)
    # The published count adds the classifier's bias, one for each class.
    assert graph.macs + options.get("num_classes", 10) == round(millions_of_flops * 1e6)


def test_the_space_is_that_of_the_facts(shared: Callable[[str], Path]) -> None:
    facts = yaml.safe_load(shared("facts/nasbench.yaml").read_text(encoding="utf-8"))["nasbench201"]
    cell = facts["cell"]
    assert list(OPERATIONS) == cell["ops"]
    assert cell["op_order"].startswith("edges " + ",".join(f"({i}->{j})" for i, j in EDGES))
    assert len(EDGES) == cell["edges"]
    assert load_space("nasbench201").size() == cell["size"] == len(CELLS)
    optimum = facts["optimum"]["cell_seen"].split(" ")[0]
    assert format_string(parse_string(optimum, {}), {}) == optimum == OPTIMUM


def test_the_macro_network() -> None:
    graph = network(ALL_3X3)
    assert graph.output_shapes == {"logits": (10,)}
    convs = [node for node in graph.nodes if node.op == "conv"]
    stem, shortcuts = convs[0], [node for node in convs if node.attr("kernel") == (1, 1)]
    assert stem.shape == (16, 32, 32)
    assert [node.shape for node in shortcuts] == [(32, 16, 16), (64, 8, 8)]
    assert len(convs) == 1 + 15 * 6 + 2 * 3
    assert not any(node.attr("bias") for node in convs)
    assert {node.attr("padding") for node in convs if node not in shortcuts} == {((1, 1), (1, 1))}
    pools = {node.attrs for node in network(FIRST).nodes if node.op == "pool"}
    assert pools == {
        ("avg", (3, 3), (1, 1), ((1, 1), (1, 1)), False),  # torch's count_include_pad=False
        ("avg", (2, 2), (2, 2), ((0, 0), (0, 0)), False),
    }
    # Convolutions are ReLU, convolution, normalisation; only the stem and the shortcuts see no ReLU.
    bare = [node for node in convs if graph.nodes[node.inputs[0]].op != "act"]
    assert bare == [stem, *shortcuts]


def test_an_identity_cell_leaves_nothing() -> None:
    assert network(IDENTITY) == network(IDENTITY, cells=1) == network(ALL_3X3, cells=0)


def live_edges(cell: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Edges with an operation that are on a path from the cell's input to its output."""
    edges = [edge for edge, name in zip(EDGES, CHOICES, strict=True) if cell[name] != "none"]
    graph = networkx.DiGraph(edges)
    graph.add_nodes_from(range(4))
    return [(i, j) for i, j in edges if networkx.has_path(graph, 0, i) and networkx.has_path(graph, j, 3)]


@given(st.sampled_from(CELLS))
def test_parameters_are_those_of_the_convolutions_on_a_path(cell: dict[str, str]) -> None:
    graph = load_space("nasbench201", image_size=8).graph(cell)
    live = live_edges(cell)
    kinds = [cell[f"edge{i}>{j}"] for i, j in live]
    widths = (16, 32, 64)
    expected = 73_306  # the network around the cells
    expected += kinds.count("nor_conv_3x3") * 5 * sum(9 * c * c + 2 * c for c in widths)
    expected += kinds.count("nor_conv_1x1") * 5 * sum(c * c + 2 * c for c in widths)
    assert graph.params == (expected if live else 0)


# -- the network, written out ------------------------------------------------------------------------------------------


def plain_network(cell: Mapping[str, str], zeros: str) -> Graph:
    """The published code, line by line: every edge is computed, zeros and dead ones too; 4 channels, one cell each."""
    b = Builder(zeros=zeros)

    def conv_norm(x: Tensor, channels: int, kernel: int, stride: int = 1) -> Tensor:
        return b.norm(b.conv(x, channels, kernel, stride, padding=kernel // 2))

    def operation(x: Tensor, op: str) -> Tensor:
        return {
            "none": lambda: b.zero(x.shape),
            "skip_connect": lambda: x,
            "nor_conv_1x1": lambda: conv_norm(b.act(x, "relu"), x.channels, 1),
            "nor_conv_3x3": lambda: conv_norm(b.act(x, "relu"), x.channels, 3),
            "avg_pool_3x3": lambda: b.pool(x, "avg", 3, 1, padding=1),
        }[op]()

    x = conv_norm(b.input((3, 8, 8)), 4, 3)
    for stage in range(3):
        if stage:
            y = conv_norm(b.act(x, "relu"), 4 << stage, 3, 2)
            y = conv_norm(b.act(y, "relu"), 4 << stage, 3)
            x = b.add(b.conv(b.pool(x, "avg", 2, 2, padding=0), 4 << stage), y)
        nodes = [x]
        for target in (1, 2, 3):
            terms = [operation(nodes[source], cell[f"edge{source}>{target}"]) for source in range(target)]
            nodes.append(b.add(*terms))
        x = nodes[3]
    x = b.global_pool(b.act(b.norm(x), "relu"))
    return b.build({"logits": b.linear(b.reshape(x, (x.channels,)), 10)})


@pytest.mark.parametrize("zeros", ["absorb", "bias"])
def test_networks_are_the_plainly_written_ones(zeros: str) -> None:
    space = load_space("nasbench201", image_size=8, channels=4, cells=1, zeros=zeros)
    same_node = categorical_node_match(["op", "attrs", "shape", "outputs"], [None] * 4)
    same_edge = categorical_multiedge_match("operand", None)
    for cell in random.Random(0).sample(CELLS, 150):
        network, plain = space.graph(cell), plain_network(cell, zeros)
        a, b = network.to_networkx(), plain.to_networkx()
        for graph in (a, b):  # the order of a sum's terms, of which there is no other operation with several here
            for *_, edge in graph.edges(data=True):
                edge["operand"] = 0
        assert len(network) == len(plain)
        assert networkx.is_isomorphic(a, b, same_node, same_edge), cell


def test_zeros_as_biases_keep_the_shift_of_a_convolution_of_nothing() -> None:
    text = "|none~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|"
    assert network(text) == network(IDENTITY)
    assert network(text, zeros="bias").params == 73_306 + 5 * 2 * (16 + 32 + 64)  # the shift and its idle scale
    assert network(OPTIMUM, zeros="bias") == network(OPTIMUM)


# -- strings -----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(CELLS))
def test_strings_round_trip(cell: dict[str, str]) -> None:
    text = format_string(cell, {})
    assert parse_string(text, {}) == cell
    assert list(parse_string(f" {text}\n", {})) == list(CHOICES)
    genotype = SMALL.parse(text)
    assert dict(genotype) == cell
    assert SMALL.format(genotype) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"3 nodes joined by '\+', not 1"),
        ("|none~0|+|none~0|none~1|", r"3 nodes joined by '\+', not 2"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 of the NAS-Bench-201 string needs 2 operations"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", "node 1 of the NAS-Bench-201 string needs 1 operation "),
        ("|zero~0|+|none~0|none~1|+|none~0|none~1|none~2|", "operation 1 of node 1 .* one of none, .* not 'zero~0'"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "operation 2 of node 2 .* end in '~1', not 'none~0'"),
        ("|none~0|+|none~0|none|+|none~0|none~1|none~2|", "operation 2 of node 2 .* end in '~1', not 'none'"),
    ],
)
def test_strings_that_are_none_say_where(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("nasbench201").parse(text)


def test_decisions_that_are_not_the_spaces_have_no_string() -> None:
    for wrong in ({**CELLS[0], "edge0>3": "max_pool"}, {name: "none" for name in CHOICES if name != "edge0>3"}):
        for write in (published_string, lambda cell: format_string(cell, {})):
            with pytest.raises(GenotypeError, match="needs edge0>3 from"):
                write(wrong)


def test_published_strings_name_the_published_numbers_of_cells() -> None:
    # arXiv 2001.00326, appendix; "unique up to isomorphism" in the NATS-Bench notebook
    assert len({published_string(cell) for cell in CELLS}) == 6_466
    assert len({published_string(cell, zeros_simplified=False) for cell in CELLS}) == 12_751


def test_published_strings_are_those_of_the_table(shared: Callable[[str], Path]) -> None:
    with gzip.open(shared("data/nb201_accuracy/nb201_accuracy.csv.gz"), "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CELLS)
    for row in rows:
        decisions = parse_string(row["arch_str"], {})
        assert published_string(decisions) == row["canonical_str"]
        assert format_string(decisions, {}) == row["arch_str"]


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_scale_the_network() -> None:
    graph = network(ALL_3X3, image_size=64, num_classes=7, channels=8, cells=2)
    assert graph.input_shape == (3, 64, 64)
    assert graph.output_shapes == {"logits": (7,)}
    assert max(node.shape[0] for node in graph.nodes) == 32
    assert sum(node.op == "conv" for node in graph.nodes) == 1 + 3 * 2 * 6 + 2 * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 33}, "image_size must be a multiple of 4, for it is halved twice, not 33"),
        ({"image_size": 32.0}, "shape must be a whole number, not 32.0"),
        ({"channels": 0}, "channels must be a whole number of at least 1, not 0"),
        ({"channels": 16.0}, "channels must be a whole number of at least 1, not 16.0"),
        ({"cells": -1}, "cells must be a whole number of at least 0, not -1"),
        ({"cells": 2.0}, "cells must be a whole number of at least 0, not 2.0"),
        ({"zeros": "keep"}, "zeros must be 'absorb' or 'bias', not 'keep'"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        load_space("nasbench201", **options).sample(random.Random(0))
    assert "choice" not in str(caught.value)
