"""The best few candidates of a search, measured on a real device, and what that teaches the prediction.

What was measured is noted in the study, a note a network, and never measured again by the same search.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.devices.device import Device, DeviceError
from hardware_models.composed.corrected import CorrectedModel, fit_correction
from hardware_models.composed.multi_device import MultiDeviceModel, device_labels
from hardware_models.cost import HardwareModel
from hardware_models.device_file.number_format import number_format_of
from nas.candidates.candidate import Candidate, Measurement
from nas.candidates.free_metrics import DEVICE_LATENCY
from nas.measurement.verified import REFUSAL_CODE, VerifiedCandidate
from nas.study.load import load_notes
from search_spaces.graph.graph import Graph
from search_spaces.registry import unknown_name

if TYPE_CHECKING:
    from nas.study.study import Study


DEFAULT_VERIFY_COUNT = 8
"""Candidates that are measured where a device is given and no number."""


_NOTE_PREFIX = "measured_"


DeviceSpec = str | Device | Mapping[str, str | Device]


class VerificationError(ValueError):
    """Measuring that makes no sense as it was asked for."""


class Verification:
    """Measures candidates and corrects ``model`` by what it measured.

    ``metric`` is the predicted latency that the device tells of: ``latency_ms``, or ``latency_ms@`` one of several.
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
        told = VerifiedCandidate(
            candidate.number,
            candidate.key,
            self.metric,
            prediction.latency_ms,
            prediction.latency_low_ms,
            prediction.latency_high_ms,
            self.model.model.estimate(graph).latency_ms,
        )
        known = self._notes.get(candidate.key)
        if known is None or known.get("again"):
            known = self._measure_on_device(graph)
        told = told.with_device_result(known)
        self._note(told)
        self.verified[candidate.key] = told
        return told

    def _note(self, told: VerifiedCandidate) -> None:
        document = json.loads(json.dumps({**asdict(told), "place": len(self.verified)}))
        if self._notes.get(told.key) != document:
            self._notes[told.key] = document
            self._study.note(_NOTE_PREFIX + told.key, document)

    def _measure_on_device(self, graph: Graph) -> dict[str, Any]:
        try:
            said = self._device.measure(graph, seed=self._seed)
        except DeviceError as error:
            lasting = not error.transient and error.code in (REFUSAL_CODE, "output_mismatch")
            return {"failure": f"{error.code}: {error}", "source": self._device.name, "again": not lasting}
        return {
            "measured_ms": said.latency_ms,
            "std_ms": said.std_ms,
            "source": said.source,
            "warnings": said.warnings,
            "fallback_ops": said.fallback_ops,
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
        """A candidate's figures with what the device said of it beside them."""
        said = self.verified.get(key)
        if said is None or said.measured_ms is None:
            return dict(measurements)
        return {**measurements, DEVICE_LATENCY: Measurement(said.measured_ms, said.source, said.std_ms)}

    def known(self, key: str, values: Mapping[str, float]) -> dict[str, float]:
        """Figures to hold against a limit: the measured latency in place of the predicted one, where there is one."""
        said = self.verified.get(key)
        if said is None or said.measured_ms is None:
            return dict(values)
        found = {**values, self.metric: said.measured_ms}
        if self.metric != "latency_ms":
            found["latency_ms"] = max(v for name, v in found.items() if name.startswith("latency_ms@"))
        return found

    def refused(self, key: str) -> str:
        """Why the device refused a candidate, or nothing."""
        return self.verified[key].refused if key in self.verified else ""


def load_verified(storage: str | Path, name: str | None) -> list[VerifiedCandidate]:
    """What a study's search measured so far, in that order. Raises as ``nas.study.load.load_document``."""
    notes = load_notes(storage, name, _NOTE_PREFIX)
    whole = [note for note in notes.values() if "place" in note]  # without: of a release that kept no predictions
    return [VerifiedCandidate.from_document(note) for note in sorted(whole, key=lambda note: int(note["place"]))]


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
    """The device in the number format of ``model``, asked again where it fails and left alone where it fails too often.

    Raises ``NumberFormatError`` where it runs another one.
    """
    from evaluators.devices.retrying import RetryingDevice
    from nas.measurement.device_in_format import open_in_format

    opened = open_in_format(device, number_format_of(model), model.name)
    return opened if isinstance(opened, RetryingDevice) else RetryingDevice(opened)
