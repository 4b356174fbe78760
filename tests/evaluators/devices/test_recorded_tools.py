"""Phones and Coral sticks: parsers on recorded formats, and the whole path with stand-ins for adb and the compiler."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.devices.catalog import open_device
from evaluators.devices.device import CannotRun, DeviceUnavailable, MeasurementFailed, MeasurementTimeout
from evaluators.devices.runtimes.android import parse_benchmark
from evaluators.devices.runtimes.coral import compile_model, parse_log
from evaluators.devices.runtimes.vela import parse_log as parse_vela_log
from evaluators.devices.runtimes.vela import parse_summary
from tests.support.device_networks import mobile

pytest.importorskip("ai_edge_litert")  # it writes the files

RECORDED = Path(__file__).parents[2] / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


# -- parsers -----------------------------------------------------------------------------------------------------------


def test_benchmark_model_with_quantiles() -> None:
    measured = parse_benchmark(recorded("benchmark_model.txt"), "phone")
    assert (measured.latency_ms, measured.std_ms, measured.low_ms, measured.high_ms) == (5.125, 0.14, 5.02, 5.45)
    assert measured.repeats == 580
    assert measured.extra == {"mean_ms": 5.1805, "init_ms": 7.25, "peak_memory_kib": 10.25 * 1024}
    assert (measured.source, measured.warnings) == ("measured:phone", ())


def test_benchmark_model_without_quantiles_says_that_it_gives_the_mean() -> None:
    measured = parse_benchmark(recorded("benchmark_model_old.txt"), "phone")
    assert (measured.latency_ms, measured.low_ms, measured.high_ms, measured.repeats) == (2650.0, 2550.0, 2900.0, 10)
    assert any("mean" in warning for warning in measured.warnings)
    assert any("partially executed" in warning for warning in measured.warnings)


@pytest.mark.parametrize("text", ["", "ERROR: Failed to load model\n", "INFO: count=1 curr=100\n"])
def test_benchmark_model_that_failed(text: str) -> None:
    with pytest.raises(MeasurementFailed, match="no statistics"):
        parse_benchmark(text, "phone")


def test_edgetpu_compiler_all_mapped() -> None:
    figures, ops, warnings = parse_log(recorded("edgetpu_compiler.txt"))
    assert figures == {
        "on_chip_kib": 3.25 * 1024,
        "off_chip_kib": 0.0,
        "subgraphs": 1.0,
        "operators_on_npu": 65.0,  # the total that the compiler prints
        "operators_off_npu": 0.0,
    }
    assert (ops, warnings) == ((), ())


def test_edgetpu_compiler_partly_mapped() -> None:
    figures, ops, warnings = parse_log(recorded("edgetpu_compiler_partial.txt"))
    assert (figures["operators_on_npu"], figures["operators_off_npu"], figures["off_chip_kib"]) == (5, 3, 256)
    assert ops == ("CONV_2D", "HARD_SWISH", "HARD_SWISH")
    assert warnings[0] == "1 CONV_2D left to the host: More than one subgraph is not supported"


def test_edgetpu_compiler_refused_or_of_another_format() -> None:
    with pytest.raises(CannotRun, match="Model not quantized"):
        parse_log(recorded("edgetpu_compiler_refused.txt"))
    whole = recorded("edgetpu_compiler.txt")
    with pytest.raises(MeasurementFailed, match="On-chip"):
        parse_log(whole.replace("On-chip memory used", "Memory used"))
    with pytest.raises(MeasurementFailed, match="table of operators"):
        parse_log(whole[: whole.index("Operator  ")])


def test_vela_of_another_format() -> None:
    with pytest.raises(MeasurementFailed, match="lacks a figure"):
        parse_summary("experiment,network\ndefault,model\n")
    with pytest.raises(MeasurementFailed, match="one row"):
        parse_summary("experiment,network\n")
    with pytest.raises(MeasurementFailed, match="how many operators"):
        parse_vela_log("Network summary for model\n")


# -- stand-ins for programs --------------------------------------------------------------------------------------------


def _program(folder: Path, name: str, body: str) -> Path:
    """A program of that name on the PATH that notes its arguments; returns the notes."""
    notes = folder / f"{name}.jsonl"
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\narguments = sys.argv[1:]\n"
        f"with open({str(notes)!r}, 'a') as notes:\n    notes.write(json.dumps(arguments) + '\\n')\n{body}"
    )
    path.chmod(0o755)
    return notes


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


_PHONE = """
if "shell" in arguments and "benchmark_model" in arguments[-1]:
    print(pathlib.Path({text!r}).read_text())
"""


def test_a_phone_is_sent_the_file_and_left_clean(programs: Path, tmp_path: Path) -> None:
    body = _PHONE.format(text=str(RECORDED / "benchmark_model.txt"))
    notes = _program(programs, "adb", body)
    device = open_device("adb://R58M12ABC?threads=4&precision=int8&cpus=4,5,6,7&max_s=2")
    try:
        measured = device.measure(mobile(), keep=tmp_path)
    finally:
        device.close()
    assert measured.latency_ms == 5.125
    assert measured.source == "measured:adb-xnnpack-int8-4t@R58M12ABC"
    assert measured.model_file is not None
    assert measured.model_file.read_bytes()[4:8] == b"TFL3"
    calls = [json.loads(line) for line in notes.read_text().splitlines()]
    assert all(call[:2] == ["-s", "R58M12ABC"] for call in calls)
    assert [call[2] for call in calls] == ["get-state", "push", "shell", "shell"]
    remote = calls[1][4]
    command = calls[2][3].split()
    assert command[:3] == ["taskset", "f0", "/data/local/tmp/benchmark_model"]
    assert {f"--graph={remote}", "--num_threads=4", "--use_xnnpack=true", "--min_secs=2"} <= set(command)
    assert calls[3][3] == f"rm -f {remote}"


def test_a_phone_that_is_not_there_or_lacks_the_tool(programs: Path) -> None:
    device = open_device("adb://R58M12ABC?precision=int8")
    _program(programs, "adb", "sys.exit(\"adb: device 'R58M12ABC' not found\")")
    with pytest.raises(DeviceUnavailable, match="plug it in"):
        device.measure(mobile())
    _program(programs, "adb", "if 'benchmark_model' in arguments[-1]: sys.exit('sh: benchmark_model: not found')")
    with pytest.raises(DeviceUnavailable, match="push LiteRT's benchmark_model"):
        device.measure(mobile())
    device.close()


def test_a_phone_that_hangs(programs: Path) -> None:
    _program(programs, "adb", "import time\nif 'benchmark_model' in arguments[-1]: time.sleep(60)")
    device = open_device("adb://R58M12ABC?precision=int8&timeout_s=10")
    device._settings = replace(device._settings, timeout_s=0.5)
    with pytest.raises(MeasurementTimeout, match="no end within"):
        device.measure(mobile())
    device.close()


def test_without_adb_or_the_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    phone, stick = open_device("adb://R58M12ABC"), open_device("coral")
    with pytest.raises(DeviceUnavailable, match="apt-get install adb"):
        phone.measure(mobile())
    with pytest.raises(DeviceUnavailable, match="edgetpu_compiler"):
        stick.measure(mobile())


_COMPILER = """
print(pathlib.Path({text!r}).read_text())
out = pathlib.Path(arguments[arguments.index("--out_dir") + 1])
(out / "model_edgetpu.tflite").write_bytes(pathlib.Path(arguments[-1]).read_bytes())
"""


def test_the_compiler_of_coral(programs: Path) -> None:
    notes = _program(
        programs, "edgetpu_compiler", _COMPILER.format(text=str(RECORDED / "edgetpu_compiler_partial.txt"))
    )
    compiled = compile_model(b"a model")
    assert compiled.model == b"a model"
    assert compiled.fallback_ops == ("CONV_2D", "HARD_SWISH", "HARD_SWISH")
    assert json.loads(notes.read_text())[:2] == ["--show_operations", "--out_dir"]


def test_a_stick_that_is_not_plugged_in(programs: Path) -> None:
    if Path("/usr/lib/x86_64-linux-gnu/libedgetpu.so.1").exists():
        pytest.skip("there may be an Edge TPU here")
    _program(programs, "edgetpu_compiler", _COMPILER.format(text=str(RECORDED / "edgetpu_compiler.txt")))
    device = open_device("coral")
    try:
        with pytest.raises(DeviceUnavailable, match="no Edge TPU"):
            device.measure(mobile())
    finally:
        device.close()
