"""Pictures of networks: which blocks a graph falls into, where they stand, and the files that come out."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from nas.report.network_picture.blocks import PictureBlock, inner_blocks, network_blocks
from nas.report.network_picture.layout import layout_blocks
from nas.report.network_picture.picture import draw_graph
from search_spaces.blocks import mobile as blocks
from search_spaces.catalog import load_network, load_space, spaces
from search_spaces.graph.block_memo import block as shared_block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from tests.support.random_programs import Program, programs, run

SVG = "{http://www.w3.org/2000/svg}"


def graph_of(name: str) -> Graph:
    if name in networks():
        return load_network(name)
    space = load_space(name)
    return space.graph(space.sample(random.Random(0)))


def kinds(picture_blocks: tuple[PictureBlock, ...]) -> list[str]:
    return [block.kind for block in picture_blocks]


@pytest.mark.parametrize("name", [*spaces(), *networks()])
def test_blocks_are_a_partition_in_order(name: str) -> None:
    graph = graph_of(name)
    picture_blocks = network_blocks(graph)
    assert sorted(n for block in picture_blocks for n in block.nodes) == list(range(len(graph)))
    owner = {n: index for index, block in enumerate(picture_blocks) for n in block.nodes}
    for index, block in enumerate(picture_blocks):
        read = {owner[i] for n in block.nodes for i in graph.nodes[n].inputs} - {index}
        assert set(block.inputs) == read
        assert all(i < index for i in read)
    assert sum(b.macs for b in picture_blocks) == graph.macs
    assert sum(b.params for b in picture_blocks) == graph.params
    assert {name for b in picture_blocks for name in b.outputs} == set(graph.output_shapes)


@pytest.mark.parametrize("name", [*spaces(), "leyolo_nano", "resnet152_v2", "mobilenetv4_hybrid_medium"])
def test_no_two_boxes_share_a_position(name: str) -> None:
    layout = layout_blocks(network_blocks(graph_of(name)))
    assert len(set(layout.cells)) == len(layout.cells)
    assert all(0 <= line < layout.lines and column < 30 for column, line in layout.cells)


@pytest.mark.parametrize("name", ["mobiledet_edgetpu", "leyolo_nano", "emo_1m", "nasbench201"])
def test_blocks_do_not_depend_on_how_the_graph_was_cut(name: str) -> None:
    graph = graph_of(name)
    again = graph_from_json(graph.to_json())
    assert network_blocks(again) == network_blocks(graph)


def test_blocks_of_published_networks() -> None:
    counted = {name: kinds(network_blocks(load_network(name))) for name in ("mobiledet_edgetpu", "resnet50_v1")}
    # ResNet-50 has 3 + 4 + 6 + 3 bottlenecks; MobileDet-EdgeTPU six levels, its stem and 10 fused blocks
    assert counted["resnet50_v1"].count("bottleneck") == 16
    assert counted["mobiledet_edgetpu"].count("head") == 6
    assert counted["mobiledet_edgetpu"].count("fused") == 10
    # MobileNetV2: 17 blocks, the first without expansion
    v2 = kinds(network_blocks(load_network("mobilenetv2")))
    assert v2.count("inverted") == 16
    assert v2.count("separable") == 1
    assert kinds(network_blocks(load_network("mobilenet_v1"))).count("separable") == 13
    assert kinds(network_blocks(load_network("mobilenetv4_hybrid_medium"))).count("attention") == 8
    assert kinds(network_blocks(load_network("inception_v1"))).count("cell") == 9
    assert kinds(network_blocks(load_network("densenet121"))).count("dense") == 6 + 12 + 24 + 16


def test_a_block_says_its_kernel_expansion_stride_and_squeeze() -> None:
    b = Builder()
    x = blocks.conv_norm_act(b, b.input((3, 32, 32)), 16, 3, 2)
    x = blocks.inverted_bottleneck(b, x, 24, expanded=96, kernel=5, stride=2, squeezed=4)
    x = blocks.inverted_bottleneck(b, x, 24, expanded=72, residual=True)
    x = blocks.fused_inverted_bottleneck(b, x, 24, expanded=96, residual=True)
    x = blocks.tucker(b, x, 32, input_rank=6, output_rank=12)
    picture_blocks = network_blocks(b.build(x))
    assert [(m.kind, m.lines[1], m.residual) for m in picture_blocks[1:-1]] == [
        ("stem", "k3 s2", False),
        ("inverted", "k5 e6 s2 SE", False),
        ("inverted", "k3 e3", True),
        ("fused", "k3 e4", True),
    ]
    assert picture_blocks[-1].kind == "head"
    assert picture_blocks[-1].shape == (32, 8, 8)


def test_attention_with_squeeze_excite_is_attention() -> None:
    b = Builder()
    x = b.act(b.conv(b.input((3, 4, 4)), 8, 3), "relu")
    with b.scope("layer0", "own_attention"):
        q, k, v = (b.reshape(b.conv(x, 8), (8, 16)) for _ in range(3))
        weights = b.softmax(b.matmul(b.permute(q, (1, 0)), k))
        y = b.reshape(b.permute(b.matmul(weights, b.permute(v, (1, 0))), (1, 0)), (8, 4, 4))
        y = b.act(b.conv(y, 32), "gelu")
        y = b.conv(blocks.squeeze_excite(b, y, 4), 8)
        y = b.add(x, y)
    picture_blocks = network_blocks(b.build(b.conv(y, 2)))
    assert [(m.kind, m.lines[:2], m.residual) for m in picture_blocks[1:]] == [
        ("stem", ("stem", "k3"), False),
        ("attention", ("own attention", "k1 e4 SE"), True),
        ("head", ("head", "output"), False),
    ]


def test_without_labels_each_operation_is_drawn_with_the_cheap_ones_behind_it() -> None:
    graph = load_network("mobilenetv2")
    document = json.loads(graph.to_json())
    del document["labels"]
    plain = network_blocks(graph_from_json(json.dumps(document)))
    heavy = sum(node.op in ("conv", "linear", "add", "global_pool") for node in graph.nodes)
    assert len(plain) == 1 + heavy
    assert {block.kind for block in plain} <= {"input", "stem", "conv", "join", "pool", "head"}
    assert [block.kind for block in plain].count("join") == 10  # MobileNetV2's residual sums


def test_a_block_of_somebody_else_has_its_own_name() -> None:
    @shared_block
    def my_block(b: Builder, x: Tensor, width: int) -> Tensor:
        return b.add(x, blocks.conv_norm_act(b.part("inner"), b.conv(x, width), x.channels, 3))

    b = Builder()
    x = blocks.conv_norm_act(b.section("stem"), b.input((3, 32, 32)), 8, 3, 2)
    x = my_block(b.section("stage1.layer0"), x, 16)
    drawn = network_blocks(b.build(b.section("").conv(x, 4)))
    assert [(each.kind, each.lines[0]) for each in drawn[1:3]] == [("stem", "stem"), ("other", "my block")]


def test_an_output_that_others_read_keeps_its_kind() -> None:
    b = Builder()
    x = blocks.conv_norm_act(b, b.input((3, 32, 32)), 16, 3, 2)
    p3 = blocks.inverted_bottleneck(b, x, 16, expanded=64, residual=True)
    p4 = blocks.inverted_bottleneck(b, p3, 24, expanded=64, stride=2)
    picture_blocks = network_blocks(b.build({"p3": p3, "p4": p4}))
    assert [(m.kind, m.outputs) for m in picture_blocks[2:]] == [("inverted", ("p3",)), ("head", ("p4",))]
    assert picture_blocks[2].lines[-1] == "16 ch: p3"


def test_branches_that_cross_between_map_sizes_are_drawn_in_lines(tmp_path: Path) -> None:
    b = Builder()
    fine = b.conv(b.input((3, 32, 32)), 8, 3)
    coarse = b.conv(fine, 8, 3, 2)
    for _ in range(5):
        up, down = b.resize(b.conv(coarse, 8), (32, 32)), b.conv(fine, 8, 3, 2)
        fine, coarse = b.add(b.conv(fine, 8, 3), up), b.add(b.conv(coarse, 8, 3), down)
    graph = b.build({"fine": fine, "coarse": coarse})
    layout = layout_blocks(network_blocks(graph))
    assert [name for name, _, _ in layout.rows] == [""]
    assert len(set(layout.cells)) == len(layout.cells)
    assert draw_graph(graph, tmp_path / "crossing.svg").stat().st_size > 1000


def test_a_pyramid_keeps_its_ways_down_and_up_apart() -> None:
    picture_blocks = network_blocks(load_network("leyolo_nano"))
    layout = layout_blocks(picture_blocks)
    assert [name for name, _, _ in layout.rows] == ["320x320", "160x160", "80x80", "40x40", "20x20"]
    joins = [index for index, block in enumerate(picture_blocks) if block.kind == "join"]
    assert [picture_blocks[j].shape[1] for j in joins] == [40, 80, 40, 20]
    for before, after in combinations(joins, 2):  # a later join of the same map stands further right
        if picture_blocks[before].shape[1:] == picture_blocks[after].shape[1:]:
            assert layout.cells[before][0] < layout.cells[after][0]


def test_the_inside_of_a_cell_is_the_cell() -> None:
    space = load_space("nasbench201")
    genotype = dict.fromkeys(space.decisions(), "nor_conv_3x3")
    graph = space.graph(genotype)
    cell = next(b for b in network_blocks(graph) if b.kind == "cell")
    small = inner_blocks(graph, cell)
    assert small[0].kind == "input"
    assert sum(m.kind == "conv" for m in small) == 6
    assert sum(b.macs for b in small) == cell.macs
    assert all(i < index for index, b in enumerate(small) for i in b.inputs)


@pytest.mark.parametrize("name", list(spaces()))
def test_every_space_draws_a_picture_of_sane_size(name: str, tmp_path: Path) -> None:
    path = draw_graph(graph_of(name), tmp_path / "network.png", name)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data[12:16] == b"IHDR"
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert 600 <= width <= 6000
    assert 500 <= height <= 6000
    assert 0.2 < width / height < 5


def test_svg_is_well_formed_and_equal_for_equal_graphs(tmp_path: Path) -> None:
    first = draw_graph(load_network("mobiledet_cpu"), tmp_path / "a.svg", "one").read_bytes()
    again = graph_from_json(load_network("mobiledet_cpu").to_json())
    assert draw_graph(again, tmp_path / "b.svg", "one").read_bytes() == first
    assert draw_graph(again, tmp_path / "c.svg", "two").read_bytes() != first
    root = ElementTree.fromstring(first)  # noqa: S314 our own file
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}path"))) > 100
    pictures = [draw_graph(again, tmp_path / f"{n}.png", "one").read_bytes() for n in (1, 2)]
    assert pictures[0] == pictures[1]


def test_odd_titles_and_shapes_are_drawn(tmp_path: Path) -> None:
    b = Builder()
    flat = b.build(b.linear(b.act(b.linear(b.input((16,)), 8), "relu"), 4))
    c = Builder()
    volume = c.build({"a \u7f51 $x_1$": c.conv(c.input((2, 4, 6, 8)), 3, 3)})
    d = Builder()
    two = d.build(d.add(d.conv(d.input((3, 8, 8)), 4), d.conv(d.input((3, 8, 8)), 4)))
    e = Builder()
    untouched = e.build(e.input((3, 4, 4)))
    for index, graph in enumerate((flat, volume, two, untouched)):
        path = draw_graph(graph, tmp_path / f"{index}.png", "\u7f51\u7edc $\\frac{ <&> \u0000")
        assert path.stat().st_size > 1000


def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    b = Builder()
    with pytest.raises(ValueError, match=r"ends in \.png, \.svg"):
        draw_graph(b.build(b.conv(b.input((3, 8, 8)), 4)), tmp_path / "network.jpeg")
    assert not list(tmp_path.iterdir())


@given(programs())
@settings(max_examples=150)
def test_any_graph_falls_into_blocks_that_have_positions(program: Program) -> None:
    graph = run(program)
    picture_blocks = network_blocks(graph)
    assert sorted(n for block in picture_blocks for n in block.nodes) == list(range(len(graph)))
    assert all(i < index for index, block in enumerate(picture_blocks) for i in block.inputs)
    assert sum(b.macs for b in picture_blocks) == graph.macs
    assert len(set(layout_blocks(picture_blocks).cells)) == len(picture_blocks)
    for block in picture_blocks:
        if block.kind == "cell":
            assert sum(b.macs for b in inner_blocks(graph, block)) == block.macs


@given(programs())
@settings(max_examples=6)
def test_any_graph_is_drawn(program: Program) -> None:
    with TemporaryDirectory() as folder:
        assert draw_graph(run(program), Path(folder) / "any.png").stat().st_size > 1000
