"""The best candidates on a device: rounds, what the correction learns, failures, resumption, and what is reported."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from evaluators.devices.address import Address
from evaluators.devices.catalog import DEVICES, DeviceRow
from evaluators.devices.device import CannotRun, LatencyMeasurement, MeasurementFailed, MeasurementTimeout
from evaluators.devices.device_in_format import NumberFormatError, open_in_format
from evaluators.devices.retrying import RetryingDevice
from hardware_models.catalog import load_hardware
from hardware_models.composed.corrected import CorrectedModel, fit_correction
from hardware_models.composed.multi_device import load_hardware_models
from hardware_models.cost import Cost
from hardware_models.device_file.number_format import number_format_of
from nas.candidates.objectives import Objective
from nas.candidates.verified import VerifiedCandidate, verification_scores
from nas.cli.main import main
from nas.engine.options import SettingError
from nas.engine.search import run
from nas.engine.settings import SearchSettings
from nas.engine.verification import VerificationError, device_and_label, load_verified, with_correction
from nas.report.tables import summary_lines, supplementary_tables
from nas.report.verification import plot_verification
from nas.study.load import load_candidates, load_document, load_notes, load_study
from nas.study.study import Study
from search_spaces.registry import UnknownName
from tests.support.fakes import CountingEvaluator, small_space

Latency = Callable[[nas.Graph], float]


def model_ms(graph: nas.Graph) -> float:
    return graph.macs / 1e6


def biased_ms(graph: nas.Graph) -> float:
    """Three times what the model says, less for large networks, and each network's own 4 %."""
    own = 0.04 * (int(graph.digest[:8], 16) / 2**32 * 2 - 1)
    return 3.0 * float(model_ms(graph)) ** 0.9 * exp(own)


@dataclass(frozen=True)
class Model:
    """A hardware model that says ``model_ms``."""

    name: str = "model"

    def estimate(self, graph: nas.Graph) -> Cost:
        latency = model_ms(graph)
        return Cost(latency, f"predicted:{self.name}@1", latency / 1.05, latency * 1.05, 0.9)


@dataclass
class FakeDevice:
    """Answers by a formula, after doing what ``trouble`` does; every answer is counted."""

    latency: Latency = biased_ms
    trouble: Callable[[FakeDevice, nas.Graph], None] = lambda device, graph: None
    requests: list[str] = field(default_factory=list)
    closed: int = 0
    name: str = "fake"
    precision: str = "float32"
    batch: int = 1

    def measure(self, graph: nas.Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        self.requests.append(graph.digest)
        self.trouble(self, graph)
        value = self.latency(graph)
        return LatencyMeasurement(
            value, 0.01 * value, 0.98 * value, 1.02 * value, 15, "measured:fake", warnings=("warm",)
        )

    def close(self) -> None:
        self.closed += 1


def fake_device(address: Address) -> FakeDevice:
    """A device by address, of both number formats."""
    return FakeDevice(precision=address.choice("precision", ("float32", "int8")))


@pytest.fixture
def by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """``fake`` and ``fake8`` are addresses of devices; the latter runs int8 alone."""
    monkeypatch.setitem(DEVICES, "fake", DeviceRow(f"{__name__}:fake_device", "a formula", "fake"))
    monkeypatch.setitem(DEVICES, "fake8", DeviceRow(f"{__name__}:eight_bits", "a formula", "fake8"))


def eight_bits(address: Address) -> FakeDevice:
    return FakeDevice(precision="int8")


def search(directory: Path, device: Any = None, **changes: Any) -> nas.SearchResult:
    if isinstance(device, FakeDevice):
        device = RetryingDevice(device, pause_s=0.0)
    arguments: dict[str, Any] = {"hw": Model(), "trials": 120, "train": 0, "verify": 12, "directory": directory}
    return nas.search(small_space, device=device, **{**arguments, **changes})


def test_a_constant_bias_is_learned_exactly_and_the_order_stays() -> None:
    predicted = [1.0, 2.0, 5.0, 9.0]
    correction = fit_correction(predicted, [1.7 * p for p in predicted])
    assert correction is not None
    assert correction.slope == pytest.approx(0.0, abs=1e-12)
    for p in (0.1, 3.0, 40.0):
        assert p * correction.ratio(p) == pytest.approx(1.7 * p)
    assert correction.factor == pytest.approx(1.0)
    assert correction.coverage == pytest.approx(0.8)  # four residuals cannot promise more
    upside_down = fit_correction([1.0, 2.0, 4.0, 8.0], [8.0, 4.0, 2.0, 1.0])
    assert upside_down is not None
    corrected = [p * upside_down.ratio(p) for p in predicted]
    assert corrected == sorted(corrected)


def test_the_interval_is_that_of_fits_that_leave_one_out() -> None:
    rng = np.random.default_rng(0)
    predicted = np.exp(rng.uniform(-1, 2, 12))
    measured = 2.0 * predicted**1.1 * np.exp(0.05 * rng.standard_normal(12))
    errors = []
    for i in range(12):
        rest = fit_correction(np.delete(predicted, i), np.delete(measured, i))
        assert rest is not None
        errors.append(abs(log(measured[i] / (predicted[i] * rest.ratio(predicted[i])))))
    whole = fit_correction(predicted, measured)
    assert whole is not None
    assert whole.factor == pytest.approx(exp(sorted(errors)[11]), rel=1e-9)  # the 12th of 12: 0.9 of 13, rounded up
    assert 1.0 < 1 + whole.slope < 1.2


def test_nothing_measured_corrects_nothing() -> None:
    assert fit_correction([], []) is None
    assert fit_correction([1.0, 0.0], [0.0, 3.0]) is None
    graph = nas.load_network("mobilenetv2")
    model = load_hardware("pixel3_cpu")
    assert CorrectedModel(model).estimate(graph) == model.estimate(graph)


def test_a_correction_says_so_in_the_source_and_leaves_the_model_alone() -> None:
    graph = nas.load_network("mobilenetv2")
    corrected = CorrectedModel(load_hardware("pixel3_cpu"))
    before = corrected.estimate(graph)
    corrected.correction = fit_correction([before.latency_ms], [2 * before.latency_ms])
    after = corrected.estimate(graph)
    assert after.latency_ms == pytest.approx(2 * before.latency_ms)
    assert after.source == f"{before.source}, corrected by 1 measured"
    assert after.latency_high_ms == pytest.approx(2 * (before.latency_high_ms or 0))  # one pair has no interval
    assert corrected.model.estimate(graph) == before


def test_the_best_are_measured_in_rounds_and_the_later_predicted_better(tmp_path: Path) -> None:
    device = FakeDevice()
    result = search(tmp_path, device)
    assert len(device.requests) == len(set(device.requests)) == 12 == len(result.verified)
    assert device.closed == 1
    first, later = result.verified[:6], result.verified[6:]  # half of them, then twice a quarter
    assert all(v.predicted_ms == v.model_ms for v in first)
    assert all(abs(v.error_percent or 0) > 40 for v in first)
    assert all(abs(v.error_percent or 99) < 12 for v in later)
    scores = verification_scores(result.verified)
    assert scores["mape_percent"] < 0.7 * scores["model_mape_percent"]
    worst = max(abs(c.metrics["latency_ms"] / biased_ms(result.graph(c)) - 1) for c in result.front)
    assert worst < 0.15


def test_a_measurement_never_looks_like_a_prediction(tmp_path: Path) -> None:
    result = search(tmp_path, FakeDevice())
    measured = {v.key: v for v in result.verified}
    for c in result.candidates:
        assert c.measurements["latency_ms"].source == "predicted:model@1, corrected by 12 measured"
        assert ("device_latency_ms" in c.measurements) == (c.key in measured)
        if c.key in measured:
            measurement = c.measurements["device_latency_ms"]
            assert (measurement.source, measurement.value) == ("measured:fake", measured[c.key].measured_ms)
            assert measurement.std == pytest.approx(0.01 * measurement.value)


def test_limits_are_held_by_what_was_measured(tmp_path: Path) -> None:
    bound = 1.5
    result = search(tmp_path, FakeDevice(), limits={"latency_ms": bound}, trials=200)
    assert result.front
    for c in result.candidates:
        latency = c.metrics.get("device_latency_ms", c.metrics["latency_ms"])
        assert (c.status == "infeasible") == (latency > bound), c
    assert result.tally.infeasible == sum(c.status == "infeasible" for c in result.candidates)
    fair = search(tmp_path / "unverified", None, verify=0, limits={"latency_ms": bound}, trials=200)
    assert sum(biased_ms(fair.graph(c)) > bound for c in fair.front) > sum(
        biased_ms(result.graph(c)) > bound for c in result.front
    )


def test_a_search_that_trains_measures_before_choosing_and_at_the_end(tmp_path: Path) -> None:
    device, evaluator = FakeDevice(), CountingEvaluator()
    result = search(tmp_path, device, train=12, evaluator=evaluator, verify=8, workers=0)
    assert len(device.requests) == 8
    trained = {c.key for c in result.candidates if c.status == "trained"}
    assert {v.key for v in result.verified[-2:]} <= trained
    assert len(evaluator.seen) == 12
    every = search(tmp_path, FakeDevice(), train=10, score="none", evaluator=CountingEvaluator(), verify=3)
    assert len(every.verified) == 3
    assert {v.key for v in every.verified} <= {c.key for c in every.candidates if c.status == "trained"}


def test_what_was_measured_is_taken_from_the_study(tmp_path: Path) -> None:
    first = search(tmp_path, FakeDevice())
    device = FakeDevice(latency=lambda graph: 1000.0)
    again = search(tmp_path, device)
    assert device.requests == []
    assert again.verified == first.verified
    assert [c.to_document() for c in again.candidates] == [c.to_document() for c in first.candidates]


def test_a_search_that_was_stopped_while_measuring_measures_the_rest(tmp_path: Path) -> None:
    def stop_at_the_ninth(device: FakeDevice, graph: nas.Graph) -> None:
        if len(device.requests) == 9:
            raise KeyboardInterrupt

    stopped, whole = FakeDevice(trouble=stop_at_the_ninth), search(tmp_path / "whole", FakeDevice())
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, stopped)
    rest = FakeDevice()
    result = search(tmp_path, rest)
    assert len(rest.requests) == 4
    assert not set(rest.requests) & set(stopped.requests[:8])
    assert result.verified == whole.verified
    assert [c.to_document() for c in result.candidates] == [c.to_document() for c in whole.candidates]


def test_a_device_that_fails_now_and_then_is_asked_again(tmp_path: Path) -> None:
    def every_second(device: FakeDevice, graph: nas.Graph) -> None:
        if len(device.requests) % 2:
            raise MeasurementTimeout("no answer within 1 s")

    result = search(tmp_path, FakeDevice(trouble=every_second))
    assert all(v.measured_ms is not None for v in result.verified)
    assert result.verified == search(tmp_path / "sound", FakeDevice()).verified


def test_a_device_that_always_hangs_is_left_alone_and_the_search_ends(tmp_path: Path) -> None:
    def hang(device: FakeDevice, graph: nas.Graph) -> None:
        raise MeasurementTimeout("no answer within 1 s")

    device = FakeDevice(trouble=hang)
    result = search(tmp_path, device)
    assert len(device.requests) == 9  # three networks, three tries each; then it is in quarantine
    assert all(v.measured_ms is None and v.again for v in result.verified)
    output = "\n".join(summary_lines(result))
    assert "None of 12 measurements succeeded (measurement_timeout: no answer within 1 s)" in output
    assert "every latency here is a prediction" in output
    plain = search(tmp_path / "plain", None, verify=0)
    assert result.candidates[0].measurements == plain.candidates[0].measurements
    mended = search(tmp_path, FakeDevice())
    assert all(v.measured_ms is not None for v in mended.verified)


def test_what_the_device_refuses_is_infeasible_and_not_asked_again(tmp_path: Path) -> None:
    def refuse(device: FakeDevice, graph: nas.Graph) -> None:
        if int(graph.digest, 16) % 2:
            raise CannotRun("the compiler refuses it")

    result = search(tmp_path, FakeDevice(trouble=refuse))
    refused = {v.key for v in result.verified if v.refused}
    assert refused
    by_key = {c.key: c for c in result.candidates}
    assert all(
        by_key[key].status == "infeasible" and "the compiler refuses it" in by_key[key].reason for key in refused
    )
    assert not refused & {c.key for c in result.front}
    assert any("Not measured: #" in line for line in summary_lines(result))
    device = FakeDevice(trouble=refuse)
    assert search(tmp_path, device).verified == result.verified
    assert device.requests == []


def test_a_failure_of_one_network_is_recorded_and_the_others_are_measured(tmp_path: Path) -> None:
    def fail_one(device: FakeDevice, graph: nas.Graph) -> None:
        if graph.digest == device.requests[0]:
            raise MeasurementFailed("out of memory")

    result = search(tmp_path, FakeDevice(trouble=fail_one))
    failed = [v for v in result.verified if v.failure]
    assert [v.failure for v in failed] == ["measurement_failed: out of memory"]
    assert len(result.verified) == 12


def test_the_study_and_the_files_hold_what_was_measured(tmp_path: Path) -> None:
    result = search(tmp_path, FakeDevice())
    document = json.loads(json.dumps(result.to_document()))
    assert [v["measured_ms"] for v in document["verified"]] == [v.measured_ms for v in result.verified]
    assert document["verification"]["rows"] == 12
    _, stored, settings = load_candidates(result.directory / "study.journal", None)
    assert settings["verify"] == 12
    assert sorted((c.to_document() for c in stored), key=lambda d: d["number"]) == [
        c.to_document() for c in result.candidates
    ]
    in_trials = {c.key for c in stored if "device_latency_ms" in c.measurements}
    assert in_trials == {v.key for v in result.verified}
    frame = result.to_frame()
    assert frame["device_latency_ms"].notna().sum() == 12
    from rich.console import Console

    screen = Console(width=140, record=True, file=io.StringIO())
    for table in supplementary_tables(result):
        screen.print(table)
    shown = screen.export_text()
    assert "Predicted against measured (measured:fake)" in shown
    assert f"#{result.verified[0].number} " in shown
    assert any("12 of 12 candidates measured" in line and "Spearman" in line for line in summary_lines(result))


def test_what_was_predicted_and_measured_is_read_back_from_the_study(tmp_path: Path) -> None:
    def fail_one(device: FakeDevice, graph: nas.Graph) -> None:
        if graph.digest == device.requests[0]:
            raise MeasurementFailed("out of memory")

    result = search(tmp_path, FakeDevice(trouble=fail_one))
    journal = result.directory / "study.journal"
    assert load_verified(load_study(journal, None)) == list(result.verified)
    mended = search(tmp_path, FakeDevice())  # what failed is measured, and later predictions change with it
    assert mended.verified[0].measured_ms is not None
    assert load_verified(load_study(journal, None)) == list(mended.verified) != list(result.verified)
    assert [VerifiedCandidate.from_document(json.loads(json.dumps(v.to_document()))) for v in result.verified] == [
        *result.verified
    ]


def test_notes_stay_with_the_study(tmp_path: Path) -> None:
    where = tmp_path / "study.journal"
    study = Study.open(where, "s", [Objective("latency_ms", "minimize")], [], {"space": "small"})
    assert study.notes("") == {}
    study.note("x_a", {"n": 1})
    study.note("x_b", {"n": [1, 2]})
    study.note("y", {"n": 3})
    study.note("x_a", {"n": 4})
    again = Study.open(where, "s", [Objective("latency_ms", "minimize")], [], {"space": "small"})
    assert (
        again.notes("x_") == study.notes("x_") == load_notes(where, None, "x_") == {"a": {"n": 4}, "b": {"n": [1, 2]}}
    )


def test_the_commands_measure_eight_and_show_them_beside_what_was_predicted(
    tmp_path: Path, by_address: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    requests = (
        "--space",
        "tests.support.fakes:small_space",
        "--hw",
        "pi5",
        "--train",
        "0",
        "--trials",
        "60",
        "--study",
        "s",
    )
    with pytest.raises(SystemExit):
        main(["search", *requests, "--device", "fake"])
    searched = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["show", "s"])
    shown = capsys.readouterr().out
    for output in (searched, shown):
        assert "Predicted against measured (measured:fake)" in output
        assert "8 of 8 candidates measured. As predicted before each was measured: Spearman" in output
    assert "verification.png" in searched
    assert Path("nas-runs/s/verification.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        main(["show", "s", "--json"])
    document, kept = json.loads(capsys.readouterr().out), json.loads(Path("nas-runs/s/result.json").read_text())
    assert document["verified"] == kept["verified"]
    assert document["verification"] == kept["verification"]
    assert len(document["verified"]) == document["verification"]["rows"] == 8
    with pytest.raises(SystemExit) as ended:
        main(["search", *requests, "--verify", "3"])
    assert ended.value.code == 2
    assert "verify needs a real device, on which 3 candidates are measured: --device litert" in capsys.readouterr().err


def test_nothing_measured_makes_no_picture(tmp_path: Path) -> None:
    failed = VerifiedCandidate(1, "a", "latency_ms", 1.0, None, None, 1.0, failure="cannot_run: no")
    assert plot_verification([failed], tmp_path / "v.png", "pi5") is None
    one = VerifiedCandidate(1, "a", "latency_ms", 1.0, None, None, 1.0, 1.2, None, "measured:fake")
    assert plot_verification([one, failed], tmp_path / "v.png", "") == tmp_path / "v.png"
    assert (tmp_path / "v.png").exists()


# -- number formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "required", "runs"),
    [
        ("fake", "int8", "int8"),  # the address leaves it open
        ("fake", "float32", "float32"),
        ("fake?precision=int8", "int8", "int8"),
        ("fake", "float16", "float32"),  # a float, and the nearest that there is
        ("fake8", "int8", "int8"),
        ("fake", None, "float32"),
        ("fake8", None, "int8"),
    ],
)
def test_a_device_runs_the_number_format_of_the_model(
    by_address: None, device: str, required: str | None, runs: str
) -> None:
    assert open_in_format(device, required, "mine").precision == runs


@pytest.mark.parametrize(
    ("device", "model", "message"),
    [
        (
            "fake?precision=float32",
            "pixel3_cpu4_int8",
            "fake?precision=float32 runs float32, but pixel3_cpu4_int8 is a model of int8; write"
            " --device fake?precision=int8, or --hw pixel3_cpu4",
        ),
        ("fake?precision=int8", "pi5", "is a model of float32; write --device fake?precision=float32"),
        ("fake8", "pi5", "fake8 runs int8, but pi5 is a model of float32; write a device that runs float32"),
        ("fake8", "h200", "fake8 runs int8, but h200 is a model of float16; write a device that runs float16"),
        (FakeDevice(), "edgetpu", "fake runs float32, but pixel4_edgetpu is a model of int8; write a device that"),
        ("torch-cuda?precision=float32", "h200", "write --device torch-cuda?precision=float16"),
    ],
)
def test_another_number_format_than_the_model_s_is_refused_before_anything_is_done(
    tmp_path: Path, by_address: None, device: str | FakeDevice, model: str, message: str
) -> None:
    with pytest.raises(NumberFormatError) as caught:
        nas.search(small_space, model, trials=5, train=0, device=device, directory=tmp_path)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_device_or_a_model_that_states_no_known_number_format_is_let_through(tmp_path: Path) -> None:
    assert len(search(tmp_path / "a", FakeDevice(precision="int8"), verify=2).verified) == 2
    assert len(search(tmp_path / "b", FakeDevice(precision="int4"), hw="pi5", verify=2).verified) == 2


def test_models_made_of_others_pass_the_number_format_on() -> None:
    int8, floats = load_hardware("edgetpu"), load_hardware("pi5")
    assert number_format_of(CorrectedModel(int8)) == "int8"
    assert number_format_of(CorrectedModel(Model())) is None
    assert number_format_of(load_hardware_models([int8, load_hardware("pixel4_dsp")])) == "int8"
    assert number_format_of(load_hardware_models([int8, floats])) is None
    assert number_format_of(load_hardware_models([int8, Model()])) is None
    both = load_hardware_models("pixel3_cpu4:int8,pixel3_cpu4:float32")
    assert with_correction(both, "pixel3_cpu4_int8")[2] == "latency_ms@pixel3_cpu4_int8"


def test_of_several_devices_only_the_measured_one_is_corrected(tmp_path: Path) -> None:
    double = Model("other")
    result = search(tmp_path, {"model": RetryingDevice(FakeDevice(), pause_s=0.0)}, hw=[Model(), double])
    c = result.front[0]
    assert c.measurements["latency_ms@model"].source == "predicted:model@1, corrected by 12 measured"
    assert c.measurements["latency_ms@other"].source == "predicted:other@1"
    assert c.metrics["latency_ms"] == max(c.metrics["latency_ms@model"], c.metrics["latency_ms@other"])
    assert {v.metric for v in result.verified} == {"latency_ms@model"}


def test_devices_are_told_apart_by_name() -> None:
    assert device_and_label("pi5_onnx=ssh://me@pi:22/onnxruntime?threads=4") == (
        "ssh://me@pi:22/onnxruntime?threads=4",
        "pi5_onnx",
    )
    assert device_and_label("onnxruntime?threads=1") == ("onnxruntime?threads=1", "")
    both = load_hardware_models("edgetpu,pixel3_cpu")
    assert with_correction(both, "pixel3_cpu")[2] == "latency_ms@pixel3_cpu"
    with pytest.raises(VerificationError, match="--device NAME=ADDRESS, with edgetpu or pixel3_cpu"):
        with_correction(both, "")
    with pytest.raises(UnknownName, match="did you mean 'pixel3_cpu'"):
        with_correction(both, "pixel3_cp")
    with pytest.raises(VerificationError, match="there is one hardware model"):
        with_correction(load_hardware_models("edgetpu"), "pixel3_cpu")


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"verify": 3}, VerificationError, "verify needs a real device"),
        ({"verify": -1}, SettingError, "verify must be at least 0"),
        ({"device": "onnxruntim"}, UnknownName, "did you mean 'onnxruntime'"),
        ({"device": "onnxruntime?thread=1"}, ValueError, "did you mean threads"),
        ({"device": {"a": FakeDevice(), "b": FakeDevice()}}, VerificationError, "one device measures, not 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_done(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        nas.search(small_space, Model(), trials=5, train=0, directory=tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_with_a_device_eight_are_measured_by_default_and_zero_measures_none(tmp_path: Path) -> None:
    assert len(search(tmp_path / "a", FakeDevice(), verify=None).verified) == 8
    device = FakeDevice()
    assert search(tmp_path / "b", device, verify=0).verified == ()
    assert device.requests == []


def test_another_device_is_another_study(tmp_path: Path) -> None:
    first, other = search(tmp_path, FakeDevice()), search(tmp_path, FakeDevice(name="another"))
    assert first.study != other.study


def test_measurements_that_scatter_count_less() -> None:
    steady = fit_correction([1.0, 2.0, 4.0], [2.0, 4.0, 30.0], [0.0, 0.0, 30.0])
    equal = fit_correction([1.0, 2.0, 4.0], [2.0, 4.0, 30.0])
    assert steady is not None
    assert equal is not None
    assert abs(steady.ratio(1.0) - 2.0) < 0.1 < abs(equal.ratio(1.0) - 2.0)


def test_a_search_without_verification_is_the_same_study_as_before(tmp_path: Path) -> None:
    result = search(tmp_path, verify=0)
    _, _, settings = load_candidates(result.directory / "study.journal", None)
    assert (settings["verify"], settings["device"]) == (0, "")


def test_a_real_runtime_on_this_processor(tmp_path: Path) -> None:
    """ONNX Runtime, six networks of random weights: measured, reported, and one MAPE that the correction lowers."""
    pytest.importorskip("onnxruntime")
    address = "onnxruntime?threads=1&max_s=0.2&warmup_s=0.02"
    result = nas.search(
        small_space,
        "pi5_onnx",
        trials=60,
        train=0,
        verify=6,
        device=address,
        directory=tmp_path,
        space_options={"image_size": 96},
    )
    measured = [v for v in result.verified if v.measured_ms is not None]
    assert len(measured) == 6, [v.failure for v in result.verified]
    assert all(v.source.startswith("measured:onnxruntime") for v in measured)
    assert result.settings["device"] == address
    journal = result.directory / "study.journal"
    settings = SearchSettings.from_document(load_document(journal, None)[1])
    resumed = run(replace(settings, space=small_space, study=result.study, storage=journal, directory=tmp_path))
    assert resumed.verified == result.verified
    corrected = {c.key: c.metrics["latency_ms"] for c in result.candidates}
    after = np.mean([abs(log(corrected[v.key] / (v.measured_ms or 0))) for v in measured])
    before = np.mean([abs(log(v.model_ms / (v.measured_ms or 0))) for v in measured])
    assert after < before


def test_random_graphs_are_predicted_within_the_stated_interval_about_as_often_as_stated() -> None:
    space, rng = nas.load_space(small_space), random.Random(1)
    pairs = [(model_ms(g), biased_ms(g)) for g in (space.graph(space.sample(rng)) for _ in range(300))]
    held = []
    for _ in range(100):
        rng.shuffle(pairs)
        correction = fit_correction([p for p, _ in pairs[:19]], [m for _, m in pairs[:19]])
        assert correction is not None
        assert correction.factor is not None
        assert correction.coverage == 0.9
        held += [abs(log(m / (p * correction.ratio(p)))) <= log(correction.factor) for p, m in pairs[19:]]
    assert 0.85 <= sum(held) / len(held) <= 0.95
