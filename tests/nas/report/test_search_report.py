"""What a person sees of a search: tables of several devices, published networks beside the front, pictures, lines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import nas
from hardware_models.composed.multi_device import load_hardware_models
from nas.candidates.metrics import METRICS
from nas.candidates.published_baselines import baseline_rows
from nas.candidates.verified import VerifiedCandidate, verification_scores
from nas.cli.main import main
from nas.report.baselines import baselines_near_front, draw_baselines
from nas.report.format import format_metric, metric_heading
from nas.report.plots import plot_front
from nas.report.tables import supplementary_tables
from nas.report.verification import draw_measured, verification_lines, verification_table
from search_spaces.catalog import load_network, load_space
from search_spaces.published.networks import networks
from tests.nas.engine.test_verification import FakeDevice, search


def text_of(*parts: Any) -> str:
    screen = Console(width=150, record=True, file=io.StringIO())
    for part in parts:
        screen.print(part)
    return screen.export_text()


def verified(number: int, measured: float | None = 2.0, **changes: Any) -> VerifiedCandidate:
    facts: dict[str, Any] = {"low_ms": 1.5, "high_ms": 2.5, "model_ms": 1.0, "source": "measured:fake-1t@here"}
    if measured is not None:
        facts |= {"measured_ms": measured, "std_ms": 0.1}
    return VerifiedCandidate(number, f"key{number}", "latency_ms", 1.8, **{**facts, **changes})


def axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture(scope="module")
def rows() -> Any:
    return baseline_rows(load_space("mobilenetv2"), load_hardware_models("pixel3_cpu,pi5_onnx"))


def test_every_metric_has_a_heading_and_a_figure() -> None:
    for name, metric in METRICS.items():
        assert metric.label in metric_heading(name)
        assert format_metric(name, 1234.5)
        assert format_metric(name, None) == "-"
    assert metric_heading("latency_ms@pixel3_cpu") == "latency pixel3_cpu (ms)"
    assert (format_metric("latency_ms@a", 7.126), format_metric("latency_ms", 0.04126)) == ("7.13", "0.0413")
    assert format_metric("cut_bytes", 2048.0) == "2.0 KiB"
    assert format_metric("fallback_ops", 2.0) == "2"


def test_predicted_against_measured_is_a_table() -> None:
    text = text_of(
        verification_table(
            [
                verified(4),
                verified(5, 3.0, fallback_ops=("resize",)),
                verified(6, None, failure="measurement_timeout: no answer", source="fake"),
                verified(7, low_ms=None, high_ms=None, warnings=("busy", "hot")),
            ]
        )
    )
    assert "Predicted against measured (measured:fake-1t@here)" in text
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("│ #")}
    assert "1.5-2.5" in rows["#4"]
    assert "-10.0 %" in rows["#4"]
    assert "1.5-2.5 !" in rows["#5"]
    assert "on the host: resize" in rows["#5"]
    assert "measurement_timeout: no answer" in rows["#6"]
    assert "busy (and 1 more)" in rows["#7"]
    compiled = text_of(verification_table([verified(1, source="compiled:ethos-u55-128")]))
    assert "measured" not in compiled


def test_scores_are_those_of_the_pairs() -> None:
    many = [verified(0, 2.0), verified(1, 1.0), verified(2, 3.6)]
    scores = verification_scores([*many, verified(3, None)])
    assert scores["rows"] == 3
    assert scores["mape_percent"] == pytest.approx((10 + 80 + 50) / 3, abs=0.01)
    assert scores["model_mape_percent"] == pytest.approx((50 + 0 + 100 * (1 - 1 / 3.6)) / 3, abs=0.01)
    assert scores["interval_coverage"] == pytest.approx(1 / 3, abs=1e-4)
    assert "spearman" not in scores  # all predictions are one
    assert verification_scores([verified(3, None)]) == {}


def test_lines_say_what_was_measured_and_what_failed() -> None:
    (line,) = verification_lines([verified(0), verified(1, 2.0)])
    assert line.startswith("2 of 2 candidates measured.")
    assert "MAPE 10.0 %, 100% inside the interval; the model alone: MAPE 50.0 %" in line
    _, failed = verification_lines([verified(0), verified(9, None, failure="cannot_run: no such op.")])
    assert failed == "Not measured: #9 (cannot_run: no such op)."
    assert verification_lines([]) == []


def test_baselines_are_the_networks_of_the_task_on_the_same_hardware(rows: Any) -> None:
    names = {row["network"] for row in rows}
    assert {"mobilenetv2", "mnasnet_a1", "resnet50"} <= names
    assert not {"mobiledet_edgetpu", "leyolo_n"} & names
    assert names < set(networks())
    one = next(row for row in rows if row["network"] == "mobilenetv2")
    cost = load_hardware_models("pixel3_cpu,pi5_onnx").estimate(load_network("mobilenetv2"))
    assert one["latency_ms"] == cost.latency_ms == max(one["latency_ms@pixel3_cpu"], one["latency_ms@pi5_onnx"])
    json.dumps(list(rows))


def test_the_table_holds_what_is_near_the_front(rows: Any) -> None:
    table = baselines_near_front(rows, [30.0, 40.0])
    text = text_of(table)
    latencies = {row["network"]: row["latency_ms"] for row in rows}
    for name, latency in latencies.items():
        assert (f" {name} " in text) == (20.0 <= latency <= 60.0), name
    near = sum(20.0 <= latency <= 60.0 for latency in latencies.values())
    assert f"{len(rows) - near} faster, slower or in between: result.json" in text
    assert baselines_near_front(rows, []).row_count == 24


def test_quality_is_never_drawn_for_published_networks(rows: Any) -> None:
    picture = axes()
    picture.set_xlim(10, 100)
    picture.set_ylim(0, 1)
    draw_baselines(picture, rows, "latency_ms", "accuracy", ["mobilenetv2"])
    assert not picture.collections
    (edge,) = picture.child_axes
    named = [label.get_text() for label in edge.get_xticklabels()]
    assert 5 <= len(named) <= 14
    assert "mobilenetv2" not in named
    latencies = {row["network"]: row["latency_ms"] for row in rows}
    assert list(edge.get_xticks()) == [latencies[name] for name in named]


def test_where_both_axes_are_predicted_or_counted_they_are_points(rows: Any) -> None:
    picture = axes()
    picture.set_xlim(10, 100)
    picture.set_ylim(1e6, 5e6)
    draw_baselines(picture, rows, "latency_ms@pi5_onnx", "params", [])
    (points,) = picture.collections
    expected = {
        (row["latency_ms@pi5_onnx"], row["params"])
        for row in rows
        if 10 <= row["latency_ms@pi5_onnx"] <= 100 and 1e6 <= row["params"] <= 5e6
    }
    assert {tuple(point) for point in points.get_offsets().tolist()} == expected
    assert not picture.child_axes


def test_measured_points_are_drawn_where_their_axis_is(tmp_path: Path) -> None:
    result = search(tmp_path, FakeDevice(), verify=5, trials=40)
    picture = axes()
    draw_measured(picture, result, "latency_ms", "score")
    positions = [bar.lines[0].get_xdata()[0] for bar in picture.containers]
    assert positions == [v.measured_ms for v in result.verified]
    other = axes()
    draw_measured(other, result, "macs", "score")
    assert not other.containers
    plot_front(result, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert len(supplementary_tables(result)) == 1


def test_a_command_line_with_two_devices_and_baselines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command = ["search", "--space", "mobilenetv2", "--hw", "pixel3_cpu,pi5_onnx", "--trials", "30", "--train", "0"]
    command += ["--limit", "latency@pixel3_cpu<=90ms", "--limit", "latency@pi5_onnx<=30ms", "--baselines"]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--directory", str(tmp_path)])
    assert not stopped.value.code
    text = capsys.readouterr().out
    assert "latency pixel3_cpu (ms)" in text
    assert "Published networks on pixel3_cpu+pi5_onnx" in text
    (folder,) = tmp_path.glob("mobilenetv2-*")
    document = json.loads((folder / "result.json").read_text())
    assert document["limits"] == ["latency_ms@pixel3_cpu <= 90", "latency_ms@pi5_onnx <= 30"]
    assert {"mobilenetv2", "resnet50"} <= {row["network"] for row in document["baselines"]}
    assert (folder / "front.png").is_file()


def test_a_search_of_one_s_own_task_has_no_baselines() -> None:
    def two_outputs(choose: nas.Choose) -> nas.Graph:
        b = nas.Builder()
        x = b.conv(b.input((3, 8, 8)), choose.one_of("width", (8, 16)), 3)
        return b.build({"left": b.conv(x, 1, 1), "right": b.conv(x, 2, 1)})

    assert baseline_rows(load_space(two_outputs), load_hardware_models("pixel3_cpu")) == ()
