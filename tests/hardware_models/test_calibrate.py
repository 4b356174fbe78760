"""From a few measured networks to a device file: files of measurements, choices, suggestions, checks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware_models import calibrate as calibrating
from hardware_models.calibrate import calibrate, check_model, pool_networks, suggest_networks
from hardware_models.catalog import load_hardware
from hardware_models.cost import Cost
from hardware_models.device_file.number_format import number_format_of
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import device_text
from hardware_models.linear.model import LinearModel
from hardware_models.linear.prior import LinearPriorModel
from hardware_models.measured.latency_csv import (
    EXECUTED_GRAPHS,
    executed_graph_of,
    possible_executed_graphs,
    published_network,
    read_measured_networks,
)
from hardware_models.measured.network import MeasuredNetwork, median_per_network
from hardware_models.transfer.fit import fit_prior_rates
from hardware_models.transfer.model import TransferModel
from search_spaces.catalog import load_network, load_space
from search_spaces.graph.graph import Graph

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"


def file(folder: Path, text: str) -> Path:
    path = folder / "measured.csv"
    path.write_text(text, encoding="utf-8")
    return path


def entries(
    device: str, count: int, seed: int = 0, executed_graph: str = "normal form", noise: float = 0.0
) -> list[MeasuredNetwork]:
    """Cells of NAS-Bench-201 with what a device's model says of them."""
    space, model, rng = load_space("nasbench201"), load_hardware(device), random.Random(seed)
    found = []
    for genotype in (space.sample(rng) for _ in range(count)):
        entry = MeasuredNetwork(space.format(genotype), space.graph(genotype), 1.0, space, genotype)
        latency_ms = model.estimate(executed_graph_of(entry, executed_graph)).latency_ms * np_noise(rng, noise)
        found.append(MeasuredNetwork(entry.name, entry.graph, latency_ms, space, genotype))
    return found


def np_noise(rng: random.Random, noise: float) -> float:
    return float(np.exp(rng.gauss(0, noise)))


# -- files of measurements ---------------------------------------------------------------------------------------------


def test_networks_and_architectures_are_read(tmp_path: Path) -> None:
    text = "latency_ms,network,space,architecture,options,who\n"
    text += "3.5,mobilenetv2,,,,me\n2.25,mobilenetv2@192,,,,me\n"
    text += f'9,,nasbench201,{CELL},image_size=16; num_classes=100,"you, too"\n'
    found = read_measured_networks(file(tmp_path, text))
    assert [e.latency_ms for e in found] == [3.5, 2.25, 9]
    assert found[0].graph == load_network("mobilenetv2")
    assert found[1].graph.input_shape == (3, 192, 192)
    assert found[2].graph.input_shape == (3, 16, 16)
    assert found[2].graph.nodes[-1].shape == (100,)
    assert [e.name for e in found] == ["mobilenetv2", "mobilenetv2@192", f"nasbench201={CELL}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no measurements; its columns are space, architecture and latency_ms"),
        ("network,latency_ms\n", "no measurements"),
        ("network,ms\nmobilenetv2,3\n", ":2: there is no column latency_ms; there are network, ms"),
        ("network,latency_ms\nmobilenetv2,3\nmobilenetv2,-1\n", ":3: latency_ms must be above 0, not -1"),
        ("network,latency_ms\nmobilenetv2,0\n", ":2: latency_ms must be above 0"),
        ("network,latency_ms\nmobilenetv2,nan\n", ":2: latency_ms must be above 0"),
        ("network,latency_ms\nmobilenetv2,1e999\n", ":2: latency_ms must be above 0"),
        ("network,latency_ms\nmobilenetv2,fast\n", ":2: latency_ms must be a number, not 'fast'"),
        ("network,latency_ms\nmobilenetv2,\n", ":2: latency_ms must be a number, not ''"),
        ("network,latency_ms\nmobilenetv2\n", ":2: latency_ms must be a number, not None"),
        ("network,latency_ms\nmobilenet_v22,3\n", ":2: no network 'mobilenet_v22'; did you mean"),
        ("network,latency_ms\nmobilenetv2@big,3\n", ":2: 'mobilenetv2@big': behind @ stands an image size"),
        ("network,latency_ms\n,3\n", ":2: it has neither a network nor a space and an architecture"),
        ("space,architecture,latency_ms\nnasbench201,,3\n", "neither a network nor a space and an architecture"),
        ("space,architecture,latency_ms\nnasbench,x,3\n", ":2: no space 'nasbench'; did you mean"),
        ("space,architecture,latency_ms\nnasbench201,x,3\n", ":2: "),
        (
            f"space,architecture,latency_ms,options\nnasbench201,{CELL},3,image_size\n",
            "options are written as name=value",
        ),
        (f"space,architecture,latency_ms,options\nnasbench201,{CELL},3,imagesize=3\n", "has no option 'imagesize'"),
        (f"space,architecture,latency_ms,options\nnasbench201,{CELL},3,image_size=[1\n", ":2: while parsing"),
        (f"space,architecture,latency_ms,options\nnasbench201,{CELL},3,image_size=[16]\n", ":2: "),
        (
            f"space,architecture,latency_ms,options\nnasbench201,{CELL},3,space=1\n",
            "the options 'space=1' do not fit",
        ),
        ("network,latency_ms\nmobilenetv2\x00,3\n", ""),
    ],
)
def test_a_file_that_cannot_be_used_says_where(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(HardwareError) as caught:
        read_measured_networks(file(tmp_path, text))
    assert message in str(caught.value)
    assert "measured.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="cannot read the measurements"):
        read_measured_networks(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HardwareError, match=r"cannot read the measurements .*bytes\.csv"):
        read_measured_networks(tmp_path / "bytes.csv")


def test_a_file_of_measurements_does_not_choose_what_code_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(trace)!r}, 'w').close()\n")
    for space in (f"{code}:space", "os:system", str(code)):
        with pytest.raises(HardwareError, match="is code; name it with --space too"):
            read_measured_networks(file(tmp_path, f"space,architecture,latency_ms\n{space},x,3\n"))
    assert not trace.exists()


def test_a_space_of_ones_own_may_be_named_by_the_caller(tmp_path: Path) -> None:
    code = tmp_path / "my_space.py"
    code.write_text(
        "from nas import Builder\n\n\ndef my_space(choose):\n    b = Builder()\n"
        "    x = b.conv(b.input((3, 8, 8)), choose.one_of('width', (8, 16)), 1)\n    return b.build(x)\n"
    )
    name = f"{code}:my_space"
    space = load_space(name)
    architecture = space.format(space.sample(random.Random(0))).replace('"', '""')
    path = file(tmp_path, f'space,architecture,latency_ms\n{name},"{architecture}",3\n')
    assert read_measured_networks(path, [name])[0].graph.input_shape == (3, 8, 8)


def test_published_networks_take_an_image_size() -> None:
    assert published_network("mobilenetv2@96").input_shape == (3, 96, 96)
    for wrong in ("mobilenetv2@", "mobilenetv2@-1", "mobilenetv2@0"):
        with pytest.raises(ValueError, match=r"image|size|input|extent"):
            published_network(wrong)


def test_dead_branches_are_read_both_ways() -> None:
    space = load_space("nasbench201")
    genotype = space.parse(CELL)
    entry = MeasuredNetwork("cell", space.graph(genotype), 1.0, space, genotype)
    other = MeasuredNetwork("mobilenetv2", load_network("mobilenetv2"), 1.0)
    assert possible_executed_graphs([entry, other]) == EXECUTED_GRAPHS
    assert possible_executed_graphs([other]) == ("normal form",)
    assert executed_graph_of(entry, "normal form") is entry.graph
    assert executed_graph_of(entry, "as written").macs > entry.graph.macs
    assert executed_graph_of(other, "as written") is other.graph


# -- calibration -------------------------------------------------------------------------------------------------------


def test_repeated_measurements_become_their_median() -> None:
    graph = load_network("mobilenetv2")
    rows = [MeasuredNetwork(name, graph, ms) for name, ms in (("a", 3.0), ("b", 1.0), ("a", 2.0), ("a", 9.0))]
    assert [(e.name, e.latency_ms) for e in median_per_network(rows)] == [("a", 3.0), ("b", 1.0)]


def test_a_known_device_is_found_again_from_ten_networks() -> None:
    made = calibrate(entries("1080ti", 10, executed_graph="as written"), "mine", about='my "box"')
    assert (made.kind, made.executed_graph) == ("transferred", "as written")
    model = made.model
    assert isinstance(model, TransferModel)
    found = check_model(model, entries("1080ti", 40, seed=1, executed_graph="as written"))
    assert found["spearman"] > 0.97
    assert found["mape_percent"] < 5
    assert found["interval_coverage"] >= 0.8
    assert found["stated_coverage"] == 0.9


def test_a_device_unlike_the_known_ones_is_found_from_eight_networks_and_a_prior() -> None:
    """A DSP whose latencies are a sum of rates: the prior of its class leaves few of them open."""
    space, dsp, rng = load_space("mobilenetv2", image_size=96), load_hardware("pixel4_dsp"), random.Random(0)
    drawn = [space.graph(space.sample(rng)) for _ in range(32)]
    measured = [MeasuredNetwork(graph.digest, graph, dsp.estimate(graph).latency_ms) for graph in drawn]
    made = calibrate(measured[:8], "mine", number_format="int8")
    assert made.kind == "few_rows"
    model = made.model
    assert isinstance(model, LinearPriorModel)
    assert number_format_of(model) == "int8"
    found = check_model(model, measured[8:])
    assert found["mape_percent"] < 5
    assert found["spearman"] > 0.95
    assert found["stated_coverage"] == pytest.approx(8 / 9, abs=1e-4)  # eight residuals cannot promise more


def test_rates_from_a_prior_follow_the_unit_of_time() -> None:
    graphs = [e.graph for e in entries("pi5", 9)]
    measured = np.array([load_hardware("pi5").estimate(graph).latency_ms for graph in graphs])
    one, ten = fit_prior_rates(graphs, measured), fit_prior_rates(graphs, 10 * measured)
    assert ten[1] == pytest.approx(10 * one[1], rel=0.02)  # the speed's own prior is wide, not flat
    assert len(one[1]) == 9
    assert (one[0].factor or 0) > 1


def test_a_number_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(HardwareError, match="must be one of float32, float16, bfloat16, int8, not 'fp8'"):
        calibrate(entries("pi5", 10), "mine", number_format="fp8")


def test_what_was_run_is_told_by_the_error() -> None:
    made = calibrate(entries("pi5", 14), "mine")
    assert made.executed_graph == "normal form"
    assert made.header.about == "mine, calibrated"


def test_many_networks_give_rates_of_the_devices_own_where_these_are_better() -> None:
    kinds = {"conv:regular": (3.0, 0.0, 0.0, 0.0), "conv:pointwise": (0.0, 0.0, 9.0, 0.0)}
    odd = LinearModel("odd", 1, {"latency": type(load_hardware_rates("pi5"))(0.5, kinds)})
    measured = [
        MeasuredNetwork(e.name, e.graph, odd.estimate(e.graph).latency_ms, e.space, e.genotype)
        for e in entries("pi5", 40)
    ]
    made = calibrate(measured, "mine")
    assert made.kind == "learned"
    model = made.model
    fresh = [MeasuredNetwork(e.name, e.graph, odd.estimate(e.graph).latency_ms) for e in entries("pi5", 30, seed=2)]
    assert check_model(model, fresh)["spearman"] > 0.98


def load_hardware_rates(name: str) -> Any:
    model = load_hardware(name)
    assert isinstance(model, LinearModel)
    return model.rates["latency"]


def test_a_calibration_is_repeatable() -> None:
    rows = entries("pi5", 5, noise=0.1)
    one, other = (calibrate(rows, "mine", seed=3) for _ in range(2))
    assert device_text(one.header, one.model) == device_text(other.header, other.model)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_networks_are_refused(count: int) -> None:
    with pytest.raises(HardwareError, match=f"needs 4 different measured networks at least, not {count}; ten do well"):
        calibrate(entries("pi5", count), "mine")


def test_one_network_measured_often_is_too_few() -> None:
    with pytest.raises(HardwareError, match="not 1; ten do well"):
        calibrate(entries("pi5", 1) * 10, "mine")


def test_networks_that_all_take_equally_long_are_refused() -> None:
    rows = [MeasuredNetwork(e.name, e.graph, 2.0, e.space, e.genotype) for e in entries("pi5", 5)]
    with pytest.raises(HardwareError, match="all networks took equally long"):
        calibrate(rows, "mine")


def test_networks_are_standardised_over_networks_of_their_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "NETWORKS_PER_SPACE", 5)
    cells = pool_networks(entries("pi5", 4), "as written")
    assert len(cells) == 5
    assert all(graph.input_shape == (3, 32, 32) for graph in cells)
    assert pool_networks(entries("pi5", 4), "as written", seed=1) != cells
    others = pool_networks([MeasuredNetwork("mobilenetv2", load_network("mobilenetv2"), 1.0)], "normal form")
    assert load_network("mobilenetv2") in others


# -- suggestions and checks --------------------------------------------------------------------------------------------


def test_suggestions_are_different_networks_and_the_best_come_first() -> None:
    space = load_space("nasbench201")
    many = suggest_networks(space, 12)
    assert len({space.format(genotype) for genotype in many}) == 12
    assert suggest_networks(space, 5) == many[:5]
    assert suggest_networks(space, 5, seed=1) != many[:5]


class Fixed:
    """A model that knows every network's latency, half of them inside its interval."""

    name = "fixed"

    def __init__(self, latencies: dict[Graph, float]) -> None:
        self._latencies = latencies

    def estimate(self, graph: Graph) -> Cost:
        ms = self._latencies[graph]
        return Cost(1.1 * ms, "fixed", 0.9 * ms, 1.2 * ms if ms < 3 else 0.95 * ms, 0.9)


def test_a_check_says_how_good_a_model_is() -> None:
    graphs = [published_network(f"mobilenetv2@{size}") for size in (96, 128, 160, 192)]
    rows = [MeasuredNetwork(str(i), graph, i + 1.0) for i, graph in enumerate(graphs)]
    found = check_model(Fixed({e.graph: e.latency_ms for e in rows}), rows)
    assert (found["rows"], found["spearman"], found["kendall"]) == (4, 1, 1)
    assert found["mape_percent"] == 10
    assert found["within_20_percent"] == 1
    assert found["within_5_percent"] == 0
    assert (found["interval_coverage"], found["stated_coverage"]) == (0.5, 0.9)
