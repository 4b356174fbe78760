"""The best few candidates of a search, measured on a real device to correct the predicted latency.

Each measurement is a note in the study, one a network, and the same search never measures a network twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evaluators.devices.device import Device, DeviceError
from evaluators.devices.device_in_format import open_in_format
from evaluators.devices.retrying import RetryingDevice
from hardware_models.composed.corrected import CorrectedModel, fit_correction
from hardware_models.composed.multi_device import MultiDeviceModel, device_labels
from hardware_models.cost import HardwareModel
from hardware_models.device_file.number_format import number_format_of
from nas.candidates.candidate import Candidate, Measurement
from nas.candidates.untrained_metrics import DEVICE_LATENCY
from nas.candidates.verified import REFUSAL_CODE, VerifiedCandidate
from nas.study.load import StoredStudy
from nas.study.study import Study
from search_spaces.graph.graph import Graph
from search_spaces.registry import unknown_name

_NOTE_PREFIX = "measured_"


DeviceSpec = str | Device | Mapping[str, str | Device]


class VerificationError(ValueError):
    """A verification that makes no sense as the user asked for it."""


class Verification:
    """Measures candidates and corrects ``model`` by what it measured.

    ``metric`` is the predicted latency that the device measures: ``latency_ms``, or ``latency_ms@`` one of several.
    """

    def __init__(self, device: Device, model: CorrectedModel, metric: str, study: Study, *, seed: int = 0) -> None:
        self.model = model
        self.metric = metric
        self.verified: dict[str, VerifiedCandidate] = {}
        self._device = device
        self._study = study
        self._notes = study.notes(_NOTE_PREFIX)
        self._seed = seed

    def measure(self, candidate: Candidate, graph: Graph) -> VerifiedCandidate:
        """Measure one candidate, or take what the study has of it. Failures of the device are recorded, not raised."""
        prediction = self.model.estimate(graph)
        predicted = VerifiedCandidate(
            candidate.number,
            candidate.key,
            self.metric,
            prediction.latency_ms,
            prediction.latency_low_ms,
            prediction.latency_high_ms,
            self.model.model.estimate(graph).latency_ms,
        )
        device_result = self._notes.get(candidate.key)
        if device_result is None or device_result.get("again"):
            device_result = self._measure_on_device(graph)
        verified = predicted.with_device_result(device_result)
        self._note(verified)
        self.verified[candidate.key] = verified
        return verified

    def _note(self, verified: VerifiedCandidate) -> None:
        """Keep a measurement in the study; ``place`` is its index in the order of measuring."""
        document = json.loads(json.dumps({**asdict(verified), "place": len(self.verified)}))
        if self._notes.get(verified.key) != document:
            self._notes[verified.key] = document
            self._study.note(_NOTE_PREFIX + verified.key, document)

    def _measure_on_device(self, graph: Graph) -> dict[str, Any]:
        """The device's answer, or its failure and whether a resumed search is to try ``again``."""
        try:
            measurement = self._device.measure(graph, seed=self._seed)
        except DeviceError as error:
            lasting = not error.transient and error.code in (REFUSAL_CODE, "output_mismatch")
            return {"failure": f"{error.code}: {error}", "source": self._device.name, "again": not lasting}
        return {
            "measured_ms": measurement.latency_ms,
            "std_ms": measurement.std_ms,
            "source": measurement.source,
            "warnings": measurement.warnings,
            "fallback_ops": measurement.fallback_ops,
        }

    def close(self) -> None:
        """End what the device runs."""
        self._device.close()

    def refit_correction(self) -> None:
        """Fit the correction to all that was measured so far, in the order of the candidates' numbers."""
        measured_candidates = sorted(
            (v for v in self.verified.values() if v.measured_ms is not None), key=lambda v: v.number
        )
        self.model.correction = fit_correction(
            [v.model_ms for v in measured_candidates],
            [v.measured_ms or 0.0 for v in measured_candidates],
            [v.std_ms or 0.0 for v in measured_candidates],
        )

    def with_device_latency(self, key: str, measurements: Mapping[str, Measurement]) -> dict[str, Measurement]:
        """A candidate's figures with the latency on the device beside them."""
        verified = self.verified.get(key)
        if verified is None or verified.measured_ms is None:
            return dict(measurements)
        device_latency = Measurement(verified.measured_ms, verified.source, verified.std_ms)
        return {**measurements, DEVICE_LATENCY: device_latency}

    def with_measured_values(self, key: str, values: Mapping[str, float]) -> dict[str, float]:
        """Figures to hold against a limit: the measured latency in place of the predicted one, where there is one."""
        verified = self.verified.get(key)
        if verified is None or verified.measured_ms is None:
            return dict(values)
        measured_values = {**values, self.metric: verified.measured_ms}
        if self.metric != "latency_ms":
            of_devices = [value for name, value in measured_values.items() if name.startswith("latency_ms@")]
            measured_values["latency_ms"] = max(of_devices)
        return measured_values

    def refusal(self, key: str) -> str:
        """Why the device refused a candidate, or nothing."""
        return self.verified[key].refused if key in self.verified else ""


def load_verified(study: StoredStudy) -> list[VerifiedCandidate]:
    """What a study's search measured so far, in that order."""
    with_prediction = [
        note for note in study.notes(_NOTE_PREFIX).values() if "place" in note
    ]  # an early release kept no predictions
    in_order = sorted(with_prediction, key=lambda note: int(note["place"]))
    return [VerifiedCandidate.from_document(note) for note in in_order]


def device_text(device: DeviceSpec | None) -> str:
    """The device as a text that ``device_and_label`` reads again; empty for what is none."""
    if isinstance(device, Mapping):
        return ",".join(f"{label}={one}" for label, one in device.items() if isinstance(one, str))
    return device if isinstance(device, str) else ""


def device_and_label(device: DeviceSpec) -> tuple[str | Device, str]:
    """A device and which of several hardware models it stands for, by ``pi5_onnx=ssh://...`` or ``{"pi5_onnx": ...}``.

    Raises ``VerificationError`` for more than one device.
    """
    if isinstance(device, Mapping):
        if len(device) != 1:
            raise VerificationError(f"one device measures, not {len(device)}: device={{name: address}}")
        ((label, one),) = device.items()
        return one, label
    if not isinstance(device, str):
        return device, ""
    label, equals, address = device.partition("=")
    return (address, label) if equals and not {"?", ":", "/"} & set(label) else (device, "")


def with_correction(hardware: HardwareModel, label: str) -> tuple[HardwareModel, CorrectedModel, str]:
    """The hardware with one model that learns from measurements, that model, and the metric of its latency.

    ``label`` names the one that is measured, of several. Raises ``VerificationError``, ``UnknownName``.
    """
    labels = device_labels(hardware)
    if not labels:
        if label not in ("", hardware.name):
            raise VerificationError(f"--device {label}=...: there is one hardware model, {hardware.name}; leave it out")
        model = CorrectedModel(hardware)
        return model, model, "latency_ms"
    if not label:
        raise VerificationError(f"say which device is measured: --device NAME=ADDRESS, with {' or '.join(labels)}")
    if label not in labels:
        raise unknown_name("device", label, list(labels))
    assert isinstance(hardware, MultiDeviceModel)
    model = CorrectedModel(hardware.models[label])
    return hardware.with_model(label, model), model, f"latency_ms@{label}"


def open_verification_device(device: str | Device, model: HardwareModel) -> Device:
    """The device in the number format of ``model``, retried where it fails and given up where it fails too often.

    Raises ``NumberFormatError`` where it runs another one.
    """
    opened = open_in_format(device, number_format_of(model), model.name)
    return opened if isinstance(opened, RetryingDevice) else RetryingDevice(opened)
