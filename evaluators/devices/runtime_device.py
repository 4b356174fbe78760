"""A device that runs model files in a runtime: writes the file, sends it to an agent, checks outputs, summarises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluators.devices.address import Address
from evaluators.devices.device import LatencyMeasurement, MeasurementFailed
from evaluators.devices.model_check import PreparedModel, channels_first, check_outputs, keep_model, prepare_model
from evaluators.devices.remote.agent import pack_array, unpack_array
from evaluators.devices.remote.channel import Channel, encode, local_channel
from evaluators.devices.timing import TimingPlan, summarise_timing
from search_spaces.graph.graph import Graph

_INTERRUPTIONS_PER_REPEAT = 0.1  # above it there is a warning; fewer do not move the median


@dataclass(frozen=True)
class CompiledModel:
    """A model file after a vendor's compiler, with the compiler's figures and warnings."""

    model: bytes
    extra: Mapping[str, float] = field(default_factory=dict)
    fallback_ops: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _unchanged(model: bytes) -> CompiledModel:
    return CompiledModel(model)


@dataclass(frozen=True)
class Runtime:
    """One runtime: the function that an agent runs, the file format that it takes, and the compiler for its files.

    The module of ``benchmark`` is sent to remote machines: Python 3.9, its standard library, numpy and the runtime
    alone. The first precision is the default.
    """

    name: str
    benchmark: str
    file_format: str
    precisions: tuple[str, ...]
    compile: Callable[[bytes], CompiledModel] = _unchanged


@dataclass(frozen=True)
class RuntimeSettings:
    """How to run: precision, threads of the runtime, processors to pin to (all if empty), limits."""

    precision: str
    threads: int
    cpus: tuple[int, ...]
    plan: TimingPlan
    timeout_s: float


def read_runtime_settings(address: Address, precisions: tuple[str, ...]) -> RuntimeSettings:
    """The options that all runtimes share. Raises ``AddressError``."""
    return RuntimeSettings(
        precision=address.choice("precision", precisions),
        threads=address.integer("threads", 1, 1, 1024),
        cpus=tuple(address.cpus()),
        plan=address.plan(),
        timeout_s=address.timeout_s(),
    )


class RuntimeDevice:
    """A runtime at the other end of a channel. Batch 1: the files hold one sample."""

    batch = 1

    def __init__(self, runtime: Runtime, settings: RuntimeSettings, channel: Channel) -> None:
        self._runtime = runtime
        self._settings = settings
        self._channel = channel
        self.precision = settings.precision
        self.name = f"{runtime.name}-{settings.precision}-{settings.threads}t"

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        """Time ``graph`` with weights from ``seed``. Raises ``DeviceError``."""
        prepared = prepare_model(graph, self._runtime.file_format, self.precision, seed)
        compiled = self._runtime.compile(prepared.model)
        answer = self._channel.request(
            self._runtime.benchmark, self._payload(compiled.model, prepared), self._settings.timeout_s
        )
        self._check(prepared, answer)
        model_file_path = keep_model(graph, compiled.model, keep, self.name, self._runtime.file_format)
        return latency_measurement(
            answer, self._settings.plan, f"{self.name}@{self._channel.where}", compiled, model_file_path
        )

    def check(self, prepared: PreparedModel) -> None:
        """Run without timing, for a file that is timed elsewhere. Raises ``OutputMismatch``, ``DeviceError``."""
        payload = self._payload(prepared.model, prepared)
        payload["plan"] = asdict(TimingPlan(0, 0.0, 1.0, 1, 1, 0.0))
        self._check(prepared, self._channel.request(self._runtime.benchmark, payload, self._settings.timeout_s))

    def _payload(self, model: bytes, prepared: PreparedModel) -> dict[str, Any]:
        return {
            "model": encode(model),
            "inputs": [pack_array(x) for x in prepared.inputs],
            "threads": self._settings.threads,
            "cpus": list(self._settings.cpus),
            "plan": asdict(self._settings.plan),
        }

    def _check(self, prepared: PreparedModel, answer: Mapping[str, Any]) -> None:
        try:
            outputs = {str(name): unpack_array(packed) for name, packed in answer["outputs"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise MeasurementFailed(f"{self.name}: the agent's answer holds no outputs") from None
        if self._runtime.file_format == "tflite":
            outputs = {name: channels_first(value) for name, value in outputs.items()}
        check_outputs(self.name, self.precision, prepared.expected, outputs)

    def close(self) -> None:
        """End the agent."""
        self._channel.close()


def latency_measurement(
    answer: Mapping[str, Any],
    plan: TimingPlan,
    source: str,
    compiled: CompiledModel,
    model_file_path: Path | None = None,
) -> LatencyMeasurement:
    """The measurement in an agent's answer. Raises ``MeasurementFailed`` without valid times."""
    try:
        samples = [float(s) for s in answer["samples_ms"]]
        init_ms = float(answer["init_ms"])
        interruptions = float(answer.get("interruptions", 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        samples = []
    if not samples or not all(0 < s < math.inf for s in samples):
        raise MeasurementFailed(f"{source}: the agent's answer holds no positive times")
    summary = summarise_timing(samples, plan.precision)
    warnings = summary.warnings + compiled.warnings
    if interruptions > _INTERRUPTIONS_PER_REPEAT * summary.repeats:
        warnings += (f"other work took the processor away {interruptions:.0f} times in {summary.repeats} repeats",)
    extra = {
        "iqr_ms": summary.iqr_ms,
        "outliers": float(summary.outliers),
        "interruptions": interruptions,
        "init_ms": init_ms,
        "model_kib": len(compiled.model) / 1024,
        **compiled.extra,
    }
    return LatencyMeasurement(
        latency_ms=summary.latency_ms,
        std_ms=summary.std_ms,
        low_ms=summary.low_ms,
        high_ms=summary.high_ms,
        repeats=summary.repeats,
        source=f"measured:{source}",
        extra=extra,
        fallback_ops=compiled.fallback_ops,
        warnings=warnings,
        model_file=model_file_path,
    )


def local_device(runtime: Runtime, address: Address) -> RuntimeDevice:
    """The runtime in a process of this machine."""
    address.reject_authority()
    settings = read_runtime_settings(address, runtime.precisions)
    return RuntimeDevice(runtime, settings, local_channel({"OMP_NUM_THREADS": str(settings.threads)}))
