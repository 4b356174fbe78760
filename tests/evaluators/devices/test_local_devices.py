"""Devices of this machine: they measure, hanging processes are ended, and failures say why."""

from __future__ import annotations

import ast
import csv
import io
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from evaluators.devices import model_check
from evaluators.devices.address import Address
from evaluators.devices.catalog import DEVICES, open_device
from evaluators.devices.device import (
    AddressError,
    CannotRun,
    Device,
    DeviceQuarantined,
    DeviceUnavailable,
    LatencyMeasurement,
    MeasurementFailed,
    MeasurementTimeout,
    OutputMismatch,
)
from evaluators.devices.model_check import check_outputs
from evaluators.devices.remote import ssh
from evaluators.devices.remote.channel import AgentChannel, local_channel
from evaluators.devices.retrying import RetryingDevice
from evaluators.devices.runtimes import torch_cuda, vela
from evaluators.devices.timing import TimingPlan, collect_samples, median_error, summarise_timing
from evaluators.evaluator import EvaluationFailure
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.registry import UnknownName, import_object
from tests.support.device_networks import image_4_strides, mobile, two_headed

for package in ("ai_edge_litert", "ethosu.vela", "onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package)

QUICK = "max_s=0.3&warmup_s=0.02"
WORK = "tests.support.device_work"


# -- timing ------------------------------------------------------------------------------------------------------------


def test_a_summary_by_hand() -> None:
    summary = summarise_timing([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (summary.latency_ms, summary.repeats, summary.iqr_ms) == (3.0, 5, 2.0)
    assert summary.std_ms == pytest.approx(math.sqrt(2))
    assert (summary.low_ms, summary.high_ms) == (pytest.approx(1.2), pytest.approx(4.8))
    assert summary.warnings == ()


def test_outliers_are_counted_and_left_out_of_the_deviation_alone() -> None:
    samples = [1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 50.0]
    summary = summarise_timing(samples)
    assert summary.outliers == 1
    assert summary.std_ms < 0.1
    assert summary.high_ms > 10
    assert any("outliers" in warning for warning in summary.warnings)


def test_drift_is_warned_of_above_five_percent() -> None:
    assert any("drift" in warning for warning in summarise_timing([1.0] * 5 + [1.03] * 5 + [1.06] * 5).warnings)
    assert summarise_timing([1.0] * 5 + [1.02] * 5 + [1.04] * 5).warnings == ()


def test_repeats_end_when_the_median_is_known() -> None:
    plan = TimingPlan(warmup_runs=4, warmup_s=0, precision=0.01, min_repeats=10, max_repeats=1000, max_s=60)
    calls: list[int] = []

    def steady() -> float:
        calls.append(1)
        return 2.0

    assert collect_samples(steady, plan) == [2.0] * 10
    assert len(calls) == 14  # the warm-up is not among the repeats


def test_repeats_go_on_while_the_median_is_not_known() -> None:
    plan = TimingPlan(warmup_runs=0, warmup_s=0, precision=0.01, min_repeats=10, max_repeats=200, max_s=60)
    draws = iter(np.random.default_rng(0).uniform(1, 3, 10_000))
    samples = collect_samples(lambda: float(next(draws)), plan)
    assert len(samples) == 200
    assert median_error(samples) > 0.01
    assert any("known to" in warning for warning in summarise_timing(samples, 0.01).warnings)


def test_the_interval_of_the_median_holds_it_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        ordered = sorted(rng.uniform(0, 1, 61).tolist())
        half = 1.96 * math.sqrt(61) / 2
        held += ordered[math.floor(30.5 - half)] <= 0.5 <= ordered[math.ceil(30.5 + half)]
    assert 930 <= held <= 990


# -- addresses and names -----------------------------------------------------------------------------------------------


def test_an_unknown_device_is_answered_with_a_name_that_is_there() -> None:
    with pytest.raises(UnknownName, match="onnxruntime"):
        open_device("onnxruntim")


@pytest.mark.parametrize("name", DEVICES)
def test_every_example_of_the_table_opens_without_its_device(name: str) -> None:
    device = open_device(DEVICES[name].example)
    assert device.batch >= 1
    assert device.precision in ("float32", "float16", "int8")
    device.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("onnxruntime?thread=2", "did you mean threads"),
        ("onnxruntime?threads=0", "from 1 to 1024"),
        ("onnxruntime?threads=two", "a number"),
        ("onnxruntime?threads=1.5", "whole"),
        ("onnxruntime?precision=int4", "float32 or int8"),
        ("onnxruntime?threads=1&threads=2", "twice"),
        ("onnxruntime?threads", "name=value"),
        ("onnxruntime?cpus=0;1", "numbers joined by commas"),
        ("onnxruntime://elsewhere", "options alone"),
        ("ethos-u55-128?memory=Dedicated_Sram", "Shared_Sram or Sram_Only"),
        ("ssh://host/tensorrt", "no runtime 'tensorrt'"),
        ("ssh://host:99999/litert", "port from 1 to 65535"),
        ("ssh://-oProxyCommand=x/litert", "ssh://user@host:port"),
        ("ssh://host/litert?python=python3;rm", "path of a program"),
        ("adb://", "adb://SERIAL"),
        ("adb://a b", "adb://SERIAL"),
        ("adb://X?tool=benchmark_model", "a path on the phone"),
    ],
)
def test_the_error_of_a_bad_address_says_which_part(address: str, message: str) -> None:
    with pytest.raises((AddressError, UnknownName), match=message):
        open_device(address)


def test_parts_of_an_address() -> None:
    assert Address("ssh://me@10.0.0.5:2222/litert").user_host_port(22) == ("me", "10.0.0.5", 2222)
    assert Address("ssh://box/litert").user_host_port(22) == ("", "box", 22)
    assert Address("ssh://[::1]:2222/litert").user_host_port(22) == ("", "::1", 2222)


# -- the agent ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def channel() -> Iterator[AgentChannel]:
    opened_channel = local_channel()
    yield opened_channel
    opened_channel.close()


def _has_ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_what_a_runtime_prints_does_not_disturb_the_answers(channel: AgentChannel) -> None:
    first = channel.request(f"{WORK}:chatter", {"a": 1}, 60)
    second = channel.request(f"{WORK}:chatter", {"a": 2}, 60)
    assert (first["payload"], second["payload"]) == ({"a": 1}, {"a": 2})
    assert first["pid"] == second["pid"] != os.getpid()


def test_a_child_that_hangs_is_killed_and_the_next_request_works(channel: AgentChannel, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(MeasurementTimeout, match="no answer within 2 s"):
        channel.request(f"{WORK}:hang", {"note": str(note), "ballast": "x" * 1_000_000}, 2)
    assert _has_ended(int(note.read_text()))
    assert channel.request(f"{WORK}:chatter", {"a": 3}, 60)["payload"] == {"a": 3}


def test_a_child_that_dies_or_fails_says_so(channel: AgentChannel) -> None:
    with pytest.raises(MeasurementFailed, match="exit status 9"):
        channel.request(f"{WORK}:die", {}, 60)
    with pytest.raises(MeasurementFailed, match="RuntimeError: no such operator"):
        channel.request(f"{WORK}:fail", {}, 60)


REMOTE_FILES = {*ssh._AGENT_FILES, "devices/remote/ssh_supervisor.py"} | {
    f"{path.partition(':')[0].partition('.')[2].replace('.', '/')}.py" for path in ssh.RUNTIMES.values()
}


@pytest.mark.parametrize("name", sorted(REMOTE_FILES))
def test_what_is_sent_to_other_machines_is_python_3_9(name: str) -> None:
    """Its syntax, and that loading it imports nothing of this project but the files that are always sent."""
    tree = ast.parse((files("evaluators") / name).read_text(), feature_version=(3, 9))
    sent = {f"evaluators.{path.removesuffix('.py').replace('/', '.')}" for path in ssh._AGENT_FILES}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("evaluators", "search_spaces")):
            assert node.module in sent


@pytest.mark.parametrize("runtime", sorted(ssh.RUNTIMES))
def test_the_files_that_are_sent_load_by_themselves(runtime: str, tmp_path: Path) -> None:
    """In a folder that holds them alone, in a Python without this project's packages."""
    remote_runtime = import_object(ssh.RUNTIMES[runtime])()
    for name, text in ssh._agent_sources(remote_runtime).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {remote_runtime.benchmark.partition(':')[0]}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


# -- outputs -----------------------------------------------------------------------------------------------------------


def test_outputs_must_be_those_of_pytorch() -> None:
    right = np.linspace(-1, 1, 40, dtype=np.float32).reshape(1, 40)
    for precision in ("float32", "int8", "float16"):
        check_outputs("here", precision, {"y": right}, {"y": right + 1e-4})
    check_outputs("here", "int8", {"y": right}, {"y": right + 0.2 * np.sin(9 * right)})
    with pytest.raises(OutputMismatch, match="PyTorch"):
        check_outputs("here", "float32", {"y": right}, {"y": right + 0.01})
    with pytest.raises(OutputMismatch, match="correlates"):
        check_outputs("here", "int8", {"y": right}, {"y": np.roll(right, 20)})
    with pytest.raises(OutputMismatch, match="missing"):
        check_outputs("here", "int8", {"y": right}, {"z": right})
    with pytest.raises(OutputMismatch, match="finite"):
        check_outputs("here", "float32", {"y": right}, {"y": right * np.nan})
    with pytest.raises(OutputMismatch, match=r"\(1, 40\)"):
        check_outputs("here", "float32", {"y": right}, {"y": right.T})


# -- devices -----------------------------------------------------------------------------------------------------------

LOCAL = ["torch-cpu", "onnxruntime", "onnxruntime?precision=int8", "openvino", "litert", "litert?precision=int8"]


@pytest.mark.parametrize("address", LOCAL)
def test_local_devices_measure_and_a_larger_network_is_slower(address: str, tmp_path: Path) -> None:
    device = open_device(f"{address}{'&' if '?' in address else '?'}{QUICK}&cpus={min(os.sched_getaffinity(0))}")
    try:
        small = device.measure(mobile(), keep=tmp_path)
        again = device.measure(mobile())
        large = device.measure(mobile(160, 24))
    finally:
        device.close()
    for measured in (small, again, large):
        assert 0 < measured.low_ms <= measured.latency_ms <= measured.high_ms
        assert measured.std_ms >= 0
        assert measured.repeats >= 3
        assert measured.source.startswith(f"measured:{device.name}@")
    assert large.latency_ms > small.latency_ms
    assert 1 / 8 < small.latency_ms / again.latency_ms < 8  # the machine has other work to do
    if address != "torch-cpu":
        assert small.model_file is not None
        assert small.model_file.stat().st_size == round(small.extra["model_kib"] * 1024)
    assert again.model_file is None


@pytest.mark.parametrize("address", ["onnxruntime", "litert", "litert?precision=int8", "openvino?precision=int8"])
def test_networks_with_several_outputs_are_checked_one_by_one(address: str) -> None:
    device = open_device(f"{address}{'&' if '?' in address else '?'}{QUICK}")
    try:
        assert device.measure(two_headed(), seed=3).latency_ms > 0
    finally:
        device.close()


def test_other_work_on_the_processor_is_noticed() -> None:
    cpu = min(os.sched_getaffinity(0))
    busy = f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-c", busy])
    device = open_device(f"litert?{QUICK}&cpus={cpu}")
    try:
        measured = device.measure(mobile(320, 32))
    finally:
        other.kill()
        other.wait()
        device.close()
    assert measured.extra["interruptions"] > 0.1 * measured.repeats
    assert any("other work" in warning for warning in measured.warnings)


def test_a_processor_that_is_not_there() -> None:
    device = open_device(f"onnxruntime?cpus=4000&{QUICK}")
    try:
        with pytest.raises(DeviceUnavailable, match="cannot run on processors"):
            device.measure(mobile())
    finally:
        device.close()


def test_a_network_that_no_file_can_hold() -> None:
    b = Builder()
    graph = b.build(b.conv(b.input((2, 4, 4, 4)), 2, 3))
    device = open_device("litert")
    with pytest.raises(CannotRun, match="node"):
        device.measure(graph)
    device.close()


@pytest.mark.parametrize("address", ["onnxruntime", "openvino", "litert?precision=int8", "ethos-u65-256"])
def test_a_file_that_the_runtime_refuses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (model_check, vela):
        monkeypatch.setattr(module, "write_model", lambda *arguments: b"no model file")
    device = open_device(address)
    try:
        with pytest.raises(CannotRun):
            device.measure(mobile())
    finally:
        device.close()


def test_vela_repeats_exactly_and_says_that_it_estimates(tmp_path: Path) -> None:
    device = open_device("ethos-u55-128")
    try:
        first = device.measure(mobile(), keep=tmp_path)
        large = device.measure(mobile(96, 24))
        again = device.measure(mobile())
    finally:
        device.close()
    assert first.source == "compiled:ethos-u55-128"
    assert first.extra == again.extra
    assert first.latency_ms == again.latency_ms < large.latency_ms
    # cycles at the clock of Vela's high-end U55
    assert first.extra["clock_mhz"] == 500
    assert first.latency_ms == pytest.approx(first.extra["cycles"] / 500e3, rel=1e-6)
    assert (first.repeats, first.std_ms, first.fallback_ops) == (1, 0.0, ())
    assert first.extra["operators_off_npu"] == 0
    assert large.extra["sram_kib"] > first.extra["sram_kib"] > 0
    assert large.extra["flash_kib"] > first.extra["flash_kib"] > 0
    assert first.model_file is not None
    assert first.model_file.read_bytes()[4:8] == b"TFL3"


def test_more_multipliers_never_take_longer_on_ethos() -> None:
    latencies = []
    for size in (32, 64, 128, 256):
        device = open_device(f"ethos-u55-{size}")
        latencies.append(device.measure(mobile(64, 32)).latency_ms)
        device.close()
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[0] > latencies[-1]


def test_vela_names_what_it_leaves_to_the_processor() -> None:
    device = open_device("ethos-u55-128")
    try:
        measured = device.measure(image_4_strides())
    finally:
        device.close()
    assert measured.fallback_ops == ("CONV_2D",)
    assert measured.extra["operators_off_npu"] == 1
    assert any("CONV_2D left to the CPU: Unsupported kernel stride" in warning for warning in measured.warnings)
    assert any("leaves out 1" in warning for warning in measured.warnings)


def test_a_gpu_that_is_not_here_is_said_to_be_missing() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    device = open_device("torch-cuda?batch=32&precision=float16")
    try:
        with pytest.raises(DeviceUnavailable, match="no NVIDIA GPU"):
            device.measure(mobile())
    finally:
        device.close()
    assert torch_cuda.main(["graphs.jsonl", "out.csv"]) == 1


def test_many_networks_into_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graphs, out = tmp_path / "graphs.jsonl", tmp_path / "out.csv"
    graphs.write_text("\n".join([mobile().to_json(), "{}", mobile(64, 16).to_json()]) + "\n")
    options = [str(graphs), str(out), "--device", "cpu", "--max-s", "0.05", "--batch", "1,4", "--channels-last"]
    assert torch_cuda.main(options) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [(row["index"], row["batch"]) for row in rows] == [(i, b) for i in "012" for b in "14"]
    assert all(float(row["median_ms"]) > 0 for row in rows if row["index"] != "1")
    assert all(row["error"].startswith("no graph") for row in rows if row["index"] == "1")
    assert torch_cuda.main(options) == 0  # only what failed is tried again
    assert [row["index"] for row in csv.DictReader(io.StringIO(out.read_text()))][6:] == ["1", "1"]
    with pytest.raises(SystemExit):
        torch_cuda.main([str(graphs), str(out), "--precision", "float8"])
    assert "no precision 'float8'" in capsys.readouterr().err


# -- a device that fails -----------------------------------------------------------------------------------------------


class Scripted:
    """A device that follows a script, a word for each measurement."""

    name = "scripted"
    precision = "float32"
    batch = 1

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.closed = 0

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        word = self.script.pop(0)
        if word == "fails":
            raise MeasurementFailed("lost the connection")
        if word == "differs":
            raise OutputMismatch("another output")
        return LatencyMeasurement(1.0, 0.0, 1.0, 1.0, 3, "measured:scripted@here")

    def close(self) -> None:
        self.closed += 1


def test_a_failure_is_tried_again_on_a_device_opened_anew() -> None:
    device, reports = Scripted("fails", "works"), list[str]()
    flaky = RetryingDevice(device, retries=2, pause_s=0, report=reports.append)
    assert flaky.measure(mobile()).latency_ms == 1.0
    assert (device.closed, len(reports), flaky.quarantined) == (1, 1, False)
    assert "try 1 of 3" in reports[0]


def test_a_device_that_keeps_failing_is_asked_no_more() -> None:
    device, reports = Scripted(*["fails"] * 4, "works"), list[str]()
    flaky: Device = RetryingDevice(device, retries=1, quarantine_after=2, pause_s=0, report=reports.append)
    for _ in range(2):
        with pytest.raises(MeasurementFailed):
            flaky.measure(mobile())
    with pytest.raises(DeviceQuarantined, match="lost the connection") as caught:
        flaky.measure(mobile())
    assert isinstance(caught.value, EvaluationFailure)  # what a search records and survives
    assert caught.value.code == "device_quarantined"
    assert device.script == ["works"]
    assert "not used again" in reports[-1]
    assert isinstance(flaky, RetryingDevice)
    flaky.release()
    assert flaky.measure(mobile()).repeats == 3


def test_a_network_at_fault_is_not_counted_against_the_device() -> None:
    flaky = RetryingDevice(Scripted("differs", "differs", "works"), quarantine_after=1, pause_s=0)
    for _ in range(2):
        with pytest.raises(OutputMismatch):
            flaky.measure(mobile())
    assert flaky.measure(mobile()).repeats == 3
    with pytest.raises(ValueError, match="quarantine_after"):
        RetryingDevice(Scripted(), quarantine_after=0)
