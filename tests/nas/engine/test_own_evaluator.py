"""Evaluators of one's own: their metrics in limits and objectives, and what becomes of their mistakes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from evaluators.evaluator import DataError
from nas.candidates.metrics import METRICS, ObjectiveError, search_metrics
from nas.cli.main import main
from nas.engine.options import SettingError
from nas.engine.training_jobs import EvaluatorError
from nas.study.artifacts import read_artifact
from nas.study.load import load_candidates, load_study
from search_spaces.registry import UnknownName
from tests.support.fakes import small_space
from tests.support.installed_package import installed_package


class F1Evaluator(nas.Evaluator):
    """F1 and an error that is minimised, functions of the graph; ``answer`` replaces what it gives after ``after``."""

    isolated = False

    def __init__(self, answer: Callable[[], Any] | None = None, after: int = 0) -> None:
        self.answer = answer
        self.after = after
        self.jobs: list[nas.EvaluationJob] = []
        self.prepared: list[Path] = []

    @property
    def metrics(self) -> tuple[nas.QualityMetric, ...]:
        return (nas.QualityMetric("f1", label="F1 score"), nas.QualityMetric("regret", "minimize"))

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        return {"evaluator": f"f1/{self.version}", "data": "none", "fidelity": {}}

    def prepare(self, space: nas.Space, hardware: nas.HardwareModel, workspace: Path) -> None:
        assert workspace.is_dir()
        self.prepared.append(workspace)

    def evaluate(self, job: nas.EvaluationJob) -> nas.Evaluation:
        self.jobs.append(job)
        if self.answer is not None and len(self.jobs) > self.after:
            answer: nas.Evaluation = self.answer()
            return answer
        f1 = f1_of(job.graph)
        return nas.Evaluation({"f1": f1, "regret": np.float32(1 - f1)})


def f1_of(graph: nas.Graph) -> float:
    return graph.params % 997 / 997


def search(directory: Path, evaluator: nas.Evaluator, **changes: Any) -> nas.SearchResult:
    arguments: dict[str, Any] = {"objectives": ["latency", "f1"], "trials": 24, "train": 8, "seed": 1}
    return nas.search(small_space, "edgetpu", evaluator=evaluator, directory=directory, **{**arguments, **changes})


@pytest.mark.parametrize("score", ["entropy", "none"])
def test_its_metric_is_an_objective_and_a_limit(tmp_path: Path, score: str) -> None:
    evaluator = F1Evaluator()
    result = search(tmp_path, evaluator, limits=["f1>=0.5"], score=score)
    trained = [c for c in result.candidates if "f1" in c.metrics]
    assert len(trained) == 8
    for candidate in trained:
        assert candidate.metrics["f1"] == f1_of(result.graph(candidate))
        assert candidate.metrics["regret"] == pytest.approx(1 - candidate.metrics["f1"])
        assert candidate.status == ("trained" if candidate.metrics["f1"] >= 0.5 else "infeasible")
    over = next(c for c in trained if c.metrics["f1"] < 0.5)
    assert over.reason == f"f1 is {over.metrics['f1']:.4g}, limit f1 >= 0.5"
    assert over.constraint_violation == pytest.approx(1 - over.metrics["f1"] / 0.5)
    assert result.front
    assert all(c.metrics["f1"] >= 0.5 for c in result.front)
    again = search(tmp_path, F1Evaluator(), limits=["f1>=0.5"], score=score)
    assert again.candidates == result.candidates
    assert again.tally.resumed == 8


def test_the_first_metric_is_the_default_objective(tmp_path: Path) -> None:
    result = search(tmp_path, F1Evaluator(), objectives=None)
    assert [(o.metric, o.direction) for o in result.objectives] == [("latency_ms", "minimize"), ("f1", "maximize")]
    least = search(tmp_path, F1Evaluator(), objectives=["latency", "regret"], limits={"regret": 0.9})
    assert least.objectives[1].direction == "minimize"
    assert all(c.metrics["regret"] <= 0.9 for c in least.front)


def test_a_job_says_what_is_evaluated(tmp_path: Path) -> None:
    evaluator = F1Evaluator()
    result = search(tmp_path, evaluator)
    assert evaluator.prepared == [result.directory / "workspace"]
    by_key = {c.key: c for c in result.candidates}
    for job in evaluator.jobs:
        assert job.space is not None
        assert job.genotype == by_key[job.key].genotype
        assert nas.functional_hash(job.space.graph(job.genotype)) == nas.functional_hash(job.graph) == job.key
        assert job.architecture == by_key[job.key].architecture
        assert (job.seed, job.fidelity, job.compute_device) == (1, 1.0, "cpu")


def test_a_metric_that_it_does_not_declare_is_answered_before_anything_is_evaluated(tmp_path: Path) -> None:
    evaluator = F1Evaluator()
    with pytest.raises(UnknownName, match=r"no metric 'f2'; known: .* f1,"):
        search(tmp_path, evaluator, objectives=["latency", "f2"])
    with pytest.raises(UnknownName, match="no metric 'accuracy'"):
        search(tmp_path, evaluator, limits=["accuracy>=0.5"])
    with pytest.raises(ObjectiveError, match="needs training"):
        search(tmp_path, evaluator, limits=["f1>=0.5"], objectives=["latency"], train=0)
    assert not evaluator.jobs


def raise_error() -> Any:
    raise RuntimeError("the camera is unplugged")


def exit_process() -> Any:
    sys.exit(3)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "another name": (
        lambda: nas.Evaluation({"f2": 0.5, "regret": 0.5}),
        "lacks f1 and has f2, which the evaluator's metrics do not declare",
    ),
    "a name missing": (lambda: nas.Evaluation({"f1": 0.5}), "lacks regret"),
    "not a number": (lambda: nas.Evaluation({"f1": float("nan"), "regret": 0.5}), "'f1' is nan"),
    "infinite": (lambda: nas.Evaluation({"f1": 0.5, "regret": float("inf")}), "'regret' is inf"),
    "a text": (lambda: nas.Evaluation({"f1": "0.5", "regret": 0.5}), "'f1' is '0.5', not a real number"),  # type: ignore[dict-item]
    "a dictionary": (lambda: {"f1": 0.5, "regret": 0.5}, "return nas.Evaluation"),
    "nothing": (lambda: None, "returned NoneType"),
    "an exception": (raise_error, "RuntimeError: the camera is unplugged"),
    "an exit": (exit_process, "SystemExit: 3"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_answer_ends_a_search_at_once_or_fails_its_candidate(tmp_path: Path, kind: str) -> None:
    answer, message = WRONG[kind]
    with pytest.raises(EvaluatorError, match="the first evaluation went wrong") as caught:
        search(tmp_path, F1Evaluator(answer))
    assert message in str(caught.value)
    later = F1Evaluator(answer, after=3)
    result = search(tmp_path / "later", later)
    failed = [c for c in result.candidates if c.status == "failed"]
    assert len(failed) == 5
    assert all(message in c.reason for c in failed)
    assert sum(c.status == "trained" for c in result.candidates) == 3
    assert result.front
    # a search that goes on does not end at what an earlier run had survived
    assert load_candidates(result.directory / "study.journal", None)[1]


def test_a_planned_failure_is_never_the_evaluators_fault(tmp_path: Path) -> None:
    def diverge() -> Any:
        raise nas.EvaluationFailure("the loss is nan")

    result = search(tmp_path, F1Evaluator(diverge))
    assert {c.reason for c in result.candidates if c.status == "failed"} == {"failed: the loss is nan"}
    assert not result.front


def test_data_that_cannot_be_used_end_a_search_whenever_they_are_met(tmp_path: Path) -> None:
    def complain() -> Any:
        raise DataError("cat/7.png: cannot be read; replace it")

    evaluator = F1Evaluator(complain, after=3)
    with pytest.raises(DataError, match="replace it"):
        search(tmp_path, evaluator)
    assert len(evaluator.jobs) == 4
    resumed = search(tmp_path, F1Evaluator())  # once it is replaced
    assert resumed.tally.resumed == 3
    assert sum(c.status == "trained" for c in resumed.candidates) == 8


@dataclass
class Isolated(nas.Evaluator):
    """Misbehaves in its own process for networks of some sizes; every other gets its figure."""

    marker: str
    time_limit_s: float = 0.5
    log: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> tuple[nas.QualityMetric, ...]:
        return (nas.QualityMetric("f1"),)

    def evaluate(self, job: nas.EvaluationJob) -> nas.Evaluation:
        marker = Path(self.marker)
        if job.graph.params % 3 == 0 and not marker.exists():
            marker.touch()
            if marker.name == "hang":
                time.sleep(3600)
            os._exit(1)
        return nas.Evaluation({"f1": f1_of(job.graph)})


def test_a_process_that_ends_fails_its_candidate_alone(tmp_path: Path) -> None:
    result = search(tmp_path, Isolated(str(tmp_path / "exit")), objectives=["latency", "f1"], workers=1)
    assert [c.reason.partition(":")[0] for c in result.candidates if c.status == "failed"] == ["worker_died"]
    assert sum(c.status == "trained" for c in result.candidates) == 7


@pytest.mark.slow
def test_an_evaluation_that_hangs_is_ended(tmp_path: Path) -> None:
    result = search(tmp_path, Isolated(str(tmp_path / "hang")), objectives=["latency", "f1"], workers=1)
    assert [c.reason.partition(":")[0] for c in result.candidates if c.status == "failed"] == ["out_of_time"]


class Weighing(F1Evaluator):
    """Gives weights with its figures."""

    def evaluate(self, job: nas.EvaluationJob) -> nas.Evaluation:
        import torch

        figures = super().evaluate(job)
        artifact = nas.Artifact({"w": torch.full((1000,), figures.metrics["f1"])}, {"classes": "a,b"})
        curve = [nas.CurvePoint(16, {"loss": 1.0}), nas.CurvePoint(32, {"loss": 0.5})]
        return nas.Evaluation(figures.metrics, curve, nas.EvaluationCost(images=32), artifact)


def test_trained_weights_are_kept_with_the_study(tmp_path: Path) -> None:
    result = search(tmp_path, Weighing())
    for candidate in result.front:
        path = result.weights(candidate)
        assert path is not None
        tensors, metadata = read_artifact(path)
        assert tensors["w"][0].item() == pytest.approx(candidate.metrics["f1"])
        assert metadata["classes"] == "a,b"
    none_kept = search(tmp_path / "none", Weighing(), keep_weights_mib=0)
    assert [none_kept.weights(c) for c in none_kept.front] == [None] * len(none_kept.front)


def test_the_learning_curve_and_the_cost_are_kept_with_the_study(tmp_path: Path) -> None:
    result = search(tmp_path, Weighing())
    notes = load_study(result.directory / "study.journal", None).notes("evaluation_")
    assert set(notes) == {c.key for c in result.candidates if c.status == "trained"}
    note = notes[result.front[0].key]
    assert note["curve"] == [[16, {"loss": 1.0}], [32, {"loss": 0.5}]]
    assert note["cost"]["images"] == 32


MODULE = """
import nas


class Sharpness(nas.Evaluator):
    isolated = False

    def __init__(self, gain=1.0):
        self.gain = gain

    @property
    def metrics(self):
        return (nas.QualityMetric("sharpness", unit="", label="sharpness of the picture"),)

    def evaluate(self, job):
        return nas.Evaluation({"sharpness": self.gain * (job.graph.params % 97)})
"""


@pytest.mark.parametrize("name", ["sharpness", "neighbour:Sharpness", "file"])
def test_an_installed_one_is_named_on_the_command_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with installed_package(tmp_path / "site", MODULE, {"nas.evaluators": {"sharpness": "Sharpness"}}):
        evaluator = f"{tmp_path / 'site' / 'neighbour.py'}:Sharpness" if name == "file" else name
        common = ["--directory", str(tmp_path / "runs"), "--study", "s"]
        search_words = ["search", "--space", "mobilenetv2", "--hw", "edgetpu", "--trials", "12", "--train", "4"]
        search_words += ["--evaluator", evaluator, "--training", "gain=2", "--limit", "sharpness>=1", *common]
        for words in (search_words, ["resume", "s", *common[:2]], ["show", "s", *common[:2]]):
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert ended.value.code == 0
        assert "sharpness of the picture" in capsys.readouterr().out


def test_what_is_no_evaluator_is_refused(tmp_path: Path) -> None:
    for wrong in (object(), 3, lambda: None):
        with pytest.raises(SettingError, match=r"no nas\.Evaluator"):
            search(tmp_path, wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="has its settings already"):
        search(tmp_path, F1Evaluator(), training={"steps": 3})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (nas.QualityMetric("latency_ms"), "is the name of a metric of the search"),
        (nas.QualityMetric("two words"), "is no name"),
        (nas.QualityMetric("f1", "up"), "direction is 'minimize' or 'maximize', not 'up'"),  # type: ignore[arg-type]
        (nas.QualityMetric("f1", unit="furlong"), "the unit is one of"),
        ("f1", "has to hold nas.QualityMetric objects"),
    ],
)
def test_metrics_that_nothing_can_be_made_of_are_refused(metric: Any, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        search_metrics([metric])
    with pytest.raises(ObjectiveError, match="declares no metric"):
        search_metrics([])
    assert search_metrics([nas.QualityMetric("map")])["map"].label == METRICS["map"].label
