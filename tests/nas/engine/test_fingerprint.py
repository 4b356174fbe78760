"""Fingerprints of studies: they change with what a search names, part by part, and with nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

import nas
from evaluators.evaluator import Evaluation, EvaluationJob, Evaluator, QualityMetric
from hardware_models.cost import Cost
from nas.engine import fingerprint
from nas.engine.fingerprint import Fingerprint, legacy_fingerprint, study_fingerprint
from nas.engine.problem import SearchProblem, build_problem
from nas.engine.settings import SearchSettings
from tests.support.fakes import small_space


class MacsModel:
    """A hardware model that says so many milliseconds for a million multiply-adds."""

    name = "macs"

    def __init__(self, ms: float = 1.0, memory_kib: float | None = None) -> None:
        self.ms = ms
        self.memory_kib = memory_kib

    def estimate(self, graph: nas.Graph) -> Cost:
        return Cost(self.ms * graph.macs / 1e6, "predicted:macs@1", weights_kib=self.memory_kib)


class Described(Evaluator):
    """An evaluator that does not say what its results depend on."""

    def __init__(self, text: str = "by its size") -> None:
        self.text = text
        self.helper = object()  # which has another address in every process

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("accuracy"),)

    def describe(self) -> str:
        return self.text

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        return Evaluation({"accuracy": job.graph.macs / 1e9})


class Identified(Described):
    """One that says it."""

    data: ClassVar[str] = "5f2c"

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        return {"evaluator": f"mine/{self.version}", "data": self.data, "fidelity": {"of": fidelity}}


def problem_of(**changes: Any) -> SearchProblem:
    arguments: dict[str, Any] = {"space": small_space, "hw": MacsModel(), "trials": 20, "evaluator": Identified()}
    return build_problem(SearchSettings(**{**arguments, **changes}))


def parts_of(**changes: Any) -> dict[str, str]:
    return dict(study_fingerprint(problem_of(**changes), "").parts)


def changed_parts(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {part for part in {*before, *after} if before.get(part) != after.get(part)}


def wider_space(choose: nas.Choose, *, image_size: int = 32, num_classes: int = 4) -> nas.Graph:
    return small_space(choose, image_size=image_size, num_classes=num_classes + 1)


def test_the_same_search_has_the_same_fingerprint() -> None:
    one, other = (study_fingerprint(problem_of(), "") for _ in range(2))
    assert str(one) == str(other)
    assert len(str(one)) == 8
    assert one.to_document() == other.to_document()
    assert {*one.to_document()} == {"space", "hardware", "evaluator", "evaluator_version"}
    assert one.parts["evaluator_version"] == "1"


def test_each_part_follows_what_it_is_of() -> None:
    before = parts_of()
    wider_space.__name__ = small_space.__name__
    assert changed_parts(before, parts_of(hw=MacsModel(2.0))) == {"hardware"}
    assert changed_parts(before, parts_of(trials=21)) == {"settings"}
    assert changed_parts(before, parts_of(evaluator=Described())) == {"evaluator", "settings"}
    assert "space" in changed_parts(before, parts_of(space=wider_space))
    with_device = study_fingerprint(problem_of(), "formula")
    assert changed_parts(before, dict(with_device.parts)) == {"device"}
    assert len({str(with_device), str(Fingerprint(before)), str(study_fingerprint(problem_of(seed=1), ""))}) == 3


def test_what_a_search_does_not_look_at_does_not_count() -> None:
    assert changed_parts(parts_of(), parts_of(hw=MacsModel(memory_kib=3.0))) == set()
    assert changed_parts(parts_of(), parts_of(hw=MacsModel(1 + 1e-12))) == set()


def test_an_evaluator_counts_by_its_version_and_data(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts_of()
    with monkeypatch.context() as patched:
        patched.setattr(Identified, "version", 2)
        assert changed_parts(before, parts_of()) == {"evaluator", "evaluator_version"}
    with monkeypatch.context() as patched:
        patched.setattr(Identified, "data", "5f2d")
        assert changed_parts(before, parts_of()) == {"evaluator"}


def test_an_evaluator_that_does_not_identify_itself_counts_by_what_it_describes() -> None:
    assert parts_of(evaluator=Described()) == parts_of(evaluator=Described())
    assert changed_parts(parts_of(evaluator=Described()), parts_of(evaluator=Described("twice"))) == {"evaluator"}


def test_the_release_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts_of()
    monkeypatch.setattr("nas.version.__version__", "9.9.9")
    monkeypatch.setattr("nas.__version__", "9.9.9", raising=False)
    assert parts_of() == before


def test_a_later_setting_counts_only_where_it_is_not_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier_settings = tuple(name for name in fingerprint._FIRST_SETTINGS if name != "in_flight")
    monkeypatch.setattr(fingerprint, "_FIRST_SETTINGS", earlier_settings)
    in_full = SearchSettings.to_document
    with monkeypatch.context() as patched:
        patched.setattr(
            SearchSettings, "to_document", lambda self: {n: v for n, v in in_full(self).items() if n != "in_flight"}
        )
        before_it_came = parts_of()
    assert parts_of() == before_it_came
    assert changed_parts(before_it_came, parts_of(in_flight=5)) == {"settings"}


def test_release_0_1_0_has_no_name_for_what_it_could_not_do() -> None:
    assert legacy_fingerprint(problem_of(), "") is not None
    assert legacy_fingerprint(problem_of(strategy="train_every_candidate"), "") is None
    assert legacy_fingerprint(problem_of(evaluator=f"{__name__}:Identified"), "") is None
