"""Spaces at a glance: choices by stage, ranges against enumeration, and the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cli.main import main
from nas.report.space_summary import choice_stages, metric_ranges, published_members
from search_spaces.blocks import mobile as blocks
from search_spaces.catalog import load_space, spaces
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.space import Space

SPACE_FILE = """
from nas import Builder, Choose, Graph, blocks, heads


def mine(choose: Choose, *, image_size: int = 32) -> Graph:
    b = Builder()
    x = b.input((3, image_size, image_size))
    for stage in range(3):
        x = blocks.conv_norm_act(b, x, choose.one_of(f"stage{stage}_width", (8, 16, 24)), 3, 2)
        for layer in range(choose.int(f"stage{stage}_layers", 0, 2)):
            x = blocks.inverted_bottleneck(
                b, x, x.channels, expanded=4 * x.channels,
                kernel=choose.one_of(f"stage{stage}_layer{layer}_kernel", (3, 5)), residual=True,
            )
    return b.build(heads.classifier(b, x, 10))
"""


def tiny(choose: Choose) -> Graph:
    b = Builder()
    x = blocks.conv_norm_act(b, b.input((3, 16, 16)), choose.one_of("stem.width", (4, 8, 12)), 3, 2)
    if choose.one_of("deep", (False, True)):
        x = b.conv(x, 8, choose.one_of("deep.kernel", (1, 3, 5)))
    return b.build(x)


def chain(choose: Choose) -> Graph:
    b = Builder()
    x = b.input((2, 8, 8))
    for layer in range(12):
        x = b.conv(x, choose.one_of(f"layer{layer}.width", (2, 4, 8)), 3)
    return b.build(x)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    captured = capsys.readouterr()
    assert stopped.value.code in (0, None), captured.err
    return captured.out


@pytest.mark.parametrize("name", list(spaces()))
def test_stages_hold_every_decision_once_with_its_options(name: str) -> None:
    space = load_space(name)
    decisions: dict[str, tuple[Any, ...]] = {}
    for seed in range(40):
        space.function(Choose(name, decisions, {}, random.Random(seed)), **space.options)
    assert set(space.sample(random.Random(3))) <= set(decisions)
    rows = [row for stage in choice_stages(decisions) for row in stage.rows]
    assert sorted(n for row in rows for n in row.names) == sorted(decisions)
    assert all(decisions[n] == row.options for row in rows for n in row.names)
    labels = [(stage.name, row.label) for stage in choice_stages(decisions) for row in stage.rows]
    assert len(set(labels)) == len(labels)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,3}[0-9]{0,2}([._][a-z]{1,2}[0-9]{0,2}){0,2}", fullmatch=True),
        st.sampled_from([(3, 5), (3, 5, 7), (True, False), (1, 0)]),
    )
)
def test_stages_of_any_names_lose_and_invent_nothing(decisions: dict[str, tuple[Any, ...]]) -> None:
    rows = [row for stage in choice_stages(decisions) for row in stage.rows]
    assert sorted(n for row in rows for n in row.names) == sorted(decisions)
    for row in rows:
        assert {tuple(map(repr, decisions[n])) for n in row.names} == {tuple(map(repr, row.options))}


def test_alike_layers_are_one_row() -> None:
    (stage,) = (s for s in choice_stages(load_space("mobiledet").decisions()) if s.name == "block2")
    assert [(row.label, len(row.names)) for row in stage.rows] == [("layer0", 1), ("layer1..3", 3), ("width", 1)]
    assert [s.name for s in choice_stages({"stage1_width": (1,), "stage1_layer0_kernel": (3,), "a": (2,)})] == [
        "stage1",
        "network",
    ]
    (uneven,) = choice_stages({f"s.layer{k}.k": (3, 5) for k in (0, 1, 2, 5)})
    assert [row.label for row in uneven.rows] == ["layer0..2,5.k"]


def test_ranges_of_a_small_space_are_those_of_its_enumeration() -> None:
    space = Space(tiny)
    ranges = metric_ranges(space, samples=20)
    graphs = [space.graph(g) for g in space.enumerate()]
    assert ranges.complete
    assert ranges.samples == len(graphs) == space.size() == 12
    assert ranges.mutations == 0
    for metric in ("macs", "params", "peak_activation_bytes"):
        values = [getattr(graph, metric) for graph in graphs]
        metric_range = ranges.metrics[metric]
        assert (metric_range.low, metric_range.median, metric_range.high) == (min(values), median(values), max(values))
        assert (metric_range.lowest, metric_range.highest) == (min(values), max(values))
    assert ranges.active_fraction == {"stem.width": 1.0, "deep": 1.0, "deep.kernel": 0.75}


def test_walks_reach_the_extremes_of_a_monotonous_space() -> None:
    # every layer narrow is least, every layer wide is most: 3^12 networks, of which random ones meet neither
    space = Space(chain)
    names = list(space.decisions())
    ends = [space.graph(dict.fromkeys(names, width)) for width in (2, 8)]
    ranges = metric_ranges(space, samples=150, seed=3)
    macs = ranges.metrics["macs"]
    assert (macs.lowest, macs.highest) == (ends[0].macs, ends[1].macs)
    assert macs.lowest < macs.low < macs.median < macs.high < macs.highest
    assert not ranges.complete
    assert ranges.mutations == 150 * 2 * 3


def test_ranges_depend_on_the_seed_alone() -> None:
    space, again = load_space("mobilenetv2"), load_space("mobilenetv2")
    again.sample(random.Random(7))
    assert metric_ranges(space, samples=10, seed=1) == metric_ranges(again, samples=10, seed=1)
    assert metric_ranges(space, samples=10, seed=1) != metric_ranges(space, samples=10, seed=2)


def test_ranges_need_a_sample() -> None:
    with pytest.raises(ValueError, match="at least 1 sample"):
        metric_ranges(Space(tiny), samples=0)


def test_references_say_which_options_are_their_own() -> None:
    members = {r.name: r for r in published_members(load_space("mobiledet"))}
    assert members["mobiledet_edgetpu"].other_options == {}
    assert members["mobiledet_edgetpu"].figures["macs"] > 1e9
    assert members["mobiledet_cpu"].other_options == {"target": "cpu"}
    smaller = {r.name: r for r in published_members(load_space("mobiledet", image_size=256))}
    assert smaller["mobiledet_edgetpu"].other_options == {"image_size": 320}


def test_another_space_of_a_known_name_has_no_references() -> None:
    assert published_members(Space(tiny, "mobiledet")) == ()


def test_show_mobiledet_with_latency(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("spaces", "show", "mobiledet", "--hw", "edgetpu", "--samples", "12", "--seed", "4", "--json")
    document = json.loads(run(capsys, *arguments))
    assert document == json.loads(run(capsys, *arguments))
    assert document["size"] == load_space("mobiledet").size()
    assert len(document["decisions"]) == 30
    latency = document["ranges"]["metrics"]["latency_ms"]
    assert 0 < latency["lowest"] <= latency["low"] <= latency["median"] <= latency["high"] <= latency["highest"]
    assert document["ranges"]["mutations"] == 12 * 2 * 4
    assert {row["network"] for row in document["networks"]} >= {"mobiledet_edgetpu", "mobiledet_cpu"}
    assert [stage["stage"] for stage in document["stages"]][:2] == ["stem", "block1"]


def test_show_nasbench201_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "spaces", "show", "nasbench201", "--samples", "5")
    assert "1.56e+04 genotypes, 6 choices" in text
    assert "nor_conv_3x3" in text
    assert "random 5: median" in text
    assert "reached by 30 mutations: highest" in text
    assert "Nothing was trained" in text
    assert "random" not in run(capsys, "spaces", "show", "nasbench201", "--samples", "0")


def test_show_a_users_file_and_draw_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_space.py").write_text(SPACE_FILE)
    text = run(capsys, "spaces", "show", "./my_space.py:mine", "--samples", "8", "--picture", "out/one.png")
    assert "stage2" in text
    assert "layer0..1_kernel *" in text
    assert "not made in every network" in text
    assert Path("out/one.png").read_bytes().startswith(b"\x89PNG")
    network = ("--picture", "edge.svg", "--network", "mobiledet_edgetpu")
    document = json.loads(run(capsys, "spaces", "show", "mobiledet", "--samples", "0", "--json", *network))
    assert document["ranges"] is None
    assert document["picture"] == "edge.svg"
    assert Path("edge.svg").read_text().count("<path") > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--network", "mobiledet_cpu"), "--picture draws"),
        (("--picture", "x.txt"), "ends in .png"),
        (("--picture", "x.png", "--network", "mobiledet_cpuu"), "did you mean 'mobiledet_cpu'"),
        (("--picture", "x.png", "--network", "1:2"), "31 numbers"),
        (("--hw", "edgetpuu"), "did you mean 'edgetpu'"),
    ],
)
def test_mistakes_are_named(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["spaces", "show", "mobiledet", *arguments])
    assert stopped.value.code not in (0, None)
    assert message in capsys.readouterr().err
