"""What a device is, what it reports, and the ways in which measuring may fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from evaluators.evaluator import EvaluationFailure
from search_spaces.graph.graph import Graph


class DeviceError(EvaluationFailure):
    """A candidate that could not be measured; the search records the reason and goes on.

    ``transient`` says whether the same request may succeed on a retry.
    """

    code = "device_error"
    transient = False


class DeviceUnavailable(DeviceError):
    """The device or its driver is missing; the message says what to install or to plug in."""

    code = "device_unavailable"
    transient = True


class MeasurementFailed(DeviceError):
    """The device was there and the run failed."""

    code = "measurement_failed"
    transient = True


class MeasurementTimeout(DeviceError):
    """No answer within the time limit; the process that hung was ended."""

    code = "measurement_timeout"
    transient = True


class OutputMismatch(DeviceError):
    """The device's outputs differ from PyTorch's, so its time says nothing about this network."""

    code = "output_mismatch"


class CannotRun(DeviceError):
    """This network cannot be written for the device, or its compiler refuses it."""

    code = "cannot_run"


class DeviceQuarantined(DeviceError):
    """The device failed too often in a row and is no longer used."""

    code = "device_quarantined"


class AddressError(ValueError):
    """A device's address that cannot be used; the message says which part and what would do."""


@dataclass(frozen=True)
class LatencyMeasurement:
    """What one network took on one device.

    ``latency_ms`` is the median of the repeats for one batch, ``low_ms`` and ``high_ms`` their 5 % and 95 % quantiles,
    ``std_ms`` their standard deviation without outliers (``timing.summarise_timing``). ``source`` tells a measurement
    (``measured:onnxruntime-int8-1t@host``) from what a vendor's compiler estimates (``compiled:ethos-u55-128``): the
    latter has one repeat and no spread. ``extra`` holds further figures by name, with units in the names.
    ``fallback_ops`` are operations that the accelerator leaves to a processor. ``model_file`` is the file that was run,
    if it was to be kept.
    """

    latency_ms: float
    std_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    source: str
    extra: Mapping[str, float] = field(default_factory=dict)
    fallback_ops: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    model_file: Path | None = None


class Device(Protocol):
    """A device that measures networks one after the other.

    ``measure`` writes the network with weights from ``seed``, compares the device's outputs with PyTorch's where
    it reports them, and times it; ``keep`` is a folder for the model file. Raises ``DeviceError``. ``close`` ends
    processes and connections; a closed device opens again at the next measurement.
    """

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def batch(self) -> int: ...

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement: ...

    def close(self) -> None: ...
