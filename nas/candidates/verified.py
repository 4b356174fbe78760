"""A prediction beside its measurement, and how well predictions hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hardware_models.measured.prediction_error import accuracy_metrics

_PREDICTION_FIELDS = ("number", "key", "metric", "predicted_ms", "low_ms", "high_ms", "model_ms")


_DEVICE_FIELDS = ("measured_ms", "std_ms", "source", "failure", "again", "warnings", "fallback_ops")


REFUSAL_CODE = "cannot_run"


@dataclass(frozen=True)
class VerifiedCandidate:
    """One candidate, predicted and then measured; latencies in ms.

    ``predicted_ms`` and its interval are what was predicted before this candidate was measured, by the model as earlier
    measurements had corrected it; ``model_ms`` is the model's alone. ``measured_ms`` is ``None`` where the device
    failed; ``failure`` tells why, and ``again`` whether a resumed search is to try once more. ``source`` is the
    device's own word: ``measured:...``, or ``compiled:...`` for what a vendor's compiler estimates.
    """

    number: int
    key: str
    metric: str
    predicted_ms: float
    low_ms: float | None
    high_ms: float | None
    model_ms: float
    measured_ms: float | None = None
    std_ms: float | None = None
    source: str = ""
    failure: str = ""
    again: bool = False
    warnings: tuple[str, ...] = ()
    fallback_ops: tuple[str, ...] = ()

    @property
    def error_percent(self) -> float | None:
        """How far the prediction was above what was measured, in per cent of that."""
        return None if not self.measured_ms else 100 * (self.predicted_ms / self.measured_ms - 1)

    @property
    def held(self) -> bool | None:
        """Whether the interval held what was measured."""
        if self.measured_ms is None or self.low_ms is None or self.high_ms is None:
            return None
        return self.low_ms <= self.measured_ms <= self.high_ms

    @property
    def refused(self) -> str:
        """Why the device cannot run this network at all; empty where it can, or where it failed otherwise."""
        return self.failure if self.failure.startswith(REFUSAL_CODE) else ""

    def with_device_result(self, document: Mapping[str, Any]) -> VerifiedCandidate:
        """This prediction, with the device's answer from a document."""
        result: dict[str, Any] = {name: document[name] for name in _DEVICE_FIELDS if name in document}
        tuples = {name: tuple(value) for name, value in result.items() if isinstance(value, list)}
        return replace(self, **(result | tuples))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> VerifiedCandidate:
        """Read the record from JSON-able data."""
        predicted: dict[str, Any] = {name: document[name] for name in _PREDICTION_FIELDS}
        return cls(**predicted).with_device_result(document)

    def to_document(self) -> dict[str, Any]:
        """The record as JSON-able data."""
        return {**asdict(self), "error_percent": self.error_percent, "held": self.held}


def verification_scores(verified: Sequence[VerifiedCandidate]) -> dict[str, float]:
    """How good the predictions before measuring were, and the model's alone; empty where nothing was measured.

    ``rows``, ``spearman``, ``mape_percent`` and the others of
    ``hardware_models.measured.prediction_error.accuracy_metrics``, those with ``model_`` before them for the model
    without corrections, and ``interval_coverage``: the fraction of measurements within their intervals.
    """
    measured_candidates = [v for v in verified if v.measured_ms]
    if not measured_candidates:
        return {}
    measured = np.array([v.measured_ms for v in measured_candidates])
    scores = accuracy_metrics(np.array([v.predicted_ms for v in measured_candidates]), measured)
    uncorrected = accuracy_metrics(np.array([v.model_ms for v in measured_candidates]), measured)
    scores |= {f"model_{name}": uncorrected[name] for name in ("spearman", "mape_percent") if name in uncorrected}
    held = [v.held for v in measured_candidates if v.held is not None]
    if held:
        scores["interval_coverage"] = round(sum(held) / len(held), 4)
    return scores
