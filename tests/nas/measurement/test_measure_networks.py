"""Measuring for a calibration: a stand-in device, what fails, and the command line on a real runtime."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from evaluators.devices.device import CannotRun, DeviceError, LatencyMeasurement
from hardware_models.catalog import load_hardware
from hardware_models.device_file.number_format import number_format_of
from nas.cli.main import main
from nas.measurement.networks import measure_network, measure_samples
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph


class StandIn:
    """Takes as long as a network has multiply-adds; cannot run every third."""

    name, precision, batch = "stand-in", "float32", 1

    def __init__(self, refuses: int = 3) -> None:
        self.measurements = 0
        self.closed = False
        self._refuses = refuses

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        self.measurements += 1
        if self.measurements % self._refuses == 0:
            raise CannotRun("no room")
        ms = graph.macs / 1e6
        return LatencyMeasurement(ms, 0.1, ms, ms, 5, "measured:stand-in")

    def close(self) -> None:
        self.closed = True


def test_what_was_measured_is_written_and_what_failed_is_reported(tmp_path: Path) -> None:
    device, lines = StandIn(), []
    assert measure_samples("mobilenetv2", device, 6, tmp_path / "m.csv", report=lines.append) == 4
    assert device.measurements == 6
    assert device.closed
    assert sum("could not be measured: no room" in text for text in lines) == 2
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert {row["source"] for row in rows} == {"measured:stand-in"}
    assert len({row["architecture"] for row in rows}) == 4


def test_a_device_that_runs_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="none of 4 networks could be measured on stand-in"):
        measure_samples("mobilenetv2", StandIn(refuses=1), 4, tmp_path / "m.csv")


def test_one_network_is_measured_and_the_device_closed() -> None:
    device = StandIn()
    graph = load_network("mobilenetv2", image_size=64)
    assert measure_network(graph, device).latency_ms == pytest.approx(graph.macs / 1e6)
    assert device.closed


def test_a_calibration_may_measure_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text("space: mobilenetv2\noptions: {image_size: 32, width: 0.35}\n")
    command = ["hw", "calibrate", "--device", "onnxruntime?precision=int8", "--space", "small.yaml", "--samples", "5"]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--out", "here.toml"])
    assert stopped.value.code == 0
    assert "5 of 5" in capsys.readouterr().err
    assert any(f'kind = "{kind}"' in Path("here.toml").read_text() for kind in ("transferred", "few_rows"))
    assert number_format_of(load_hardware("./here.toml")) == "int8"  # the device's own word
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--out", "here.toml", "--force"])
    assert stopped.value.code == 2
    assert "'here.csv' is there already" in capsys.readouterr().err


def test_the_command_measures_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(SystemExit) as stopped:
        main(["hw", "measure", "mobilenetv3_small", "--device", "onnxruntime?threads=1"])
    assert stopped.value.code == 0
    assert "measured:onnxruntime-float32-1t@" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "--device", "onnxruntime"], "--device needs --space"),
        (["measure", "mobilenetv2", "--device", "onnxruntim"], "onnxruntime"),
        (["measure", "mobilenetv2", "--device", "litert?threads=none"], "threads"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["hw", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
