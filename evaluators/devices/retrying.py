"""Retries a device that may fail, and quarantines it once it fails too often in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from evaluators.devices.device import Device, DeviceError, DeviceQuarantined, LatencyMeasurement
from search_spaces.graph.graph import Graph


class RetryingDevice:
    """A device whose measurements are retried, until ``quarantine_after`` of them in a row have failed.

    Each measurement is tried ``1 + retries`` times with ``pause_s`` between; the device is closed and opened again in
    between. Failures that are not transient (a network that the device cannot run, outputs that differ) are neither
    retried nor counted. ``report`` is called with a line for every failed try and for the quarantine. The caller gets a
    ``DeviceError`` to record; ``release`` ends a quarantine.
    """

    def __init__(
        self,
        device: Device,
        *,
        retries: int = 2,
        quarantine_after: int = 3,
        pause_s: float = 1.0,
        report: Callable[[str], None] | None = None,
    ) -> None:
        if retries < 0 or quarantine_after < 1 or pause_s < 0:
            raise ValueError(
                f"needs retries >= 0, quarantine_after >= 1, pause_s >= 0, not {retries}, {quarantine_after}, {pause_s}"
            )
        self._device = device
        self._retries = retries
        self._quarantine_after = quarantine_after
        self._pause_s = pause_s
        self._report = report or (lambda text: None)
        self._lock = threading.Lock()
        self._consecutive_failures = 0
        self._last_error = ""

    @property
    def name(self) -> str:
        return self._device.name

    @property
    def precision(self) -> str:
        return self._device.precision

    @property
    def batch(self) -> int:
        return self._device.batch

    @property
    def quarantined(self) -> bool:
        """Whether the device is no longer used."""
        return self._consecutive_failures >= self._quarantine_after

    def release(self) -> None:
        """End the quarantine."""
        self._consecutive_failures = 0

    def measure(self, graph: Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        """As the device's own. Raises ``DeviceQuarantined``, or the last try's error."""
        with self._lock:
            if self.quarantined:
                raise DeviceQuarantined(
                    f"{self.name} failed {self._consecutive_failures} times in a row and is not used again:"
                    f" {self._last_error}"
                )
            return self._measure_with_retries(graph, seed, keep)

    def _measure_with_retries(self, graph: Graph, seed: int, keep: Path | None) -> LatencyMeasurement:
        for attempt in range(1 + self._retries):
            try:
                measured = self._device.measure(graph, seed=seed, keep=keep)
            except DeviceError as error:
                if not error.transient:
                    raise
                self._last_error = str(error)
                self._report(f"{self.name}: try {attempt + 1} of {1 + self._retries} failed: {error}")
                self._device.close()
                if attempt == self._retries:
                    self._count_failure()
                    raise
                time.sleep(self._pause_s)
            else:
                self._consecutive_failures = 0
                return measured
        raise AssertionError("the last try returns or raises")

    def _count_failure(self) -> None:
        self._consecutive_failures += 1
        if self.quarantined:
            self._report(f"{self.name}: {self._consecutive_failures} failures in a row, not used again")

    def close(self) -> None:
        self._device.close()
