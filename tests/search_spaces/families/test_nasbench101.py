"""NAS-Bench-101 against a thousand rows of its table, its rules, and cells repaired or written in several ways."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from networkx.algorithms.isomorphism import categorical_node_match

from search_spaces.catalog import load_space
from search_spaces.families.nasbench101 import (
    MAX_EDGES,
    OPERATIONS,
    PAIRS,
    VERTICES,
    Matrix,
    cell_of,
    format_cell,
    module_hash,
    parse_cell,
    vertex_widths,
)
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import GenotypeError, SpaceError

CONV3, CONV1, POOL = OPERATIONS
SMALL = load_space("nasbench101", image_size=8, channels=8, stacks=1, modules=1)
# google-research/nasbench README.md; parameters as its API returns them
INCEPTION_MATRIX = [
    [0, 1, 1, 1, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0],
]
INCEPTION_OPS = ["input", CONV1, CONV3, CONV3, CONV3, POOL, "output"]
INCEPTION = "-1 1 0 0 0 2 -2|0>1 0>2 0>3 0>5 1>6 2>6 3>4 4>6 5>6"
INCEPTION_PARAMS = 2_694_282
# Rows of the published table: (cell, hash, parameters)
ROWS = [
    ("-1 0 2 0 0 1 -2|0>1 0>4 0>5 1>2 2>3 2>6 3>5 4>5 5>6", "00005c142e6f48ac74fdcf73e3439874", 8_555_530),
    ("-1 1 1 0 1 0 -2|0>1 1>2 2>3 3>4 3>5 3>6 4>5 5>6", "0000718c96730a92ea6d5242f8ce77e2", 5_878_154),
    ("-1 0 2 1 2 1 -2|0>1 0>5 1>2 1>5 2>3 3>4 3>6 4>5 5>6", "0000cb5372fad9d62c470df699ac6d52", 3_729_162),
]


@st.composite
def genotypes(draw: st.DrawFn) -> dict[str, Any]:
    edges = draw(st.integers(0, 2 ** len(PAIRS) - 1))
    decisions: dict[str, Any] = {f"edge{i}>{j}": bool(edges >> bit & 1) for bit, (i, j) in enumerate(PAIRS)}
    return decisions | {f"op{v}": draw(st.sampled_from(OPERATIONS)) for v in range(1, VERTICES - 1)}


def edges_of(decisions: dict[str, Any]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in PAIRS if decisions[f"edge{i}>{j}"]}


def digraph(edges: set[tuple[int, int]]) -> networkx.DiGraph[int]:
    graph: networkx.DiGraph[int] = networkx.DiGraph(edges)
    graph.add_nodes_from((0, VERTICES - 1))
    return graph


def network(text: str, **options: Any) -> Graph:
    space = load_space("nasbench101", **options)
    return space.graph(space.parse(text))


# -- the published table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "key", "params"), ROWS)
def test_some_published_cells(text: str, key: str, params: int) -> None:
    assert module_hash(*cell_of(parse_cell(text, {}))) == key
    assert network(text).params == params


def test_every_row_of_the_sample_has_its_hash_and_parameters(shared: Callable[[str], Path]) -> None:
    with gzip.open(shared("data/nb101_sample/nb101_1000_graphs.csv.gz"), "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    space = load_space("nasbench101")
    for row in rows:
        text = f"{row['ops']}|{row['edges']}"
        genotype = space.parse(text)
        assert space.format(genotype) == text
        assert len(cell_of(genotype)[0]) == int(row["n"])
        assert module_hash(*cell_of(genotype)) == row["hash"]
        assert space.graph(genotype).params == int(row["params"])


def test_the_space_is_that_of_the_facts(shared: Callable[[str], Path]) -> None:
    facts = yaml.safe_load(shared("facts/nasbench.yaml").read_text(encoding="utf-8"))["nasbench101"]["cell"]
    assert (facts["max_vertices"], facts["max_edges"]) == (VERTICES, MAX_EDGES)
    assert facts["ops"] == ["conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"] == list(OPERATIONS)


def test_all_choices_are_always_made() -> None:
    assert load_space("nasbench101").size() == 2**21 * 3**5


# -- the network -------------------------------------------------------------------------------------------------------


def conv_norm_params(channels: int, out_channels: int, kernel: int) -> int:
    return kernel * kernel * channels * out_channels + 2 * out_channels


@pytest.mark.parametrize("op", OPERATIONS)
def test_parameters_of_a_chain_of_one_operation(op: str) -> None:
    expected = conv_norm_params(3, 128, 3) + 512 * 10 + 10
    for before, width in ((128, 128), (128, 256), (256, 512)):
        for channels in (before, width, width):
            expected += conv_norm_params(channels, width, 1)
            expected += 0 if op == POOL else conv_norm_params(width, width, 3 if op == CONV3 else 1)
    assert network(f"input {op} output|0>1 1>2").params == expected


def test_a_direct_edge_is_a_projection() -> None:
    graph = network("-1 -2|0>1")
    assert sum(node.op == "conv" for node in graph.nodes) == 1 + 9
    assert {node.attr("kernel") for node in graph.nodes if node.op == "conv"} == {(3, 3), (1, 1)}
    assert not any(node.op in ("add", "concat") for node in graph.nodes)


def test_the_macro_network() -> None:
    graph = network(INCEPTION)
    assert graph.output_shapes == {"logits": (10,)}
    halvings = [node.shape for node in graph.nodes if node.op == "pool" and node.attr("stride") == (2, 2)]
    assert halvings == [(128, 16, 16), (256, 8, 8)]
    concats = [node.shape for node in graph.nodes if node.op == "concat"]
    assert concats == [(128, 32, 32)] * 3 + [(256, 16, 16)] * 3 + [(512, 8, 8)] * 3
    norms = {node.attrs[:3] for node in graph.nodes if node.op == "norm"}
    assert norms == {("batch", 1e-5, 0.003)}  # lib/base_ops.py: epsilon 1e-5, decay 0.997


def test_the_input_is_projected_and_added_to_the_concatenation() -> None:
    nodes = network("-1 0 0 -2|0>1 0>2 0>3 1>3 2>3", stacks=1, modules=1).nodes
    (total,) = [node for node in nodes if node.op == "add"]
    assert sorted(nodes[i].op for i in total.inputs) == ["act", "concat"]
    assert sum(node.op == "conv" for node in nodes) == 1 + 3 + 2  # the stem, three projections, two operations


def test_uneven_shares_are_cut_off_between_vertices() -> None:
    # 128 = 43 + 43 + 42: vertex 1 feeds vertex 3, which is one narrower
    nodes = network("-1 0 0 0 -2|0>1 0>2 1>3 1>4 2>4 3>4", stacks=1, modules=1).nodes
    (cut,) = [node for node in nodes if node.op == "slice"]
    assert (nodes[cut.inputs[0]].shape[0], cut.shape[0]) == (43, 42)


def test_widths_are_shared_in_the_order_of_the_vertices() -> None:
    _, matrix = cell_of(parse_cell("-1 0 0 0 0 -2|0>1 0>2 1>3 1>4 2>5 3>5 4>5", {}))
    assert vertex_widths(matrix, 128) == [0, 43, 43, 43, 42, 128]
    assert vertex_widths(matrix, 256) == [0, 85, 86, 85, 85, 256]


@given(genotypes(), st.sampled_from([128, 256, 512]))
def test_widths_never_grow_and_add_up(decisions: dict[str, Any], channels: int) -> None:
    _, matrix = cell_of(decisions)
    last = len(matrix) - 1
    widths = vertex_widths(matrix, channels)
    inner = range(1, last)
    if last > 1:
        assert sum(widths[v] for v in inner if matrix[v][last]) == channels
    for v, w in itertools.combinations(inner, 2):
        if matrix[v][w]:
            assert widths[v] - widths[w] in (0, 1) or not matrix[v][last]
            assert widths[v] >= widths[w]


# -- from genotypes to cells -------------------------------------------------------------------------------------------


@given(genotypes())
def test_every_genotype_is_a_cell_of_the_published_kind(decisions: dict[str, Any]) -> None:
    ops, matrix = cell_of(decisions)
    last = len(ops) - 1
    assert (ops[0], ops[last]) == ("input", "output")
    edges = {(i, j) for i, row in enumerate(matrix) for j, edge in enumerate(row) if edge}
    assert len(edges) <= MAX_EDGES
    assert all(i < j for i, j in edges)
    graph = digraph(edges)
    assert all(networkx.has_path(graph, 0, v) and networkx.has_path(graph, v, last) for v in range(len(ops)))


@given(genotypes())
def test_repair_only_takes_away(decisions: dict[str, Any]) -> None:
    ops, matrix = cell_of(decisions)
    graph = digraph(edges_of(decisions))
    if not networkx.has_path(graph, 0, VERTICES - 1):
        assert (ops, matrix) == (("input", "output"), ((0, 1), (0, 0)))
        return
    on_paths = [v for v in graph if networkx.has_path(graph, 0, v) and networkx.has_path(graph, v, VERTICES - 1)]
    pruned = graph.subgraph(on_paths)
    edge_count = sum(map(sum, matrix))
    if pruned.number_of_edges() <= MAX_EDGES:
        assert len(ops) == len(on_paths)
        assert edge_count == pruned.number_of_edges()
    # some of its vertices, in order, with edges that it has
    labels = {0: "input", VERTICES - 1: "output", **{v: decisions[f"op{v}"] for v in range(1, VERTICES - 1)}}
    assert any(
        tuple(labels[v] for v in chosen) == ops
        and all(
            pruned.has_edge(chosen[i], chosen[j]) for i, j in itertools.combinations(range(len(ops)), 2) if matrix[i][j]
        )
        for chosen in itertools.combinations(sorted(on_paths), len(ops))
    )


def test_the_longest_edges_are_dropped_first() -> None:
    complete: dict[str, Any] = {f"edge{i}>{j}": True for i, j in PAIRS} | {f"op{v}": CONV3 for v in range(1, 6)}
    ops, matrix = cell_of(complete)
    assert len(ops) == VERTICES
    edges = [(i, j) for i, row in enumerate(matrix) for j, edge in enumerate(row) if edge]
    assert edges == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (4, 5), (5, 6)]


@given(genotypes())
def test_cells_written_and_read_again_are_the_same_networks(decisions: dict[str, Any]) -> None:
    text = format_cell(decisions, {})
    again = parse_cell(text, {})
    assert cell_of(again) == cell_of(decisions)
    assert format_cell(again, {}) == text
    assert parse_cell(format_cell(again, {}), {}) == again
    assert SMALL.graph(again) == SMALL.graph(decisions)
    assert dict(SMALL.parse(text)) == again


# -- the published hash ------------------------------------------------------------------------------------------------


def test_hashes_of_small_cells_are_equal_for_isomorphic_ones_alone() -> None:
    """All pruned cells of up to four vertices, against networkx."""
    cells = set()
    for count in (2, 3, 4):
        pairs = list(itertools.combinations(range(count), 2))
        for chosen in itertools.product((False, True), repeat=len(pairs)):
            edges = " ".join(f"{i}>{j}" for (i, j), edge in zip(pairs, chosen, strict=True) if edge)
            for ops in itertools.product("012", repeat=count - 2):
                try:
                    cells.add(cell_of(parse_cell(f"-1 {' '.join(ops)} -2|{edges}", {})))
                except GenotypeError:  # no path
                    continue
    classes: list[networkx.DiGraph[int]] = []
    same = categorical_node_match("op", None)
    hashes = set()
    for ops, matrix in cells:
        graph: networkx.DiGraph[int] = networkx.DiGraph()
        graph.add_nodes_from((v, {"op": op}) for v, op in enumerate(ops))
        graph.add_edges_from((i, j) for i, row in enumerate(matrix) for j, edge in enumerate(row) if edge)
        if not any(networkx.is_isomorphic(graph, other, node_match=same) for other in classes):
            classes.append(graph)
        hashes.add(module_hash(ops, matrix))
    assert len(hashes) == len(classes)
    assert len(classes) < len(cells)


@given(genotypes(), st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_numbers_of_vertices(decisions: dict[str, Any], rng: random.Random) -> None:
    ops, matrix = cell_of(decisions)
    order = list(range(len(ops)))
    rng.shuffle(order)
    shuffled: Matrix = tuple(tuple(matrix[i][j] for j in order) for i in order)
    assert module_hash([ops[v] for v in order], shuffled) == module_hash(ops, matrix)


# -- notation ----------------------------------------------------------------------------------------------------------


def test_a_cell_can_be_written_in_three_ways() -> None:
    numbers = parse_cell(INCEPTION, {})
    names = parse_cell(f"{' '.join(INCEPTION_OPS)}|{INCEPTION.partition('|')[2]}", {})
    spec = parse_cell(json.dumps([INCEPTION_MATRIX, INCEPTION_OPS]), {})
    assert numbers == names == spec
    assert cell_of(spec) == (tuple(INCEPTION_OPS), tuple(map(tuple, INCEPTION_MATRIX)))
    assert network(json.dumps([INCEPTION_MATRIX, INCEPTION_OPS])).params == INCEPTION_PARAMS


def test_small_cells_keep_the_order_of_their_vertices() -> None:
    decisions = parse_cell("-1 2 1 -2|0>1 1>2 2>3", {})
    assert edges_of(decisions) == {(0, 1), (1, 2), (2, 6)}
    assert (decisions["op1"], decisions["op2"]) == (POOL, CONV1)
    assert list(decisions) == list(load_space("nasbench101").decisions())


def test_vertices_without_a_path_are_left_out() -> None:
    assert parse_cell("-1 0 1 2 -2|0>1 0>2 0>3 1>4 3>4", {}) == parse_cell("-1 0 2 -2|0>1 0>2 1>3 2>3", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "of the form '-1 0 2 -2"),
        ("-1 0 -2", "of the form '-1 0 2 -2"),
        ("-1 3 -2|0>1 1>2", "vertex 1 of a NAS-Bench-101 cell is '3'; known: input"),
        ("-1|", "has 2 to 7 vertices, not 1"),
        ("-1 0 0 0 0 0 0 -2|0>7", "has 2 to 7 vertices, not 8"),
        ("0 0 -2|0>2", r"vertex 0 of a NAS-Bench-101 cell must be input \(-1\), not 'conv3x3-bn-relu'"),
        ("-1 0 0|0>2", r"vertex 2 of a NAS-Bench-101 cell must be output \(-2\)"),
        ("-1 -1 -2|0>2", r"vertex 1 of a NAS-Bench-101 cell must be conv3x3-bn-relu \(0\), .* not 'input'"),
        ("-1 0 -2|0>1 1-2", "an edge of a NAS-Bench-101 cell is of the form 0>1, not '1-2'"),
        ("-1 0 -2|0>1 2>1", "of 3 vertices leads from a lower to a higher, not 2>1"),
        ("-1 0 -2|0>1 1>3", "of 3 vertices leads from a lower to a higher, not 1>3"),
        ("-1 0 -2|0>1", "needs a path from vertex 0, the input, to vertex 2, the output"),
        ("-1 0 0 0 -2|0>1 0>2 0>3 0>4 1>2 1>3 1>4 2>3 2>4 3>4", "has at most 9 edges on paths .* not 10"),
        ("[", "this is no JSON"),
        ("[1, 2]", r"\[matrix, ops\], a square list"),
        ("[[[0]]]", r"\[matrix, ops\], .* not 1 parts"),
        ('[[[0, 1], [0, 2]], ["input", "output"]]', r"for 2 operations a row cannot be \[0, 2\]"),
        ('[[[0, 1]], ["input", "output"]]', "there are 1 rows for 2 operations"),
        ('[[[0, 1], [1, 0]], ["input", "output"]]', "leads from a lower to a higher, not 1>0"),
        ('[[[0, 1], [0, 0]], ["input", 7]]', r"vertex 1 of a NAS-Bench-101 cell must be output \(-2\), not '7'"),
    ],
)
def test_texts_that_are_no_cell_say_why(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("nasbench101").parse(text)


def test_decisions_that_are_missing_are_named() -> None:
    with pytest.raises(GenotypeError, match="needs a decision for 'edge0>1'"):
        format_cell({}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 2}, "beyond the input"),
        ({"channels": 4}, "channels must be a whole number of at least 5, not 4"),
        ({"channels": 128.0}, "channels must be a whole number of at least 5, not 128.0"),
        ({"stacks": 2.0}, "stacks must be a whole number of at least 0, not 2.0"),
        ({"modules": -1}, "modules must be a whole number of at least 0, not -1"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space("nasbench101", **options).sample(random.Random(0))
