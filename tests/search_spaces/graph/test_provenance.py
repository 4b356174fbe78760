"""Labels: which scope and which block made a node, the names that come of it, and that nothing else does."""

from __future__ import annotations

import json
import pickle
import random

import pytest
from hypothesis import given, settings

import nas
from nas.hashing import functional_hash
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.catalog import load_network, load_space, spaces
from search_spaces.graph.block_memo import block, sequential
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.graph.provenance import BlockCall, Label
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from search_spaces.space.choose import Choose
from search_spaces.space.space import Space
from tests.support.random_programs import Program, programs, run


def blocks_of(graph: Graph, name: str) -> list[str]:
    return [call.block for call in graph.labels[graph.names.index(name)].calls]


# -- sections, parts, scopes -------------------------------------------------------------------------------------------


def test_a_section_names_what_follows_and_a_block_its_parts() -> None:
    b = Builder()
    x = conv_norm_act(b.section("stem"), b.input((3, 16, 16)), 8, 3, 2)
    x = inverted_bottleneck(b.section("stage1.layer0"), x, 8, expanded=16, squeezed=4, residual=True)
    graph = b.build(b.section("").conv(x, 4))
    assert graph.names == (
        "input",
        *("stem/conv", "stem/norm", "stem/act"),
        *[f"stage1.layer0/expand/{op}" for op in ("conv", "norm", "act")],
        *[f"stage1.layer0/depthwise/{op}" for op in ("conv", "norm", "act")],
        "stage1.layer0/squeeze_excite/global_pool",
        *[f"stage1.layer0/squeeze_excite/{part}/{op}" for part in ("reduce", "expand") for op in ("conv", "act")],
        "stage1.layer0/squeeze_excite/mul",
        *("stage1.layer0/project/conv", "stage1.layer0/project/norm", "stage1.layer0/add"),
        "conv",
    )
    assert blocks_of(graph, "stage1.layer0/expand/conv") == ["inverted_bottleneck", "conv_norm_act"]
    assert blocks_of(graph, "conv") == []


def test_scopes_nest_and_end() -> None:
    b = Builder()
    x = b.input((3, 8, 8))
    with b.scope("neck"):
        x = b.conv(x, 4)
        x = b.section("top").conv(x, 4)
        with b.scope("deep"):
            x = b.part("a").conv(x, 4)
        x = b.conv(x, 4)
    x = b.conv(x, 4)
    x = b.section("cell", "my_cell").part("edge").conv(x, 4)
    x = b.part("").conv(x, 4)
    graph = b.build(x)
    assert graph.names[1:] == ("neck/conv", "neck/top/conv", "neck/top/deep/a/conv", "neck/top/conv_2", "conv") + (
        "cell/edge/conv",
        "cell/conv",
    )
    assert blocks_of(graph, "cell/conv") == ["my_cell"]
    assert graph.labels[-1].calls == graph.labels[-2].calls
    with pytest.raises(GraphError, match="a scope needs a name of printable characters"), b.scope("\n"):
        pass


def test_two_calls_of_a_block_are_told_apart() -> None:
    b = Builder()
    x = b.input((3, 8, 8))
    for _ in range(2):
        x = conv_norm_act(b.section("stage"), x, 4)
    labels = b.build(x).labels
    assert labels[1] == labels[2] == labels[3]
    assert labels[4] == labels[6]
    assert labels[1].calls != labels[4].calls
    assert labels[1].path == labels[4].path == "stage"


def test_a_block_has_the_same_labels_whether_spliced_or_called_again() -> None:
    def network(zeros: str) -> Graph:
        b = Builder(zeros)
        x = inverted_bottleneck(b.section("layer"), b.input((4, 8, 8)), 4, expanded=8, squeezed=2, residual=True)
        return b.build(x)

    spliced, called = network("absorb"), network("bias")  # with zeros="bias" nothing is spliced
    assert len(spliced.pieces) < len(called.pieces)
    assert spliced.names == called.names
    assert [[c.block for c in label.calls] for label in spliced.labels] == [
        [c.block for c in label.calls] for label in called.labels
    ]


def _layer_names(layers: int) -> list[str]:
    return [f"layer{i}" for i in range(layers)]


@block
def _layer(b: Builder, x: Tensor, width: int) -> Tensor:
    return b.act(b.norm(b.conv(x, width)), "relu")


@pytest.mark.parametrize("zeros", ["absorb", "bias"])
def test_calls_in_a_row_have_a_section_each(zeros: str) -> None:
    for widths in ((4, 6), (4, 6, 5), (4, 6, 5)):  # with new arguments, and with known ones
        b = Builder(zeros)
        with b.scope("stage"):
            x = sequential(_layer, b, b.input((3, 8, 8)), [(w,) for w in widths], (_layer_names, len(widths)))
        graph = b.build(b.conv(x, 2))
        assert [n for n in graph.names if n.endswith("conv")] == [
            *[f"stage/layer{i}/conv" for i in range(len(widths))],
            "conv",
        ]


# -- what the normal form does -----------------------------------------------------------------------------------------


def test_labels_stay_with_their_nodes_when_dead_ones_are_swept_and_sums_flattened() -> None:
    b = Builder()
    x = b.section("stem").conv(b.input((3, 8, 8)), 4)
    b.section("dead").conv(x, 4)
    y = b.section("left").conv(x, 4)
    z = b.section("right").conv(x, 4)
    inner = b.section("inner").add(y, z)
    graph = b.build(b.section("outer").add(inner, x))
    assert graph.names == ("input", "stem/conv", "left/conv", "right/conv", "outer/add")


def test_what_two_scopes_share_belongs_to_the_first() -> None:
    b = Builder()
    x = b.input((3, 8, 8))
    y = b.section("first").act(x, "relu")
    assert b.section("second").act(x, "relu") is y
    assert b.build(b.conv(y, 2)).names[1] == "first/act"


@given(programs())
@settings(max_examples=80)
def test_labels_are_no_part_of_a_graph(program: Program) -> None:
    plain = run(program)
    b = Builder(plain.zeros)
    tensors: list[Tensor] = []
    for index, node in enumerate(plain.nodes):
        b.section(f"s{index % 3}", "block" if index % 2 else "")
        tensors.append(b.rebuild(node, [tensors[i] for i in node.inputs]))
    labelled = b.build({name: tensors[index] for name, index in plain.outputs})
    assert (labelled.digest, labelled) == (plain.digest, plain)
    assert hash(labelled) == hash(plain)
    assert functional_hash(labelled) == functional_hash(plain)
    assert len(set(labelled.names)) == len(labelled)


# -- every network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*spaces(), *networks()])
def test_every_node_of_every_network_has_a_section_and_a_name_of_its_own(name: str) -> None:
    space = load_space(name) if name in spaces() else None
    graph = load_network(name) if space is None else space.graph(space.sample(random.Random(1)))
    assert len(set(graph.names)) == len(graph)
    assert [n for n in graph.names if "/" not in n] == ["input"]
    # A number behind an operation is for what a part has twice: keys and values, attention's reshapes, a cell's edges
    weighted = [n for n, node in zip(graph.names, graph.nodes, strict=True) if node.op in ("conv", "linear", "norm")]
    if name.startswith(("mobile", "efficientnet", "mnasnet", "resnet", "tinynet", "fbnet", "proxyless")):
        numbered = [n for n in weighted if n.rpartition("_")[2].isdecimal() and "/key/" not in n and "/value/" not in n]
        assert numbered == []


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobiledet_cpu", "nasbench201", "emo_1m"])
def test_labels_come_back_from_json_and_from_pickles(name: str) -> None:
    space = load_space(name) if name in spaces() else None
    graph = load_network(name) if space is None else space.graph(space.sample(random.Random(1)))
    for again in (graph_from_json(graph.to_json()), pickle.loads(pickle.dumps(graph))):  # noqa: S301 our own
        assert again == graph
        assert again.labels == graph.labels
        assert again.names == graph.names
        assert again.to_json() == graph.to_json()
    fresh = load_network(name) if space is None else space.with_options().graph(space.sample(random.Random(1)))
    # Also where nobody has asked for them before
    assert pickle.loads(pickle.dumps(fresh)).labels == graph.labels  # noqa: S301 our own


def test_a_graph_without_labels_is_read_and_written_as_before() -> None:
    graph = load_network("mobilenetv2")
    document = json.loads(graph.to_json())
    del document["labels"]
    plain = graph_from_json(json.dumps(document))
    assert plain == graph
    assert set(plain.labels) == {Label()}
    assert plain.names[:5] == ("input", "conv", "norm", "act", "conv_2")
    assert json.loads(plain.to_json()) == document


@pytest.mark.parametrize(
    "labels", ["x", [1], [[0, "a"]], [["0", "a", []]], [[0, "a", [["b"]]]], [[99, "a", []]], [[0, "a", [["b", "c"]]]]]
)
def test_bad_labels_are_refused(labels: object) -> None:
    document = json.loads(load_network("mobilenetv2").to_json()) | {"labels": labels}
    document["nodes"] = document["nodes"][:4]
    document["outputs"] = {"logits": 3}
    with pytest.raises(GraphError, match="`labels` must list"):
        graph_from_json(json.dumps(document))


# -- sections of choices -----------------------------------------------------------------------------------------------


def own_space(choose: Choose) -> Graph:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 16, 16)), choose.one_of("stem.width", (8, 16)), 3, 2)
    for layer in range(choose.int("depth", 1, 3)):
        x = inverted_bottleneck(b, x, 16, expanded=choose.one_of(f"layer{layer}.expanded", (32, 64)))
    return b.build(x)


def test_choices_name_the_sections_of_a_function_that_names_none() -> None:
    space = Space(own_space)
    genotype = space.parse('{"stem.width": 8, "depth": 2, "layer0.expanded": 32, "layer1.expanded": 64}')
    for _ in range(2):  # the first run, which does not know yet, and a later one
        graph = Space(own_space).graph(genotype) if _ == 0 else space._replay(genotype)[1]
        assert [n for n in graph.names if n.endswith("/conv")] == [
            "stem/conv",
            *[f"layer{i}/{part}/conv" for i in range(2) for part in ("expand", "depthwise", "project")],
        ]


def test_a_function_that_names_sections_is_left_alone() -> None:
    def named(choose: Choose) -> Graph:
        b = Builder()
        x = conv_norm_act(b.section("begin"), b.input((3, 16, 16)), choose.one_of("stem.width", (8, 16)))
        kernel = choose.one_of("last.kernel", (3, 5))
        return b.build(conv_norm_act(b, x, 8, kernel))

    space = Space(named)
    for _ in range(3):
        graph = space.graph(space.sample(random.Random(_)))
        assert {label.section for label in graph.labels[1:]} == {"begin"}


def test_a_modules_paths_are_sections() -> None:
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), nn.Conv2d(8, 2, 1))
    assert nas.graph_from_module(module.eval(), (3, 8, 8)).names == ("input", "0/conv", "1.0/norm", "1.1/act", "2/conv")


def test_another_head_keeps_the_backbones_names() -> None:
    from search_spaces.task_heads import space_for_task

    space = load_space("proxylessnas")
    genotype = space.sample(random.Random(0))
    names = space.graph(genotype).names
    detector = space_for_task(space, "detect").graph(genotype).names
    assert names[:60] == detector[:60]
    assert "head/class0/predict/conv" in detector


def test_block_calls_are_plain_values() -> None:
    assert Label("a/b", (BlockCall("cell", 3),)).section == "a"
    assert Label().section == ""
