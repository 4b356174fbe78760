"""An Android phone on adb: LiteRT's benchmark_model runs the network there.

The phone needs the program (``tool``); it reports statistics and no outputs, so the file is checked in LiteRT on this
machine before it is sent.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from evaluators.devices.address import Address
from evaluators.devices.device import (
    AddressError,
    CannotRun,
    DeviceUnavailable,
    LatencyMeasurement,
    MeasurementFailed,
    MeasurementTimeout,
)
from evaluators.devices.model_check import keep_model, prepare_model
from evaluators.devices.remote.channel import Channel, local_channel
from evaluators.devices.runtime_device import RuntimeDevice, RuntimeSettings, read_runtime_settings
from evaluators.devices.runtimes.litert import runtime as litert_runtime
from search_spaces.graph.graph import Graph

TOOL = "/data/local/tmp/benchmark_model"
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_PATH = re.compile(r"/[A-Za-z0-9_./-]+")
_DELEGATES = {
    "xnnpack": ("--use_xnnpack=true",),
    "none": ("--use_xnnpack=false",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
}
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_STATISTICS = re.compile(r"count=(\d+)\b(.*)")
_MEMORY = re.compile(rf"Memory footprint delta from the start of the tool \(MB\): init={_NUMBER} overall={_NUMBER}")
_INIT = re.compile(rf"Inference timings in us: Init: {_NUMBER}")
_PARTIAL = re.compile(r"the model graph will be partially executed by the delegate.*")


def parse_benchmark(text: str, source: str) -> LatencyMeasurement:
    """The measurement in benchmark_model's output, which is in microseconds.

    The last line of statistics is that of the timed runs, the one before it the warm-up's. Older releases give no
    median: then it is the mean, with a warning. Raises ``MeasurementFailed`` where there are no statistics.
    """
    lines = _STATISTICS.findall(text)
    if len(lines) < 2:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")
        raise MeasurementFailed(f"{source}: benchmark_model gave no statistics; its last line: {last.strip()[:200]}")
    count, statistics = lines[-1]
    figures = {name: float(value) / 1e3 for name, value in re.findall(rf"(\w+)={_NUMBER}", statistics)}
    warnings = []
    if "median" not in figures:
        warnings.append(
            "this release of benchmark_model gives no median: latency_ms is the mean, the limits the extremes"
        )
    mean = figures.get("avg", figures.get("curr", 0.0))  # a single run reports its own time alone
    latency_ms = figures.get("median", mean)
    if latency_ms <= 0:
        raise MeasurementFailed(f"{source}: benchmark_model gave no time")
    partial = _PARTIAL.search(text)
    if partial is not None:
        warnings.append(partial[0])
    extra = {"mean_ms": mean}
    init, memory = _INIT.search(text), _MEMORY.search(text)
    if init is not None:
        extra["init_ms"] = float(init[1]) / 1e3
    if memory is not None:
        extra["peak_memory_kib"] = float(memory[2]) * 1024
    return LatencyMeasurement(
        latency_ms=latency_ms,
        std_ms=figures.get("std", 0.0),
        low_ms=figures.get("p5", figures.get("min", latency_ms)),
        high_ms=figures.get("p95", figures.get("max", latency_ms)),
        repeats=int(count),
        source=f"measured:{source}",
        extra=extra,
        warnings=tuple(warnings),
    )


class AdbConnection:
    """Runs adb for one phone. Raises ``DeviceUnavailable``, ``MeasurementTimeout``, ``MeasurementFailed``."""

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def run(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """The output of adb."""
        program = shutil.which("adb")
        if program is None:
            raise DeviceUnavailable("needs the program adb; apt-get install adb")
        command = [program, "-s", self.serial, *arguments]
        try:
            completed = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise MeasurementTimeout(f"{self.serial}: adb {arguments[0]}: no end within {timeout_s:.0f} s") from None
        output = completed.stdout + completed.stderr
        if completed.returncode:
            reason = output.strip().splitlines()[-1] if output.strip() else f"status {completed.returncode}"
            if re.search(r"device .*(not found|offline|unauthorized)|no devices|unauthorized", output):
                raise DeviceUnavailable(f"{self.serial}: {reason}; plug it in and allow USB debugging, see adb devices")
            raise MeasurementFailed(f"{self.serial}: adb {arguments[0]}: {reason}")
        return output

    def shell(self, *words: str, timeout_s: float = 60.0) -> str:
        """A command on the phone, every word quoted for its shell."""
        return self.run("shell", shlex.join(words), timeout_s=timeout_s)


class AndroidDevice:
    """A phone. Batch 1."""

    batch = 1

    def __init__(self, adb: AdbConnection, settings: RuntimeSettings, delegate: str, tool: str, check: Channel) -> None:
        self.precision = settings.precision
        self.name = f"adb-{delegate}-{settings.precision}-{settings.threads}t"
        self._adb = adb
        self._settings = settings
        self._delegate = delegate
        self._tool = tool
        self._check = check
        # on this machine, which has other processors
        self._checker = RuntimeDevice(litert_runtime(), replace(settings, threads=1, cpus=()), check)

    def command(self, remote: str) -> list[str]:
        """benchmark_model on the phone's file ``remote``."""
        plan = self._settings.plan
        options = [
            f"--graph={remote}",
            f"--num_threads={self._settings.threads}",
            f"--warmup_runs={max(1, plan.warmup_runs)}",
            f"--warmup_min_secs={plan.warmup_s:g}",
            f"--num_runs={plan.min_repeats}",
            f"--min_secs={plan.max_s:g}",
            f"--max_secs={self._settings.timeout_s:g}",
            *_DELEGATES[self._delegate],
        ]
        if not self._settings.cpus:
            return [self._tool, *options]
        return ["taskset", f"{sum(1 << cpu for cpu in self._settings.cpus):x}", self._tool, *options]

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        """Time ``graph`` with weights from ``seed`` on the phone. Raises ``DeviceError``."""
        self._adb.run("get-state")
        prepared = prepare_model(graph, "tflite", self.precision, seed)
        self._checker.check(prepared)
        remote = f"/data/local/tmp/nas-{graph.digest}.tflite"
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "model.tflite"
            local.write_bytes(prepared.model)
            self._adb.run("push", str(local), remote)
        try:
            output = self._adb.shell(*self.command(remote), timeout_s=self._settings.timeout_s)
        except MeasurementFailed as error:
            if "not found" in str(error) or "No such file" in str(error):
                raise DeviceUnavailable(f"{error}; push LiteRT's benchmark_model to {self._tool}, chmod +x") from None
            raise
        finally:
            self._adb.shell("rm", "-f", remote)
        if "Failed to apply" in output:
            raise CannotRun(f"{self.name}: the {self._delegate} delegate refuses this network")
        model_file_path = keep_model(graph, prepared.model, keep, self.name, "tflite")
        measured = parse_benchmark(output, f"{self.name}@{self._adb.serial}")
        return replace(measured, model_file=model_file_path)

    def close(self) -> None:
        """End the checking process."""
        self._check.close()


def device(address: Address) -> AndroidDevice:
    """``adb://SERIAL?threads=4&precision=int8&delegate=xnnpack&tool=/data/local/tmp/benchmark_model``."""
    if not _SERIAL.fullmatch(address.authority) or address.path:
        raise AddressError(f"{address.text!r}: expected adb://SERIAL, the serial as adb devices lists it")
    settings = read_runtime_settings(address, ("float32", "int8"))
    delegate = address.choice("delegate", tuple(_DELEGATES))
    tool = address.text_option("tool", TOOL)
    if not _PATH.fullmatch(tool):
        raise AddressError(f"{address.text!r}: tool must be a path on the phone, not {tool!r}")
    return AndroidDevice(AdbConnection(address.authority), settings, delegate, tool, local_channel())
