"""Devices of published latency tables: rows become networks, fits find rates, files say what they are worth."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from hardware_models.analytic.model import AnalyticModel
from hardware_models.catalog import device_path, hardware, load_hardware, model_from_text
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import device_text
from hardware_models.linear import fit_sparse_devices
from hardware_models.linear import prior as few_rows
from hardware_models.linear import sparse_device as few
from hardware_models.linear.device_priors import RATE_PRIORS, SPARSE_DEVICES
from hardware_models.linear.fit import OperationCounter
from hardware_models.linear.model import LinearModel
from hardware_models.linear.prior import LinearPriorModel, PriorDesign, RatePrior, prior_design
from hardware_models.measured.datasets import note10, pixel1, v100
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.measured.prediction_error import accuracy_metrics
from hardware_models.measured.published_latencies import (
    DEVICE_COLUMNS,
    EXCLUDED_LATENCIES,
    PUBLISHED_NETWORKS,
    UNBUILDABLE_NETWORKS,
    family,
    published_latencies,
)
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks

RESULTS = Path(__file__).parents[3] / "results" / "devices" / "published" / "published_devices.csv"
NETWORK_DEVICES = [name for name in SPARSE_DEVICES if not name.startswith("v100_")]
ANALYTIC = ("coral_usb", "coral_devboard", "pixel4_edgetpu", "pixel6_edgetpu")
SIX = ("mobilenet_v1", "mobilenet_v2", "resnet18", "squeezenet1_1", "mobiledet_edgetpu", "shufflenet_v2_x1_0")


@pytest.fixture(scope="module")
def counter() -> OperationCounter:
    return OperationCounter()


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("resnet50_v2 image_size=299", "resnet"),
        ("vgg13_bn", "vgg"),
        ("mobilenet_v2_ssd", "mobilenet_v2"),
        ("mobilenetv3_large width=0.75", "mobilenet_v3"),
        ("mobilenetv4_conv_small", "mobilenet_v4"),
        ("mobilenet_edgetpu width=1.25", "mobilenet_edgetpu"),
        ("mobilenet_edgetpu_v2_s", "mobilenet_edgetpu_v2"),
        ("ssdlite_mobilenet_edgetpu", "mobilenet_edgetpu"),
        ("mobiledet_cpu image_size=320", "mobiledet"),
    ],
)
def test_families_are_networks_of_one_design(network: str, expected: str) -> None:
    assert family(network) == expected


def test_every_line_of_the_table_is_a_network_or_has_a_reason(shared: Callable[[str], Path]) -> None:
    table = shared("data/published_tables/published_latency.csv")
    patterns = [pattern for key in UNBUILDABLE_NETWORKS for pattern in key.split(", ")]
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        left_out = any(fnmatch(line[column], p) for column in ("model", "device") for p in patterns)
        assert (line["model"] in PUBLISHED_NETWORKS) != left_out, line
    settings = set(DEVICE_COLUMNS) | {"pixel4_dsp", "pixel4_edgetpu", "pixel6_edgetpu"}
    mapped = sum(len(published_latencies(table, device)) for device in settings)
    built = [
        x
        for x in lines
        if x["model"] in PUBLISHED_NETWORKS and not (x["precision"] == "uint8" and "large_core" in x["runtime"])
    ]
    # Three rows in int8 stand alone on their device; rows from elsewhere: 2 Pixel 4, 1 Xavier, 9 DSP
    assert mapped == len(built) - len(EXCLUDED_LATENCIES) + 12


def test_the_input_column_sets_the_size_where_the_network_has_many(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "source,model,input,precision,device,runtime,latency_ms\n"
        "a,mobilenet_v2_0.5,96,fp32,pixel3_cpu,tflite_4threads,2\n"
        "a,mobilenet_v2_0.5,96,uint8,pixel3_cpu,tflite_4threads,1\n"
        "a,mobilenet_v1_ssd,224,int8,coral_usb_edgetpu,tflite,6.5\n"
        "a,efficientnet_edgetpu_s,,int8,desktop_cpu_xeon,tflite,5431\n",
        encoding="utf-8",
    )
    (row,) = published_latencies(table, "pixel3_cpu4")
    assert row.graph.input_shape == (3, 96, 96)
    assert row.latency_ms == 2
    assert [r.latency_ms for r in published_latencies(table, "pixel3_cpu4_int8")] == [1]
    (detector,) = published_latencies(table, "coral_usb")
    assert detector.graph.input_shape == (3, 300, 300)
    assert detector.host_scores == 1917 * 91
    assert published_latencies(table, "coral_desktop_cpu") == []
    table.write_text("source,model,input,device,latency_ms\na,mobilenet_v2_0.5,big,mine,2\n", encoding="utf-8")
    with pytest.raises(HardwareError, match=r"table\.csv:2: no measurement"):
        published_latencies(table, "mine")


# -- the fit ---------------------------------------------------------------------------------------------------------


def _design(counter: OperationCounter, prior: RatePrior, unknowns: dict[str, float]) -> PriorDesign:
    """Six networks whose latencies are those of the unknowns."""
    blank = prior_design([MeasuredNetwork(name, load_network(name), 1.0) for name in SIX], prior, counter)
    return replace(blank, latencies_ms=few_rows.predict(blank, unknowns))


def test_a_processor_at_another_speed_is_found_from_two_networks(counter: OperationCounter) -> None:
    prior = RATE_PRIORS["processor"]
    truth = {name: 3.7 * median for name, median in prior.medians.items()}
    design = _design(counter, prior, truth)
    found = few_rows.fit_rates_with_prior(design.of([0, 1]))
    assert few_rows.predict(design, found) == pytest.approx(design.latencies_ms, rel=0.03)


def test_rates_that_differ_from_the_prior_are_found(counter: OperationCounter) -> None:
    prior = RATE_PRIORS["processor"]
    truth = {**prior.medians, "depthwise": 900.0, "regular": 40.0}
    design = _design(counter, prior, truth)
    found = few_rows.fit_rates_with_prior(design)
    assert found["depthwise"] / found["regular"] > 3 * prior.medians["depthwise"] / prior.medians["regular"]
    assert few_rows.predict(design, found) == pytest.approx(design.latencies_ms, rel=0.05)


def test_a_network_that_is_left_out_does_not_move_its_own_prediction(counter: OperationCounter) -> None:
    prior = RATE_PRIORS["processor"]
    design = _design(counter, prior, dict(prior.medians))
    wrong = replace(design, latencies_ms=design.latencies_ms * np.array([10, 1, 1, 1, 1, 1]))
    before = few_rows.held_out_predictions(design, SIX)
    after = few_rows.held_out_predictions(wrong, SIX)
    assert after[0] == pytest.approx(before[0])
    assert after[1] > before[1] * 1.01
    with pytest.raises(ValueError, match="no measurements but those of all"):
        few_rows.held_out_predictions(design, ["all"] * len(SIX))
    with pytest.raises(ValueError, match="there are no measurements"):
        few_rows.fit_rates_with_prior(prior_design([], prior))


def test_parts_have_no_share_in_the_time_of_an_inference() -> None:
    prior = RatePrior({**RATE_PRIORS["processor"].medians, "base": 1000.0})
    whole = MeasuredNetwork("a", pixel1.convolution(28, 16, 32), 1.0)
    design = prior_design([whole, replace(whole, part=True)], prior, part_scatter=0.5)
    assert design.scatter[1] == 0.5
    one, other = few_rows.predict(design, prior.medians)
    assert one - other == pytest.approx(1000.0)


def test_the_coverage_of_equal_errors_is_whole_and_of_one_outlier_is_not() -> None:
    measured = np.ones(10)
    assert few_rows.jackknife_coverage(np.full(10, 1.1), measured) == 1
    outlier = np.full(10, 1.1)
    outlier[3] = 2.0
    assert few_rows.jackknife_coverage(outlier, measured) == pytest.approx(0.9)


def test_what_a_runtime_folds_costs_nothing_and_a_written_file_says_the_same(counter: OperationCounter) -> None:
    prior = RATE_PRIORS["processor"]
    design = _design(counter, prior, dict(prior.medians))
    rates = few_rows.to_rates(prior.medians, design, 1.2)
    assert set(rates.kinds["norm:batch"]) == {0.0}
    assert rates.kinds["conv:depthwise"][1] == prior.medians["depthwise"]
    predicted = few_rows.predict(design, prior.medians)
    fitted = few.SparseDeviceFit(
        design, dict(prior.medians), SIX, predicted * 1.1, predicted, predicted * 1.05, predicted
    )
    model = model_from_text(device_text(*few.sparse_device("pixel1_cpu", fitted)), "mine", "mine.toml")
    assert isinstance(model, LinearPriorModel)
    assert repr(model) == "<FewRowsModel mine@1>"
    for name, expected in zip(SIX, predicted, strict=True):
        cost = model.estimate(load_network(name))
        assert cost.latency_ms == pytest.approx(expected, rel=1e-3)
        assert cost.source == "predicted:mine@1"
        assert cost.latency_low_ms is not None
        assert cost.latency_low_ms < expected * 1.1


# -- the devices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SPARSE_DEVICES, "note10", "pixel6_edgetpu"])
def test_devices_load_by_name_and_price_networks(name: str) -> None:
    assert name in hardware()
    model = load_hardware(name)
    # What was learned from few rows is no ground to know other devices by
    assert isinstance(model, LinearModel) == (name == "note10")
    small, large = (model.estimate(load_network("mobilenet_v1", width=w)) for w in (0.25, 1.0))
    assert 0 < small.latency_ms < large.latency_ms
    assert sum(row.latency_ms for row in large.breakdown()) == pytest.approx(large.latency_ms, rel=1e-6)


@pytest.mark.parametrize("name", NETWORK_DEVICES)
def test_stated_errors_are_those_of_the_published_latencies(
    name: str, recorded: list[dict[str, str]], shared: Callable[[str], Path]
) -> None:
    rows = published_latencies(shared("data/published_tables/published_latency.csv"), name)
    model = load_hardware(name)
    measured = np.array([r.latency_ms for r in rows])
    predicted = np.array([model.estimate(r.graph).latency_ms for r in rows])
    error = tomllib.loads(device_path(name).read_text(encoding="utf-8"))["latency"]["error"]
    assert error["rows"] == len(rows)
    assert error["in_sample_mape_percent"] == pytest.approx(
        accuracy_metrics(predicted, measured)["mape_percent"], abs=0.06
    )
    own = [r for r in recorded if r["device"] == name]
    assert [float(r["published_ms"]) for r in own] == measured.tolist()
    assert [float(r["predicted_ms"]) for r in own] == pytest.approx(predicted.tolist(), rel=1e-3)
    for column, prefix in (("without_network_ms", ""), ("without_family_ms", "family_")):
        found = accuracy_metrics(np.array([float(r[column]) for r in own]), measured)
        assert error[f"{prefix}mape_percent"] == pytest.approx(found["mape_percent"], abs=0.02)


@pytest.mark.parametrize(
    ("device", "most_percent", "least_spearman"),
    [
        ("coral_usb", 20, 0.95),
        ("coral_devboard", 20, 0.95),
        ("pixel6_edgetpu", 20, 0.95),
        ("pixel1_cpu", 12, 0.97),
        ("pixel3_cpu4", 12, 0.97),
    ],
)
def test_devices_reach_their_bars_on_networks_left_out(
    device: str, most_percent: float, least_spearman: float, recorded: list[dict[str, str]]
) -> None:
    own = [r for r in recorded if r["device"] == device]
    measured = np.array([float(r["published_ms"]) for r in own])
    found = accuracy_metrics(np.array([float(r["without_network_ms"]) for r in own]), measured)
    assert found["mape_percent"] <= most_percent
    assert found["spearman"] >= least_spearman


@pytest.mark.parametrize(
    ("network", "device", "published_ms"),
    [
        ("mobiledet_cpu", "pixel1_cpu", 113.0),
        ("mobiledet_dsp", "pixel4_dsp", 12.3),
        ("mobiledet_edgetpu", "pixel4_edgetpu", 6.9),
        ("mobiledet_gpu", "xavier_tensorrt", 3.2),
    ],
)
def test_mobiledets_are_near_their_published_latencies(
    network: str, device: str, published_ms: float, recorded: list[dict[str, str]]
) -> None:
    cost = load_hardware(device).estimate(load_network(network))
    assert cost.latency_ms == pytest.approx(published_ms, rel=0.1)
    assert cost.latency_low_ms is not None
    assert cost.latency_high_ms is not None
    assert cost.latency_low_ms < published_ms < cost.latency_high_ms
    (row,) = [r for r in recorded if r["device"] == device and r["network"].startswith(network)]
    assert float(row["without_network_ms"]) == pytest.approx(published_ms, rel=0.1)


def test_mobiledets_stand_in_the_order_of_the_chips_they_were_searched_for() -> None:
    graphs = {target: load_network(f"mobiledet_{target}") for target in ("cpu", "dsp", "edgetpu", "gpu")}

    def order(device: str, *targets: str) -> list[str]:
        model = load_hardware(device)
        return sorted(targets, key=lambda t: model.estimate(graphs[t]).latency_ms)

    assert order("pixel1_cpu", "cpu", "dsp", "edgetpu", "gpu") == ["cpu", "edgetpu", "dsp", "gpu"]
    for device in ("pixel4_edgetpu", "pixel6_edgetpu", "pixel8_edgetpu"):
        assert order(device, "dsp", "edgetpu", "gpu")[0] == "edgetpu"
    assert order("pixel4_dsp", "dsp", "gpu") == ["dsp", "gpu"]


@pytest.mark.parametrize(("size", "width"), [(160, 32), (80, 32), (80, 64), (40, 64)])
def test_accelerators_prefer_a_fused_block_early_and_processors_an_inverted_bottleneck(size: int, width: int) -> None:
    from search_spaces.blocks.mobile import fused_inverted_bottleneck, inverted_bottleneck
    from search_spaces.graph.builder import Builder

    def made(fused: bool) -> Graph:
        b = Builder()
        x = b.input((width, size, size))
        if fused:
            return b.build(fused_inverted_bottleneck(b, x, width, expanded=4 * width, residual=True))
        return b.build(inverted_bottleneck(b, x, width, expanded=8 * width, kernel=5, residual=True))

    fused, inverted = made(True), made(False)
    for device, sooner in (
        ("pixel1_cpu", inverted),
        ("pixel4_edgetpu", fused),
        ("pixel6_edgetpu", fused),
        ("pixel4_dsp", fused),
        ("xavier_tensorrt", fused),
    ):
        model = load_hardware(device)
        later = inverted if sooner is fused else fused
        assert model.estimate(sooner).latency_ms < model.estimate(later).latency_ms, device


def test_results_hold_every_device_of_networks_and_analytic_ones_repeat(recorded: list[dict[str, str]]) -> None:
    assert {r["device"] for r in recorded} == {*NETWORK_DEVICES, *ANALYTIC}
    for r in recorded:
        if r["device"] == "pixel6_edgetpu":
            name, _, options = r["network"].partition(" ")
            width = {"width": float(options.removeprefix("width="))} if options else {}
            model = load_hardware("pixel6_edgetpu")
            assert isinstance(model, AnalyticModel)
            predicted = model.estimate(load_network(name, **width)).latency_ms
            assert float(r["predicted_ms"]) == pytest.approx(predicted, abs=1e-3)


def test_plans_are_for_named_devices_and_likes_come_before(shared: Callable[[str], Path]) -> None:
    table = shared("data/published_tables/published_latency.csv")
    for name, plan in SPARSE_DEVICES.items():
        assert plan.prior in RATE_PRIORS
        assert not plan.base_device or plan.base_device in SPARSE_DEVICES
        assert plan.part_readers or len(published_latencies(table, name)) >= 2
    assert {row.name.split()[0] for row in published_latencies(table, "pixel1_cpu")} <= set(networks())


def test_the_command_writes_the_file_that_is_there(
    shared: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit_sparse_devices, "DEVICE_FOLDER", tmp_path)
    fit_sparse_devices.main(["pixel4_dsp", "--data", str(shared("data")), "--write", "--rows"])
    printed = capsys.readouterr().out
    assert "mobiledet_dsp image_size=320 12.3" in printed
    assert (tmp_path / "pixel4_dsp.toml").read_text() == device_path("pixel4_dsp").read_text()


# -- readers ---------------------------------------------------------------------------------------------------------


def test_blocks_and_operations_of_the_pixel_1(shared: Callable[[str], Path]) -> None:
    data = shared("data")
    blocks = pixel1.read(data, 1000)["pixel1"]
    assert len(blocks) == 72
    profile = pixel1.read_profile(data, 1000)["pixel1"]
    network = load_network("proxyless_mobile")
    convolutions = [row.graph.macs for row in profile]
    assert len(profile) == 74  # of 77: without the pooling, the classifier and a reshape
    assert sum(convolutions) == network.macs - 1280 * 1000
    whole = load_hardware("pixel1_cpu").estimate(network).latency_ms
    assert whole == pytest.approx(80.67, rel=0.1)


def test_blocks_of_the_note_10(tmp_path: Path) -> None:
    folder = tmp_path / "ofa_note10_lut"
    folder.mkdir()
    head = "resolution,key,op,h_in,c_in,h_out,c_out,expand,kernel,stride,idskip,se,h_swish,count,mean_ms,std\n"
    lines = [
        "160,a,Conv,160,3,80,24,,,,,,,498,0.5,0",
        "160,b,expanded_conv,10,136,10,136,408,5,1,1,1,1,100,0.9,0",
        "160,c,AvgPool2D,5,1152,1,1152,,,,,,,491,0.008,0",
        "160,d,Conv_2,1,1152,1,1536,,,,,,,498,0.7,0",
        "160,e,Logits,1,1536,1,1000,,,,,,,499,0.65,0",
    ]
    import gzip

    with gzip.open(folder / "ofa_note10_lut.csv.gz", "wt", encoding="utf-8") as file:
        file.write(head + "\n".join(lines) + "\n")
    rows = note10.read(tmp_path, 100)["note10"]
    assert [row.latency_ms for row in rows] == [0.5, 0.9, 0.008, 0.7, 0.65]
    places = 100
    squeeze = 2 * 408 * 104
    assert rows[1].graph.macs == places * 408 * (136 + 25 + 136) + squeeze
    assert [rows[i].graph.macs for i in (0, 2, 3, 4)] == [80 * 80 * 27 * 24, 0, 1152 * 1536, 1536 * 1000]


def test_convolutions_of_the_v100(tmp_path: Path) -> None:
    folder = tmp_path / "tinynas_v100_convlib"
    folder.mkdir()
    import gzip

    with gzip.open(folder / "v100_conv_latency.csv.gz", "wt", encoding="utf-8") as file:
        file.write(
            "precision_file,conv_type,batch,c_in,h_in,c_out,kernel,stride,elmt_fused,latency_ms\n"
            "fp32,R,1,16,32,24,3,2,1,0.02\nfp16,D,1,16,32,16,5,1,0,0.01\nfp16,R,32,16,32,24,3,2,1,0.2\n"
        )
    (full,) = v100.read_fp32(tmp_path, 10)["v100"]
    assert full.graph.macs == 16 * 16 * 24 * 16 * 9
    assert len(full.graph.input_shapes) == 2
    (depthwise,) = v100.read_fp16(tmp_path, 10)["v100"]
    assert depthwise.graph.macs == 32 * 32 * 16 * 25
    assert v100.read_int8(tmp_path, 10) == {"v100": []}
