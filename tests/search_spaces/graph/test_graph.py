"""The graph: what it counts, its peak memory against a simulator, JSON that cannot hurt, networkx."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.catalog import load_network
from search_spaces.graph.builder import Builder
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import GRAPH_JSON_FORMAT, Graph
from search_spaces.graph.operations import GraphError
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from tests.support.random_programs import programs, run

ROOT = Path(__file__).parents[3]


def two_convolutions() -> Graph:
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 8, 8)), 4, 3, 2)), "relu")
    return b.build({"map": b.conv(x, 2, bias=True)})


def figures(graph: Graph) -> tuple[Any, ...]:
    return (
        graph.macs,
        graph.params,
        graph.variables,
        graph.bytes_read,
        graph.bytes_written,
        graph.peak_activation_bytes,
        graph.node_counts(),
    )


def simulated_peak_bytes(graph: Graph) -> int:
    """Step by step over the plain nodes: what is needed now or later, and the result, are there together."""
    nodes = graph.nodes
    readers: dict[int, list[int]] = {i: [] for i in range(len(nodes))}
    for index, node in enumerate(nodes):
        for i in node.inputs:
            readers[i].append(index)
    end = len(nodes)
    for _, i in graph.outputs:
        readers[i].append(end)
    peak = 0
    for index, node in enumerate(nodes):
        there = {i for i in range(index) if any(reader >= index for reader in readers[i])} | {index}
        overwrites = node.op in ("norm", "layer_scale", "act", "softmax", "reshape", "scale")
        if overwrites and max(readers[node.inputs[0]]) == index:
            there.remove(node.inputs[0])
        peak = max(peak, sum(4 * prod(nodes[i].shape) for i in there))
    return peak


# -- what it counts --------------------------------------------------------------------------------------------------


def test_figures_of_two_convolutions_by_hand() -> None:
    graph = two_convolutions()
    assert [node.op for node in graph.nodes] == ["input", "conv", "norm", "act", "conv"]
    assert graph.macs == 4 * 4 * 4 * (3 * 9) + 2 * 4 * 4 * 4
    assert graph.params == 4 * 3 * 9 + 2 * 4 + (2 * 4 + 2)
    assert graph.variables == graph.params + 2 * 4
    image, inner, result = 3 * 8 * 8, 4 * 4 * 4, 2 * 4 * 4
    assert graph.bytes_written == 4 * (3 * inner + result)
    assert graph.bytes_read == 4 * (image + 3 * inner + graph.variables)
    assert graph.peak_activation_bytes == 4 * (image + inner)
    assert [f.macs for f in graph.node_counts()] == [0, 1728, 0, 0, 128]
    assert len(graph) == 5
    assert repr(graph) == "<Graph 5 nodes, 0.0 M MACs, 0.000 M parameters>"


def test_shapes_and_attributes() -> None:
    graph = two_convolutions()
    assert graph.input_shape == (3, 8, 8)
    assert graph.input_shapes == ((3, 8, 8),)
    assert graph.output_shapes == {"map": (2, 4, 4)}
    assert graph.nodes[1].attr("stride") == (2, 2)
    with pytest.raises(ValueError, match="not in tuple"):
        graph.nodes[1].attr("shape")


def test_matrix_products_count_and_views_move_nothing() -> None:
    b = Builder()
    x = b.input((5, 7))
    product = b.matmul(x, b.permute(x, (1, 0)))
    graph = b.build(b.reshape(product, (25,)))
    assert graph.macs == 5 * 5 * 7
    assert graph.params == 0
    assert [f.written_elements for f in graph.node_counts()] == [0, 35, 25, 0]
    assert [f.read_elements for f in graph.node_counts()] == [0, 35, 70, 0]


def test_an_input_that_nothing_reads_stays_an_input_and_needs_no_memory_later() -> None:
    b = Builder()
    x, unread = b.input((1, 2, 2)), b.input((100,))
    graph = b.build(b.conv(x, 1))
    assert graph.input_shapes == ((1, 2, 2), (100,))
    assert graph.peak_activation_bytes == 4 * (4 + 100) == simulated_peak_bytes(graph)
    assert unread.shape == (100,)


@settings(max_examples=250)
@given(programs())
def test_peak_memory_is_the_simulators(program: Any) -> None:
    graph = run(program, cut=True)
    assert graph.peak_activation_bytes == simulated_peak_bytes(graph)


@pytest.mark.parametrize("name", [name for name in networks() if name.startswith("mobiledet")])
def test_peak_memory_of_published_networks_is_the_simulators(name: str) -> None:
    graph = load_network(name)
    assert len(graph.pieces) < len(graph)  # it is made of blocks
    assert graph.peak_activation_bytes == simulated_peak_bytes(graph)


# -- equality --------------------------------------------------------------------------------------------------------


def test_equal_networks_are_equal_and_hash_alike() -> None:
    assert two_convolutions() == two_convolutions()
    assert len({two_convolutions(), two_convolutions()}) == 1
    assert two_convolutions() != "graph"


def test_networks_that_differ_have_different_digests() -> None:
    def network(width: int = 4, kernel: int = 3, name: str = "y", image: int = 8, bias: bool = False) -> Graph:
        b = Builder()
        return b.build({name: b.conv(b.input((3, image, image)), width, kernel, bias=bias)})

    graphs = [network(), network(width=5), network(kernel=1), network(name="z"), network(image=9), network(bias=True)]
    assert len({g.digest for g in graphs}) == len(graphs)
    assert all(a != b for i, a in enumerate(graphs) for b in graphs[:i])


def test_output_names_cannot_imitate_each_other() -> None:
    b = Builder()
    x = b.conv(b.input((1, 2, 2)), 1)
    y = b.conv(x, 1)
    assert b.build({"a:2|b": y, "c": x}) != b.build({"a": x, "b:1|c": x})
    one, two = b.build({"a:1|b": x, "c": y}), b.build({"a": y, "b": x, "c": y})
    assert one.digest != two.digest


def test_a_digest_is_the_same_in_every_process_and_in_every_release() -> None:
    # Caches and studies hold digests: one that changes needs a new version in Graph.digest.
    code = "from search_spaces.catalog import load_network; print(load_network('mobiledet_edgetpu').digest)"
    for seed in ("0", "1"):
        process = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.strip() == "822900569b345e7392bb44c11b547f40"


def test_graphs_can_be_pickled_and_copied() -> None:
    graph = load_network("mobiledet_dsp")
    for other in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):  # noqa: S301 - our own bytes
        assert other == graph
        assert other.digest == graph.digest
        assert figures(other) == figures(graph)


# -- JSON ------------------------------------------------------------------------------------------------------------


def test_json_is_plain() -> None:
    b = Builder()
    graph = b.build({"y": b.act(b.conv(b.input((1, 4, 4)), 2, 3, 2), "relu6")})
    assert json.loads(graph.to_json()) == {
        "format": "nas-graph/1",
        "nodes": [
            {"op": "input", "shape": [1, 4, 4]},
            {
                "op": "conv",
                "inputs": [0],
                "out_channels": 2,
                "kernel": [3, 3],
                "stride": [2, 2],
                "padding": [[0, 1], [0, 1]],
                "dilation": [1, 1],
                "groups": 1,
                "bias": False,
            },
            {"op": "act", "inputs": [1], "fn": "relu6"},
        ],
        "outputs": {"y": 2},
    }


@settings(max_examples=250)
@given(programs())
def test_json_round_trip_changes_nothing(program: Any) -> None:
    graph = run(program, cut=True)
    again = graph_from_json(graph.to_json())
    assert again == graph
    assert again.nodes == graph.nodes
    assert again.outputs == graph.outputs
    assert again.digest == graph.digest
    assert figures(again) == figures(graph)


@pytest.mark.parametrize("name", list(networks()))
def test_published_networks_survive_json(name: str) -> None:
    graph = load_network(name)
    again = graph_from_json(graph.to_json())
    assert again == graph
    assert figures(again) == figures(graph)


def test_json_that_is_not_in_normal_form_is_brought_there() -> None:
    rows: list[dict[str, Any]] = [
        {"op": "input", "shape": [4]},
        {"op": "zero", "shape": [4]},
        {"op": "linear", "inputs": [0], "out_features": 4, "bias": True},
        {"op": "act", "inputs": [2], "fn": "relu"},
        {"op": "act", "inputs": [3], "fn": "relu"},
        {"op": "add", "inputs": [4, 1]},
        {"op": "act", "inputs": [0], "fn": "tanh"},
    ]
    graph = graph_from_json(json.dumps({"format": GRAPH_JSON_FORMAT, "nodes": rows, "outputs": {"y": 5}}))
    assert [node.op for node in graph.nodes] == ["input", "linear", "act"]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def document(*rows: Any, outputs: Any = None) -> str:
    nodes = [{"op": "input", "shape": [2, 4, 4]}, *rows]
    return json.dumps(
        {"format": GRAPH_JSON_FORMAT, "nodes": nodes, "outputs": {"y": 0} if outputs is None else outputs}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5000, "not JSON"),
        ("[]", "format 'nas-graph/1'"),
        ('{"format": "nas-graph/2"}', "format 'nas-graph/1'"),
        (json.dumps({"format": GRAPH_JSON_FORMAT, "nodes": {}, "outputs": {"y": 0}}), "a list `nodes`"),
        (document(outputs={}), "an object `outputs`"),
        (document(outputs=[0]), "an object `outputs`"),
        (document(outputs={"y": 1}), "output 'y' must be the number of a node, 0 to 0"),
        (document(outputs={"y": -1}), "output 'y' must be the number of a node"),
        (document(outputs={"y": 0.0}), "output 'y' must be the number of a node"),
        (document(outputs={"y": False}), "output 'y' must be the number of a node"),
        (document(outputs={"": 0}), "needs a name of printable characters"),
        (document(outputs={"\ud800": 0}), "needs a name of printable characters"),
        (document(None), "node 1: expected an object with a known `op`"),
        (document({}), "node 1: expected an object with a known `op`"),
        (document({"op": ["conv"]}), "node 1: expected an object with a known `op`"),
        (document({"op": "con"}), "node 1: expected an object with a known `op`"),
        (document({"op": "act", "inputs": [0]}), "node 1: act: attributes must be fn"),
        (document({"op": "act", "inputs": [0], "fn": "relu", "x": 1}), "node 1: act: attributes must be fn"),
        (document({"op": "act", "inputs": [0], "fn": "mish"}), "no activation 'mish'; known: relu"),
        (document({"op": "act", "inputs": 0, "fn": "relu"}), "inputs must be a list"),
        (document({"op": "act", "inputs": [1], "fn": "relu"}), "an input must be the number of an earlier node"),
        (document({"op": "act", "inputs": [2], "fn": "relu"}, None), "an input must be the number of an earlier node"),
        (document({"op": "act", "inputs": [True], "fn": "relu"}), "an input must be the number of an earlier node"),
        (document({"op": "act", "inputs": [0.0], "fn": "relu"}), "an input must be the number of an earlier node"),
        (document({"op": "act", "inputs": [0, 0], "fn": "relu"}), r"act: takes 1 operand\(s\), not 2"),
        (document({"op": "act", "inputs": [], "fn": "relu"}), r"act: takes 1 operand\(s\), not 0"),
        (document({"op": "scale", "inputs": [0], "factor": float("nan")}), "factor must be a finite number"),
        (document({"op": "scale", "inputs": [0], "factor": 2}), "factor must be a finite number"),
        (document({"op": "reshape", "inputs": [0], "shape": [[[32]]]}), "a list of them or of pairs"),
        (document({"op": "reshape", "inputs": [0], "shape": nested(900)}), "a list of them or of pairs"),
        (document({"op": "reshape", "inputs": nested(900), "shape": [32]}), "the number of an earlier node"),
        (document({"op": nested(900)}), "expected an object with a known `op`"),
        (document(outputs={"y": nested(900)}), "output 'y' must be the number of a node"),
        (document({"op": "reshape", "inputs": [0], "shape": {"a": 1}}), "a list of them or of pairs"),
        (document({"op": "reshape", "inputs": [0], "shape": [33]}), "does not hold the 32 elements"),
        (document({"op": "reshape", "inputs": [0], "shape": [10**4000]}), "up to 2147483647"),
        (document({"op": "input", "shape": [2**31 - 1] * 3}), "beyond any memory"),
        (document({"op": "input", "shape": []}), "shape must be a tuple"),
        (document({"op": "input", "shape": [3.0]}), "whole number"),
        (document({"op": "permute", "inputs": [0], "axes": [0, 0, 1]}), "no permutation"),
    ],
)
def test_json_that_is_no_graph_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph_from_json(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_values = [
    *(-1, 0, 1, 2, 3, 7, 2**31, 2**63, 10**4000, -(10**30), 1e308, float("nan"), float("inf"), -0.0, 1.0, True, False),
    *(None, "", "conv", "zero", "same", [], [[]], [0], [1, 1], [1.5, 2], [[0, 1], [1, 0]], {}, {"op": "conv"}),
    nested(50),
]
_hostile = _json | st.sampled_from([json.dumps(value) for value in _values]).map(json.loads)


def _entries(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [entry for key, inner in items for entry in [(value, key), *_entries(inner)]]


@settings(max_examples=500)
@given(programs(calls=False), st.data())
def test_hostile_json_ends_in_graph_error_or_a_whole_graph(program: Any, data: st.DataObject) -> None:
    broken = json.loads(run(program).to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        entries = _entries(broken)
        container, key = entries[data.draw(st.integers(0, len(entries) - 1))]
        if data.draw(st.booleans()):
            container[key] = data.draw(_hostile)
        elif data.draw(st.booleans()):
            del container[key]
        elif isinstance(container, dict):
            container[data.draw(st.sampled_from(["op", "inputs", "shape", "axis", "more"]))] = container.pop(key)
        else:
            container.insert(key, container[data.draw(st.integers(0, len(container) - 1))])
    try:
        graph = graph_from_json(json.dumps(broken))
    except GraphError:
        return
    assert len(graph.digest) == 32
    assert repr(graph)
    assert simulated_peak_bytes(graph) == graph.peak_activation_bytes
    assert graph_from_json(graph.to_json()) == graph


@settings(max_examples=200)
@given(_json)
def test_any_json_at_all_ends_in_graph_error(value: Any) -> None:
    with pytest.raises(GraphError):
        graph_from_json(json.dumps(value))
    with pytest.raises(GraphError):
        graph_from_json(json.dumps({"format": GRAPH_JSON_FORMAT, "nodes": value, "outputs": value}))


# -- networkx --------------------------------------------------------------------------------------------------------


def test_to_networkx_holds_everything() -> None:
    b = Builder()
    x = b.conv(b.input((2, 4, 4)), 2)
    graph = b.build({"sum": b.add(x, x, b.act(x, "relu")), "x": x})
    exported = graph.to_networkx()
    assert networkx.is_directed_acyclic_graph(exported)
    assert [exported.nodes[i]["op"] for i in sorted(exported)] == ["input", "conv", "act", "add"]
    assert sorted((u, v, d["operand"]) for u, v, d in exported.edges(data=True)) == [
        *((0, 1, 0), (1, 2, 0), (1, 3, 0)),
        *((1, 3, 1), (2, 3, 2)),
    ]
    assert exported.nodes[1]["attrs"]["out_channels"] == 2
    assert exported.nodes[1]["shape"] == (2, 4, 4)
    assert exported.nodes[3]["outputs"] == ["sum"]
    assert exported.nodes[1]["outputs"] == ["x"]


def test_nodes_are_values() -> None:
    node = two_convolutions().nodes[0]
    assert node == Node("input", ((3, 8, 8),), (), (3, 8, 8))
    with pytest.raises(AttributeError):
        node.op = "conv"  # type: ignore[misc]
