"""Arm Ethos-U through Arm's own compiler, Vela: its estimate for the network that it compiles.

An estimate of the vendor's compiler, without the device: cycles by Arm's model of the chip and its memories, the same
on every run. Operators that the compiler leaves to the processor beside the NPU are not in the estimate; they are in
``fallback_ops``.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluators.devices.address import Address
from evaluators.devices.device import CannotRun, LatencyMeasurement, MeasurementFailed
from evaluators.devices.model_check import keep_model, write_model
from evaluators.devices.remote.agent import NetworkRefused, import_runtime
from evaluators.devices.remote.channel import Channel, encode, local_channel
from search_spaces.graph.graph import Graph

# The systems and memories of Vela's Arm/vela.ini; the first of each is the default
_SYSTEMS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Ethos_U55_Deep_Embedded"),
    "ethos-u65": ("Ethos_U65_High_End", "Ethos_U65_Embedded", "Ethos_U65_Mid_End", "Ethos_U65_Client_Server"),
}
_MEMORIES = {
    "ethos-u55": ("Shared_Sram", "Sram_Only"),
    "ethos-u65": ("Dedicated_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram_384KB", "Dedicated_Sram_512KB"),
}
_FIGURES = {  # our name: Vela's column
    "cycles": "cycles_total",
    "npu_cycles": "cycles_npu",
    "sram_kib": "sram_memory_used",
    "dram_kib": "dram_memory_used",
}
_COUNT = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_REFUSED = re.compile(r"^Warning \(supported operators\) operator: (\S+?),.*\nReason: (.+)", re.MULTILINE)


# -- in the agent ------------------------------------------------------------------------------------------------------


def _vela_output(argv: list[str]) -> str:
    """The output of Vela and its native code, run in this process. Raises ``NetworkRefused`` where it fails."""
    vela = import_runtime("ethosu.vela.vela", "ethos-u-vela")
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        original_stdout = os.dup(1)
        os.dup2(log.fileno(), 1)
        try:
            status = vela.main(argv)
        except RuntimeError as error:  # its compilation core's
            raise NetworkRefused(f"vela: {error}") from None
        finally:
            sys.stdout.flush()
            os.dup2(original_stdout, 1)
            os.close(original_stdout)
        log.seek(0)
        text = log.read().decode(errors="replace")
    if status:
        raise NetworkRefused(f"vela ended with status {status}: {text.strip()[-300:]}")
    return text


def cpu_operators(compiled: bytes) -> list[str]:
    """The operators of a compiled file that are not the NPU's, by their names in TFLite's schema."""
    import ai_edge_litert.schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(compiled, 0))
    on_cpu = []
    for operator in model.subgraphs[0].operators or []:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.customCode != b"ethos-u":
            on_cpu.append(names.get(code.builtinCode, str(code.builtinCode)))
    return on_cpu


def run_benchmark(payload: dict[str, Any]) -> dict[str, Any]:
    """Compile a TFLite file in this process: Vela's summary, its log, the compiled file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        source.write_bytes(base64.b64decode(payload["model"]))
        options = ["--accelerator-config", payload["accelerator"], "--config", "Arm/vela.ini"]
        options += ["--system-config", payload["system"], "--memory-mode", payload["memory"]]
        log = _vela_output([str(source), "--output-dir", folder, *options])
        (summary,) = Path(folder).glob("*_summary_*.csv")
        compiled = (Path(folder) / "model_vela.tflite").read_bytes()
        return {
            "summary": summary.read_text(),
            "log": log,
            "compiled": base64.b64encode(compiled).decode("ascii"),
            "cpu_operators": cpu_operators(compiled),
        }


# -- the device --------------------------------------------------------------------------------------------------------


def parse_summary(text: str) -> dict[str, float]:
    """Figures of Vela's ``*_summary_*.csv``: ``latency_ms``, cycles, KiB of SRAM, DRAM and flash, clock in MHz.

    Raises ``MeasurementFailed`` where a column is missing or is no number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) != 1:
        raise MeasurementFailed(f"vela's summary must have one row, it has {len(rows)}")
    row = rows[0]
    try:
        figures = {name: float(row[column]) for name, column in _FIGURES.items()}
        figures["flash_kib"] = float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])
        figures["clock_mhz"] = float(row["core_clock"]) / 1e6
        figures["latency_ms"] = float(row["inference_time"]) * 1e3
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementFailed(f"vela's summary lacks a figure: {error}; its release may be another") from None
    return figures


def parse_log(text: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many operators run on ``NPU`` and ``CPU``, and why those on the CPU do. ``MeasurementFailed``."""
    counts = {kind: int(count) for kind, count in _COUNT.findall(text)}
    if set(counts) != {"CPU", "NPU"}:
        raise MeasurementFailed("vela's log does not say how many operators run on the NPU; its release may be another")
    return counts, tuple([f"{op} left to the CPU: {reason}" for op, reason in _REFUSED.findall(text)])


class VelaDevice:
    """An Ethos-U that Vela compiles for; ``measure`` returns Arm's estimate. int8, batch 1."""

    precision = "int8"
    batch = 1

    def __init__(self, name: str, system: str, memory: str, timeout_s: float, channel: Channel) -> None:
        self.name = name
        self._system = system
        self._memory = memory
        self._timeout_s = timeout_s
        self._channel = channel

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        """Vela's estimate for ``graph`` in int8 with random weights from ``seed``. Raises ``DeviceError``."""
        model = write_model(graph, "tflite", "int8", None, seed)
        payload = {
            "model": encode(model),
            "accelerator": self.name,
            "system": self._system,
            "memory": self._memory,
        }
        answer = self._channel.request(f"{__name__}:run_benchmark", payload, self._timeout_s)
        model_file_path = keep_model(graph, base64.b64decode(answer["compiled"]), keep, self.name, "tflite")
        return self._estimate(answer, model_file_path)

    def _estimate(self, answer: Mapping[str, Any], model_file_path: Path | None) -> LatencyMeasurement:
        figures = parse_summary(answer["summary"])
        counts, warnings = parse_log(answer["log"])
        if counts["NPU"] == 0:
            raise CannotRun(f"{self.name}: nothing of this network runs on the NPU; {'; '.join(warnings)}")
        on_cpu = tuple(answer["cpu_operators"])
        if on_cpu:
            warnings += (f"the estimate leaves out {len(on_cpu)} operators that the processor beside the NPU runs",)
        latency_ms = figures.pop("latency_ms")
        extra = {
            **figures,
            "operators_on_npu": float(counts["NPU"]),
            "operators_off_npu": float(len(on_cpu)),
            "model_kib": len(base64.b64decode(answer["compiled"])) / 1024,
        }
        return LatencyMeasurement(
            latency_ms=latency_ms,
            std_ms=0.0,
            low_ms=latency_ms,
            high_ms=latency_ms,
            repeats=1,
            source=f"compiled:{self.name}",
            extra=extra,
            fallback_ops=on_cpu,
            warnings=warnings,
            model_file=model_file_path,
        )

    def close(self) -> None:
        """End the compiling process."""
        self._channel.close()


def device(address: Address) -> VelaDevice:
    """``ethos-u55-128?system=Ethos_U55_Deep_Embedded&memory=Sram_Only``: options as in Vela's ``Arm/vela.ini``."""
    address.reject_authority()
    family = address.device.rpartition("-")[0]
    return VelaDevice(
        address.device,
        address.choice("system", _SYSTEMS[family]),
        address.choice("memory", _MEMORIES[family]),
        address.timeout_s(),
        local_channel(),
    )
