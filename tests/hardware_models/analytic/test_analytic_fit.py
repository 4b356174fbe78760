"""Fitting an analytic chip to latencies, and the published latencies it was fitted to."""

from __future__ import annotations

import csv
import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from hardware_models.analytic import fit
from hardware_models.analytic.model import AnalyticModel
from hardware_models.catalog import (
    device_path,
    load_hardware,
)
from hardware_models.device_file.toml_table import HardwareError
from hardware_models.device_file.writer import replace_values
from hardware_models.measured import published_latencies as measurements
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.catalog import load_network
from tests.support.small_chip import SMALL

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT.parent / "shared/data/published_tables/published_latency.csv"
RESULTS = ROOT / "results/devices/published/edgetpu_published.csv"
DEVICES = ["coral_usb", "coral_devboard", "pixel4_edgetpu"]


PLAN = """
[fit]
shared = ["array.regular_efficiency", "array.grouped_efficiency"]
[fit.free]
"array.regular_efficiency" = { prior = 0.4, spread = 1 }
"array.grouped_efficiency" = { prior = 0.4, spread = 1 }
"overhead.invoke_us" = { prior = 100, spread = 2 }
"link.mb_per_s" = { prior = 50, spread = 1 }
"""


def _subjects(rows: list[MeasuredNetwork]) -> list[fit.DeviceFitProblem]:
    text = SMALL.replace("weights_kib = 64", "weights_kib = 100000") + PLAN
    truth = {
        "a": {"array.regular_efficiency": 0.6, "array.grouped_efficiency": 0.2, "overhead.invoke_us": 300.0},
        "b": {"array.regular_efficiency": 0.6, "array.grouped_efficiency": 0.2, "link.mb_per_s": 20.0},
    }
    subjects = []
    for name, numbers in truth.items():
        device = fit.with_parameters(fit.read_fit_problem(text, name, f"{name}.toml", ()).device, numbers)
        measured = [
            replace(row, latency_ms=fit.graph_work_ms(device, fit.graph_work(device, row.graph))) for row in rows
        ]
        subjects.append(fit.read_fit_problem(text, name, f"{name}.toml", measured))
    return subjects


def test_the_fit_recovers_a_chip_from_its_latencies() -> None:
    names = ("mobilenet_v1", "mobilenet_v2", "efficientnet_edgetpu_s", "inception_v1", "mobilenet_edgetpu")
    rows = [MeasuredNetwork(name, load_network(name, image_size=64), 1.0) for name in names]
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
    before = tomllib.loads(text)
    faster = {"array": {"clock_mhz": 401.75, "rows": 4}, "link": {"clock_mhz": 7}}
    assert replace_values(text, before, faster) == text.replace("488   #", "401.75 #")
    other = {"array": {"clock_mhz": 488, "rows": 8}, "link": {"clock_mhz": 1.5}}
    assert replace_values(text, before, other) == text.replace("= 4\n", "= 8\n").replace("= 7", "= 1.5")
    with pytest.raises(HardwareError, match=r"no line for link\.rows, host\.clock_mhz"):
        replace_values(text, before, {"link": {"rows": 1}, "host": {"clock_mhz": 2.0}})


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


def _published() -> dict[tuple[str, str], MeasuredNetwork]:
    if not PUBLISHED.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{PUBLISHED} is missing")
        pytest.skip(f"{PUBLISHED} is not here; it holds the published latencies")
    return {(d, row.name): row for d in DEVICES for row in measurements.published_latencies(PUBLISHED, d)}


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
