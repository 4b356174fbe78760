"""A device of a formula, and the search with it that release 0.1.0 recorded; importable by that release as well."""

from __future__ import annotations

from pathlib import Path

import nas
from evaluators.devices.device import LatencyMeasurement


class FormulaDevice:
    """A device that answers twice the time that a million multiply-adds a millisecond take."""

    name = "formula"
    precision = "int8"
    batch = 1

    def measure(self, graph: nas.Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        value = 2 * graph.macs / 1e6
        return LatencyMeasurement(value, 0.01 * value, 0.98 * value, 1.02 * value, 15, "measured:formula")

    def close(self) -> None:
        pass


if __name__ == "__main__":
    nas.search(
        "nasbench201",
        "edgetpu",
        trials=8,
        train=0,
        verify=3,
        device=FormulaDevice(),
        study="verified",
        directory="runs",
    )
