"""Hardware models: what a small chip must cost by hand, what every device must respect, and the published latencies."""

from __future__ import annotations

import csv
import os
import pickle
import random
import re
import tomllib
from pathlib import Path

import pytest

from hardware_models.analytic import fit
from hardware_models.analytic.model import AnalyticModel
from hardware_models.catalog import (
    device_number_format,
    device_path,
    hardware,
    load_hardware,
    model_from_text,
    resolve_name,
    rows_by_number_format,
)
from hardware_models.cost import Cost, HardwareModel
from hardware_models.device_facts import device_facts
from hardware_models.device_file.number_format import number_format_of
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.measured import published_latencies as measurements
from search_spaces.blocks.mobile import fused_inverted_bottleneck, inverted_bottleneck, tucker
from search_spaces.catalog import load_network, load_space
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from search_spaces.registry import UnknownName

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT.parent / "shared/data/published_tables/published_latency.csv"
RESULTS = ROOT / "results/devices/published/edgetpu_published.csv"
DEVICES = ["coral_usb", "coral_devboard", "pixel4_edgetpu"]

SMALL = """
kind = "analytic"
version = 3
number_format = "int8"
[array]
rows = 4
columns = 4
clock_mhz = 100
tile_load_cycles = 8
regular_efficiency = 0.5
pointwise_efficiency = 0.8
grouped_efficiency = 0.5
[memory]
weights_kib = 64
activations_kib = 64
array_bytes_per_cycle = 8
vector_bytes_per_cycle = 2
[link]
mb_per_s = 100
[overhead]
invoke_us = 10
op_us = 1
[host]
gmacs_per_s = 1
elements_per_us = 10
[operations]
host = ["act:hswish", "matmul"]
fused_activations = ["relu", "relu6"]
guess_passes = 3
[operations.passes]
"add" = 1
"pool:max" = 1
"act:relu" = 1
"norm:batch" = 2
"""


def small(**replaced: object) -> AnalyticModel:
    """The small chip, with other numbers."""
    text = SMALL
    for key, value in replaced.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        assert lines != text.splitlines()
        text = "\n".join(lines)
    model = model_from_text(text, "small", "small.toml")
    assert isinstance(model, AnalyticModel)
    return model


def image(size: int = 8, channels: int = 3) -> tuple[Builder, Tensor]:
    b = Builder()
    return b, b.input((channels, size, size))


def node_ms(cost: Cost) -> dict[int, float]:
    return {row.index: row.latency_ms for row in cost.breakdown() if row.index is not None}


# -- by hand ---------------------------------------------------------------------------------------------------------


def test_latency_of_two_convolutions_in_closed_form() -> None:
    b, x = image()
    x = b.conv(x, 16, 3)
    x = b.conv(x, 32, 1)
    cost = small().estimate(b.build(x))
    into = 3 * 64 / 100  # bytes over MB/s
    first = (7 * 4) * 64 / (100 * 0.5) + 1  # 27 rows in 7 tiles, 16 columns in 4, 64 positions each
    second = (4 * 8) * 64 / (100 * 0.8) + 1
    out = 32 * 64 / 100
    assert cost.latency_ms == pytest.approx((10 + into + first + second + out) / 1e3, abs=1e-9)
    assert cost.weights_kib == (27 * 16 + 16 * 32) / 1024
    assert cost.peak_memory_kib == (16 + 32) * 64 / 1024
    assert cost.source == "predicted:small@3"
    assert (cost.latency_low_ms, cost.latency_high_ms, cost.energy_mj, cost.coverage) == (None, None, None, None)
    assert set(cost.metrics()) == {"latency_ms", "weights_kib", "peak_memory_kib"}
    assert [row.bound for row in cost.breakdown()] == ["transfer", "compute", "compute", "overhead", "transfer"]


def test_a_tile_takes_no_less_than_loading_its_weights() -> None:
    b = Builder()
    x = b.linear(b.input((64,)), 32, bias=False)
    cost = small().estimate(b.build(x))
    assert node_ms(cost)[1] == pytest.approx((16 * 8 * 8 / (100 * 0.8) + 1) / 1e3)


def test_memory_bounds_an_operation_that_computes_little() -> None:
    b, x = image(16, 4)
    cost = small(array_bytes_per_cycle=0.5).estimate(b.build(b.conv(x, 4, 1)))
    assert cost.breakdown()[1].bound == "memory"
    assert node_ms(cost)[1] == pytest.approx((2 * 4 * 256 / (100 * 0.5) + 1) / 1e3)


def test_groups_stand_side_by_side_where_they_fit() -> None:
    b, x = image(8, 8)
    cost = small().estimate(b.build(b.conv(x, 8, 1, groups=4)))  # two rows, two columns a group: two in a tile
    assert node_ms(cost)[1] == pytest.approx((2 * 64 / (100 * 0.5) + 1) / 1e3)


def test_elementwise_operations_stream_through_the_vector_unit() -> None:
    b, x = image()
    cost = small().estimate(b.build(b.pool(x, "max", 2, 2)))
    assert node_ms(cost)[1] == pytest.approx(((3 * 64 + 3 * 16) / (100 * 2) + 1) / 1e3)


def test_activations_beyond_the_chip_come_over_the_link() -> None:
    b, x = image(32, 4)
    graph = b.build(b.conv(x, 4, 1))
    cost = small(activations_kib=1).estimate(graph)
    assert cost.breakdown()[1].bound == "transfer"
    assert node_ms(cost)[1] == pytest.approx(((2 * 4096 - 1024) / 100 + 1) / 1e3)
    assert cost.latency_ms > small().estimate(graph).latency_ms


def test_weights_beyond_the_chip_are_awaited() -> None:
    b = Builder()
    x = b.input((64,))
    for _ in range(3):
        x = b.linear(x, 64, bias=False)
    graph = b.build(x)
    roomy, tight = small(), small(weights_kib=8)  # each layer takes 4 KiB; the third does not fit
    computing_us = 16 * 16 * 8 / (100 * 0.8) + 1
    wait_ms = (4096 / 100 - computing_us) / 1e3
    assert tight.estimate(graph).latency_ms - roomy.estimate(graph).latency_ms == pytest.approx(wait_ms)
    assert tight.estimate(graph).breakdown()[-1][:2] == (None, "weights")
    own_memory = model_from_text(
        SMALL.replace("weights_kib = 64", "weights_kib = 8\noutside_mb_per_s = 200"), "small", "small.toml"
    )
    assert own_memory.estimate(graph).latency_ms == roomy.estimate(graph).latency_ms  # hidden behind the computing


# -- folding, fallback, guesses --------------------------------------------------------------------------------------


def test_normalisation_and_activation_fold_into_a_convolution() -> None:
    b, x = image()
    bare = b.build(b.conv(x, 16, 3))
    b, x = image()
    whole = b.build(b.act(b.norm(b.conv(x, 16, 3)), "relu6"))
    model = small()
    assert model.estimate(bare).latency_ms == model.estimate(whole).latency_ms
    assert [row.bound for row in model.estimate(whole).breakdown()][2:4] == ["fused", "fused"]


def test_an_activation_folds_into_a_sum_but_not_into_a_pooling() -> None:
    b, x = image(8, 4)
    y = b.act(b.add(b.conv(x, 4), b.conv(x, 4)), "relu")
    z = b.act(b.pool(y, "max", 2, 2), "relu")
    bounds = {row.op + str(row.index): row.bound for row in small().estimate(b.build(z)).breakdown()}
    assert bounds["act4"] == "fused"
    assert bounds["act6"] != "fused"


def test_a_normalisation_behind_a_sum_is_work() -> None:
    b, x = image(8, 4)
    cost = small().estimate(b.build(b.norm(b.add(b.conv(x, 4), b.conv(x, 4)))))
    assert node_ms(cost)[4] == pytest.approx((2 * (256 + 256) / (100 * 2) + 2) / 1e3)


def test_an_unsupported_operation_goes_to_the_host_and_says_so() -> None:
    b, x = image()
    cost = small().estimate(b.build(b.act(b.conv(x, 4), "hswish")))
    assert cost.fallback_ops == ("act:hswish",)
    assert cost.guessed_ops == ()
    assert cost.breakdown()[2].bound == "fallback"
    assert node_ms(cost)[2] == pytest.approx((2 * 256 / 100 + 256 / 10 + 10) / 1e3)


def test_an_unknown_operation_is_guessed_and_says_so() -> None:
    b = Builder()
    x = b.norm(b.linear(b.input((16, 8)), 8), "layer", axis=1)
    cost = small().estimate(b.build(x))
    assert cost.guessed_ops == ("norm:layer",)
    assert node_ms(cost)[2] == pytest.approx((3 * 2 * 128 / (100 * 2) + 3) / 1e3)


@pytest.mark.parametrize("device", DEVICES)
def test_hswish_falls_back_on_every_edge_tpu(device: str) -> None:
    model = load_hardware(device)
    assert model.estimate(load_network("mobiledet_cpu")).fallback_ops == ("act:hswish",)
    edge = model.estimate(load_network("mobiledet_edgetpu"))
    assert edge.fallback_ops == edge.guessed_ops == ()


# -- what every device respects --------------------------------------------------------------------------------------


def _block_ms(model: HardwareModel, graph: Graph) -> float:
    """All but what is fixed: invocation, inputs and outputs."""
    return sum(row.latency_ms for row in model.estimate(graph).breakdown()[1:] if row.index is not None)


@pytest.mark.parametrize("device", DEVICES)
def test_depthwise_costs_an_order_of_magnitude_more_a_multiply_add(device: str) -> None:
    def ms_per_mac(groups: int) -> float:
        b, x = image(40, 64)
        graph = b.build(b.conv(x, 64, 3, groups=groups))
        return _block_ms(load_hardware(device), graph) / graph.macs

    assert ms_per_mac(64) > 10 * ms_per_mac(1)


@pytest.mark.parametrize(("size", "channels"), [(80, 16), (80, 32), (40, 40)])
def test_early_fused_and_tucker_blocks_beat_inverted_bottlenecks_of_equal_work(size: int, channels: int) -> None:
    def build(make: object, **options: int) -> Graph:
        b, x = image(size, channels)
        return b.build(make(b, x, channels, **options))  # type: ignore[operator]

    model = load_hardware("edgetpu")
    ibn = build(inverted_bottleneck, expanded=8 * channels)
    expanded, rank = 1, 1
    while build(fused_inverted_bottleneck, expanded=expanded).macs < ibn.macs:
        expanded += 1
    while build(tucker, input_rank=rank, output_rank=rank).macs < ibn.macs:
        rank += 1
    for rival in (
        build(fused_inverted_bottleneck, expanded=expanded),
        build(tucker, input_rank=rank, output_rank=rank),
    ):
        assert _block_ms(model, rival) < 0.5 * _block_ms(model, ibn)


@pytest.mark.parametrize("device", DEVICES)
def test_latency_grows_with_width_and_with_the_image(device: str) -> None:
    model = load_hardware(device)
    widths = [model.estimate(load_network("mobilenet_edgetpu", width=w)).latency_ms for w in (0.25, 0.5, 0.75, 1, 1.5)]
    sizes = [model.estimate(load_network("mobiledet_edgetpu", image_size=s)).latency_ms for s in (192, 256, 320, 512)]
    assert widths == sorted(set(widths))
    assert sizes == sorted(set(sizes))


def _as_built(graph: Graph) -> Graph:
    """The same graph with one node a piece."""
    again = graph_from_json(graph.to_json())
    assert len(again.pieces) == len(again)
    return again


@pytest.mark.parametrize("target", ["edgetpu", "cpu"])
def test_the_cost_does_not_depend_on_how_a_graph_is_cut(target: str) -> None:
    space = load_space("mobiledet", target=target)
    rng = random.Random(5)
    models = [load_hardware(device) for device in DEVICES]
    spilled = 0
    for _ in range(25):
        graph = space.graph(space.sample(rng))
        again = _as_built(graph)
        for model in models:
            assert model.estimate(graph) == model.estimate(again)
            spilled += model.estimate(graph).breakdown()[-1].op == "weights"
    assert spilled > 0


@pytest.mark.parametrize("name", sorted(networks()))
def test_published_networks_cost_the_same_however_cut_and_their_parts_add_up(name: str) -> None:
    graph = load_network(name)
    for model in (load_hardware("coral_usb"), small()):
        cost = model.estimate(graph)
        assert cost == model.estimate(_as_built(graph))
        assert sum(row.latency_ms for row in cost.breakdown()) == pytest.approx(cost.latency_ms, rel=1e-12)
        assert sum(row.macs for row in cost.breakdown()) == graph.macs


def test_a_loose_activation_is_priced_by_what_comes_before_it() -> None:
    b, x = image(8, 4)
    free = b.act(b.conv(x, 4), "relu")
    paid = b.act(b.pool(free, "max", 2, 2), "relu")
    again = b.act(b.conv(paid, 4), "relu")
    graph = b.build({"a": again, "b": paid, "c": free})
    model = small()
    for _ in range(2):
        assert model.estimate(graph) == small().estimate(_as_built(graph))


def test_the_memo_is_bounded_and_dropping_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.graph.memo.MEMO_LIMIT", 5)
    model, graph = load_hardware("coral_usb"), load_network("mobiledet_gpu")
    assert isinstance(model, AnalyticModel)
    first = model.estimate(graph)
    assert len(model._fragment_costs._memo) <= 5
    assert first == model.estimate(graph) == load_hardware("coral_usb").estimate(graph)


def test_costs_and_models_travel_between_processes() -> None:
    model = load_hardware("edgetpu")
    cost = model.estimate(load_network("mobilenet_v1"))
    again = pickle.loads(pickle.dumps(cost))  # noqa: S301
    assert again == cost
    assert again.breakdown() == cost.breakdown()
    assert pickle.loads(pickle.dumps(model)).estimate(load_network("mobilenet_v1")) == cost  # noqa: S301


def test_the_interval_follows_from_the_stated_error() -> None:
    text = SMALL + "[error]\nheld_out_log_std = 0.1\ncoverage = 0.8\n"
    cost = model_from_text(text, "small", "small.toml").estimate(load_network("mobilenet_v1"))
    assert cost.latency_low_ms is not None
    assert cost.latency_high_ms is not None
    assert cost.latency_high_ms / cost.latency_ms == pytest.approx(1.1367, abs=1e-4)  # exp(0.1 * 1.2816)
    assert cost.latency_ms / cost.latency_low_ms == pytest.approx(1.1367, abs=1e-4)
    assert cost.coverage == 0.8


def test_an_unknown_metric_is_named() -> None:
    cost = small().estimate(load_network("mobilenet_v1"))
    assert cost.metric("latency_ms") == cost.latency_ms
    with pytest.raises(UnknownName, match="no metric 'latency'; did you mean 'latency_ms'"):
        cost.metric("latency")


# -- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(hardware()))
def test_every_named_device_loads_and_states_its_sources(name: str) -> None:
    model = load_hardware(name)
    assert isinstance(model, HardwareModel)
    cost = model.estimate(load_network("mobiledet_edgetpu"))
    facts = device_facts(name)
    assert cost.source == f"predicted:{model.name}@{facts['version']}"
    assert number_format_of(model) == facts["number_format"] == device_number_format(name)
    assert cost.latency_low_ms is not None
    assert cost.latency_high_ms is not None
    assert 0 < cost.latency_low_ms < cost.latency_ms < cost.latency_high_ms
    text = device_path(name).read_text(encoding="utf-8")
    if 'kind = "analytic"' not in text:
        assert re.search(r'^source = ".{20,}"$', text, flags=re.MULTILINE)
        return
    assert 0.5 * cost.latency_ms < cost.latency_low_ms < cost.latency_high_ms < 2 * cost.latency_ms
    stated = text.split("[operations.passes]")[0].split("[array]")[1]
    for line in stated.splitlines():
        if " = " in line and line.split(" = ")[1][0].isdigit():
            assert " # " in line, f"{name}: no source beside {line!r}"


def test_a_device_that_is_there_in_several_number_formats_is_named_with_one() -> None:
    assert rows_by_number_format("pixel3_cpu4") == {"float32": "pixel3_cpu4", "int8": "pixel3_cpu4_int8"}
    assert rows_by_number_format("v100") == {"float16": "v100_fp16", "float32": "v100_fp32", "int8": "v100_int8"}
    assert rows_by_number_format("pixel3") == {}
    for device in {row.device for row in hardware().values() if row.device}:
        formats = rows_by_number_format(device)
        assert len(formats) > 1
        for number_format, name in formats.items():
            assert resolve_name(name) == resolve_name(f"{device}:{number_format}") == name
            assert resolve_name(f"{name}:{number_format}") == name
            assert device_number_format(name) == number_format
    assert resolve_name("edgetpu:int8") == "edgetpu"
    assert load_hardware("pixel3_cpu4:int8").name == "pixel3_cpu4_int8"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pixel3_cpu4:float16", "not there in 'float16': write pixel3_cpu4:float32 or pixel3_cpu4:int8"),
        ("edgetpu:", "not there in '': write edgetpu:int8"),
        ("v100", "v100 is there in several number formats: write v100:float16 or v100:float32 or v100:int8"),
        ("pixel3_cpu5:int8", "no hardware 'pixel3_cpu5'; did you mean 'pixel3_cpu"),
        ("./mine.toml:int8", "a device file states one number format; write ./mine.toml"),
    ],
)
def test_a_number_format_that_a_device_is_not_there_in_is_an_error(name: str, message: str) -> None:
    with pytest.raises((HardwareError, UnknownName), match=re.escape(message)):
        load_hardware(name)


def test_a_model_of_ones_own_need_not_state_a_number_format() -> None:
    class Mine:
        name = "mine"

        def estimate(self, graph: Graph) -> Cost:
            return Cost(1.0, "predicted:mine@1")

    model = Mine()
    assert load_hardware(model) is model
    assert number_format_of(model) is None
    model.number_format = "w4a8"  # type: ignore[attr-defined]  # none that is known here
    assert number_format_of(model) is None


def test_an_element_takes_what_the_number_format_says() -> None:
    graph = load_network("mobilenet_v1", image_size=64)
    eight, sixteen = (model_from_text(SMALL.replace('"int8"', f'"{f}"'), "m", "m.toml") for f in ("int8", "float16"))
    one, two = eight.estimate(graph), sixteen.estimate(graph)
    assert one.weights_kib == graph.params / 1024
    assert two.weights_kib == 2 * graph.params / 1024
    assert two.peak_memory_kib == 2 * graph.peak_activation_elements / 1024
    moved = [{row.op: row.latency_ms for row in cost.breakdown()} for cost in (one, two)]
    for op in ("input", "outputs"):
        assert moved[1][op] == pytest.approx(2 * moved[0][op])
    assert isinstance(sixteen, AnalyticModel)
    load = fit.graph_work(sixteen.device, graph)
    assert fit.graph_work_ms(sixteen.device, load) == pytest.approx(two.latency_ms, rel=1e-6)


def test_edgetpu_is_the_pixel_4() -> None:
    graph = load_network("mobiledet_edgetpu")
    assert load_hardware("edgetpu").estimate(graph) == load_hardware("pixel4_edgetpu").estimate(graph)


def test_a_model_and_a_file_load_too(tmp_path: Path) -> None:
    model = small()
    assert load_hardware(model) is model
    file = tmp_path / "my_chip.toml"
    file.write_text(SMALL, encoding="utf-8")
    graph = load_network("mobilenet_v1")
    for where in (file, str(file)):
        assert load_hardware(where).estimate(graph).source == "predicted:my_chip@3"


def test_names_that_are_not_there_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no hardware 'edgtpu'; did you mean 'edgetpu'"):
        load_hardware("edgtpu")
    with pytest.raises(HardwareError, match="cannot read the device file"):
        load_hardware(tmp_path / "none.toml")
    with pytest.raises(HardwareError, match="is no hardware: give a name"):
        load_hardware(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('number_format = "int8"', "", r"x\.toml: number_format is missing; add one of 'float32', .*'int8'"),
        ('"int8"', '"int4"', r"x\.toml: number_format must be one of 'float32', .*'int8', not 'int4'"),
        ("rows = 4", "", r"x\.toml: array\.rows is missing; add a whole number of at least 1"),
        ("rows = 4", "row = 4", r"array\.rows is missing \(there is 'row': is it that\?\)"),
        ("rows = 4", "rows = 4.5", r"array\.rows must be a whole number of at least 1, not 4\.5"),
        ("rows = 4", "rows = true", r"array\.rows must be a whole number .* not True"),
        ("rows = 4", f"rows = {10**400}", r"array\.rows must be a whole number"),
        ("clock_mhz = 100", "clock_mhz = 'fast'", r"array\.clock_mhz must be a number above 0, not 'fast'"),
        ("clock_mhz = 100", "clock_mhz = -1", r"array\.clock_mhz must be a number above 0, not -1"),
        ("clock_mhz = 100", "clock_mhz = nan", r"array\.clock_mhz must be .* not nan"),
        ("clock_mhz = 100", "clock_mhz = inf", r"array\.clock_mhz must be .* not inf"),
        ("clock_mhz = 100", "clock_mhz = 1e-300", r"array\.clock_mhz must be .* not 1e-300"),
        ("clock_mhz = 100", f"clock_mhz = {10**400}", r"array\.clock_mhz must be"),
        ("regular_efficiency = 0.5", "regular_efficiency = 1.5", r"must be a number above 0 and at most 1, not 1\.5"),
        ("op_us = 1", "op_us = -1", r"overhead\.op_us must be a number at least 0, not -1"),
        ("op_us = 1", "op_us = 1\nop_ms = 1", r"no key overhead\.op_ms; did you mean 'op_us'"),
        ("[link]", "[lnk]", r"link is missing \(there is 'lnk': is it that\?\)"),
        ("version = 3", "version = 3\nnote = 1", r"x\.toml: no key note; known: .*version"),
        ("[host]", "[[host]]", r"host must be a table"),
        ('"add" = 1', '"ad" = 1', r"operations: no kind of vector operation 'ad'; did you mean 'add'"),
        ('"add" = 1', '"conv" = 1', r"operations: no kind of vector operation 'conv'"),
        ('"act:hswish"', '"act:hswsh"', r"operations: no operation kind 'act:hswsh'; did you mean 'act:hswish'"),
        ('"act:hswish"', '"add"', r"operations: 'add' is both in passes and in host; leave one"),
        ('["relu", "relu6"]', '["rellu"]', r"operations: no activation 'rellu'; did you mean 'relu'"),
        ('["relu", "relu6"]', "7", r"operations\.fused_activations must be a list of texts, not 7"),
        ('kind = "analytic"', 'kind = "quantum"', r"kind must be one of 'analytic', .*, not 'quantum'"),
        ('kind = "analytic"', "", r"kind is missing"),
        ("[array]", "[array", r"x\.toml: not valid TOML"),
    ],
)
def test_a_device_file_that_is_wrong_says_where(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(HardwareError, match=message):
        model_from_text(SMALL.replace(old, new, 1), "x", "x.toml")


# -- fitting ---------------------------------------------------------------------------------------------------------

PLAN = """
[fit]
shared = ["array.regular_efficiency", "array.grouped_efficiency"]
[fit.free]
"array.regular_efficiency" = { prior = 0.4, spread = 1 }
"array.grouped_efficiency" = { prior = 0.4, spread = 1 }
"overhead.invoke_us" = { prior = 100, spread = 2 }
"link.mb_per_s" = { prior = 50, spread = 1 }
"""


def _subjects(rows: list[measurements.PublishedLatency]) -> list[fit.DeviceFitProblem]:
    text = SMALL.replace("weights_kib = 64", "weights_kib = 100000") + PLAN
    truth = {
        "a": {"array.regular_efficiency": 0.6, "array.grouped_efficiency": 0.2, "overhead.invoke_us": 300.0},
        "b": {"array.regular_efficiency": 0.6, "array.grouped_efficiency": 0.2, "link.mb_per_s": 20.0},
    }
    subjects = []
    for name, numbers in truth.items():
        device = fit.with_parameters(fit.read_fit_problem(text, name, f"{name}.toml", ()).device, numbers)
        measured = [
            measurements.PublishedLatency(
                row.network,
                row.graph,
                fit.graph_work_ms(device, fit.graph_work(device, row.graph)),
                "simulated",
            )
            for row in rows
        ]
        subjects.append(fit.read_fit_problem(text, name, f"{name}.toml", measured))
    return subjects


def test_the_fit_recovers_a_chip_from_its_latencies() -> None:
    names = ("mobilenet_v1", "mobilenet_v2", "efficientnet_edgetpu_s", "inception_v1", "mobilenet_edgetpu")
    rows = [measurements.PublishedLatency(name, load_network(name, image_size=64), 1.0, "none") for name in names]
    fitted, predictions = fit.fit_and_cross_validate(_subjects(rows))
    assert fitted[0]["array.regular_efficiency"] == fitted[1]["array.regular_efficiency"]
    assert fitted[0]["array.regular_efficiency"] == pytest.approx(0.6, rel=0.05)
    assert fitted[0]["array.grouped_efficiency"] == pytest.approx(0.2, rel=0.05)
    for prediction in predictions:
        assert prediction.predicted_ms == pytest.approx(prediction.row.latency_ms, rel=0.02)
        assert prediction.held_out_ms == pytest.approx(prediction.row.latency_ms, rel=0.05)


@pytest.mark.parametrize("name", ["mobiledet_edgetpu", "resnet50_v2", "densenet121", "mobilenet_v2_ssd"])
@pytest.mark.parametrize("device", DEVICES)
def test_counted_work_costs_what_the_model_says(device: str, name: str) -> None:
    model, graph = load_hardware(device), load_network(name)
    assert isinstance(model, AnalyticModel)
    counted = fit.graph_work_ms(model.device, fit.graph_work(model.device, graph))
    assert counted == pytest.approx(model.estimate(graph).latency_ms, rel=1e-7)


def test_rewriting_a_device_file_changes_the_numbers_alone() -> None:
    text = "[array]\nclock_mhz = 488   # source\nrows = 4\n\n[link]\nclock_mhz = 7\n"
    assert fit.replace_numbers(text, {"array.clock_mhz": 401.75}) == text.replace("488   #", "401.75 #")
    assert fit.replace_numbers(text, {"array.rows": 8, "link.clock_mhz": 1.5}) == text.replace(
        "= 4\n", "= 8\n"
    ).replace("= 7", "= 1.5")
    with pytest.raises(HardwareError, match=r"no line for link\.rows"):
        fit.replace_numbers(text, {"link.rows": 1})


def test_a_plan_that_makes_no_sense_is_explained() -> None:
    for old, new, message in (
        ('"overhead.invoke_us"', '"array.rows"', r"fit\.free: 'array\.rows' cannot be fitted; these can"),
        ("prior = 100", "prior = -1", r"fit\.free\.overhead\.invoke_us\.prior must be a number above 0"),
        ('shared = ["array.regular_efficiency"', 'shared = ["link.x"', r"fit\.shared: 'link\.x' is not in fit\.free"),
    ):
        with pytest.raises(HardwareError, match=message):
            fit.read_fit_problem((SMALL + PLAN).replace(old, new), "a", "a.toml", ())
    with pytest.raises(HardwareError, match="there are no measurements"):
        fit.fit_parameters([fit.read_fit_problem(SMALL + PLAN, "a", "a.toml", ())])


# -- the published latencies -----------------------------------------------------------------------------------------


def _recorded() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _published() -> dict[tuple[str, str], measurements.PublishedLatency]:
    if not PUBLISHED.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{PUBLISHED} is missing")
        pytest.skip(f"{PUBLISHED} is not here; it holds the published latencies")
    return {(d, row.network): row for d in DEVICES for row in measurements.published_latencies(PUBLISHED, d)}


def test_results_are_what_the_models_predict_for_the_published_latencies() -> None:
    published = _published()
    models = {device: load_hardware(device) for device in DEVICES}
    rows = _recorded()
    assert {(r["device"], r["network"]) for r in rows} <= set(published)
    for r in rows:
        row, model = published[r["device"], r["network"]], models[r["device"]]
        assert isinstance(model, AnalyticModel)
        after_us = row.host_scores * model.device.host.detection_ns_per_score / 1e3
        assert float(r["published_ms"]) == row.latency_ms
        assert float(r["predicted_ms"]) == pytest.approx(
            model.estimate(row.graph).latency_ms + after_us / 1e3, abs=1e-3
        )


@pytest.mark.parametrize("device", DEVICES)
def test_the_stated_errors_are_those_of_the_results(device: str) -> None:
    rows = [r for r in _recorded() if r["device"] == device]
    published = [float(r["published_ms"]) for r in rows]
    predicted = [float(r["predicted_ms"]) for r in rows]
    held_out = [float(r["held_out_ms"]) for r in rows]
    stated = tomllib.loads(device_path(device).read_text(encoding="utf-8"))["error"]
    assert stated["rows"] == len(rows)
    assert stated["mape_percent"] == pytest.approx(fit.mape_percent(predicted, published), abs=0.06)
    assert stated["held_out_mape_percent"] == pytest.approx(fit.mape_percent(held_out, published), abs=0.06)
    assert stated["spearman"] == pytest.approx(fit.spearman(predicted, published), abs=1e-3)
    assert stated["mape_percent"] < 6
    assert stated["held_out_mape_percent"] < 10
    assert stated["spearman"] > 0.95


def test_mobiledet_is_near_its_published_latency() -> None:
    cost = load_hardware("edgetpu").estimate(load_network("mobiledet_edgetpu"))
    assert cost.latency_ms == pytest.approx(6.9, rel=0.05)
    assert cost.latency_low_ms is not None
    assert cost.latency_high_ms is not None
    assert cost.latency_low_ms < 6.9 < cost.latency_high_ms


def test_a_table_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("source,model,device,latency_ms\nme,mobilenet_v1,mine,fast\n", encoding="utf-8")
    with pytest.raises(HardwareError, match=r"table\.csv:2: no measurement"):
        measurements.published_latencies(table, "mine")
    table.write_text("source,model,device,latency_ms\nme,mobilenet_v1,mine,4.5\n", encoding="utf-8")
    assert [row.latency_ms for row in measurements.published_latencies(table, "mine")] == [4.5]
    with pytest.raises(HardwareError, match="cannot read the table"):
        measurements.published_latencies(tmp_path / "none.csv", "mine")
