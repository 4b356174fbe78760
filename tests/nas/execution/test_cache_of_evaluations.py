"""One evaluation through the cache: its key, who pays, and the mean of several."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import nas
from evaluators.evaluator import CurvePoint, Evaluation, EvaluationCost, EvaluationJob, Evaluator, QualityMetric
from nas.cache import EvaluationCache
from nas.cache.records import CacheError, CacheKey
from nas.execution.cached_training import CachedTraining, cache_key_of, cache_keys_of, mean_result, repeat_seed
from nas.execution.executor import TrainingResult
from tests.support.fakes import small_space


@dataclass
class Stepped(Evaluator):
    """Identifies itself as it is told."""

    steps: int = 90
    identity: dict[str, Any] | None = None

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("accuracy"),)

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        return Evaluation({"accuracy": 0.5})

    def cache_identity(self, fidelity: float) -> Any:
        return super().cache_identity(fidelity) if self.identity is None else self.identity


@pytest.fixture
def cache() -> Iterator[EvaluationCache]:
    with EvaluationCache("sqlite://") as opened:
        yield opened


def job(seed: int = 0, ordinal: int = 0) -> EvaluationJob:
    space = nas.Space(small_space)
    return EvaluationJob(space.graph(space.sample(random.Random(5))), seed=seed, ordinal=ordinal)


def never(job: EvaluationJob) -> TrainingResult:
    pytest.fail("it was evaluated")


def answering(**result: Any) -> Callable[[EvaluationJob], TrainingResult]:
    return lambda job: TrainingResult(**{"metrics": {"accuracy": 0.75}, "seconds": 2.0, **result})


def test_the_key_is_the_evaluators_own_word_and_no_release_of_this_package() -> None:
    identity = {"evaluator": "detection/1", "data": "3f", "fidelity": {"steps": 90}}
    assert cache_key_of(Stepped(identity=identity), 4) == CacheKey("detection/1", "3f", {"steps": 90}, "from 4")
    assert cache_key_of(Stepped(identity=identity), 4) != cache_key_of(Stepped(identity=identity), 5)


def test_without_a_word_of_its_own_class_attributes_and_fidelity_are_the_key() -> None:
    key = cache_key_of(Stepped(), 0, 1.0)
    assert key == cache_key_of(Stepped(), 0)
    assert key.evaluator == f"{__name__}.Stepped/1"
    assert key != cache_key_of(Stepped(steps=91), 0)
    assert key != cache_key_of(Stepped(), 0, 1 / 3)


def test_fidelities_that_an_evaluator_does_not_tell_apart_get_keys_of_their_own() -> None:
    identity = {"evaluator": "same/1", "data": "", "fidelity": {"steps": 90}}
    evaluator = Stepped(identity={**identity, "data": "none"})
    keys = cache_keys_of(evaluator, 0, (1 / 9, 1.0, 1 / 3))
    assert keys[1.0] == cache_key_of(evaluator, 0)
    assert keys[1 / 3].fidelity == {"steps": 90, "share": "1/3"}
    assert keys[1 / 9].fidelity == {"steps": 90, "share": "1/9"}
    told = cache_keys_of(Stepped(), 0, (1 / 3, 1.0))
    assert told[1 / 3] == cache_key_of(Stepped(), 0, 1 / 3)


def test_an_identity_that_lacks_a_part_is_refused() -> None:
    with pytest.raises(CacheError, match=r"cache_identity\(\) of Stepped has no data, fidelity"):
        cache_key_of(Stepped(identity={"evaluator": "x/1"}), 0)


def test_an_evaluation_is_paid_once_for_each_ordinal(cache: EvaluationCache) -> None:
    through = CachedTraining(cache, cache_key_of(Stepped(), 0))
    first = through(job(), answering(curve=(CurvePoint(8, {"loss": 1.0}),)))
    assert (first.kind, len(first.curve)) == ("miss", 1)
    again = through(job(), never)
    assert again == TrainingResult({"accuracy": 0.75}, 2.0, kind="full")
    second = through(job(ordinal=1), answering(metrics={"accuracy": 0.5}))
    assert (second.kind, second.metrics) == ("miss", {"accuracy": 0.5})
    with pytest.raises(pytest.fail.Exception):
        CachedTraining(cache, cache_key_of(Stepped(steps=91), 0))(job(), never)


def test_failures_are_not_kept_and_what_is_raised_gives_the_claim_back(cache: EvaluationCache) -> None:
    through = CachedTraining(cache, cache_key_of(Stepped(), 0))
    assert through(job(), answering(metrics={}, failure="diverged", message="nan")).failure == "diverged"

    def interrupted(job: EvaluationJob) -> TrainingResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        through(job(), interrupted)
    assert through(job(), answering()).kind == "miss"


def test_a_mean_is_of_figures_seconds_and_cost_and_has_the_firsts_curve_and_weights() -> None:
    curve = (CurvePoint(8, {"loss": 1.0}),)
    first = TrainingResult({"a": 0.25, "b": 1.0}, 2.0, curve=curve, cost=EvaluationCost(2.0, 8, 100.0), artifact=b"x")
    second = TrainingResult({"a": 0.75}, 4.0, kind="full")
    third = TrainingResult({"a": 0.5, "b": 1.0}, 6.0, cost=EvaluationCost(None, 11, 300.0))
    mean, stds = mean_result([first, second, third])
    assert (mean.metrics, mean.seconds) == ({"a": 0.5}, 4.0)
    assert stds == {"a": 0.25}
    assert mean.cost == EvaluationCost(2.0, 10, 300.0)  # 9.5 images, to the even
    assert (mean.curve, mean.artifact) == (curve, b"x")
    assert mean_result([first]) == (first, {})


def test_one_failure_fails_the_mean() -> None:
    failed = TrainingResult({}, 1.0, "error", "KeyError", breach=True)
    assert mean_result([TrainingResult({"a": 1.0}, 1.0), failed]) == (failed, {})


def test_repeats_have_seeds_of_their_own_and_the_first_the_searchs() -> None:
    seeds = [repeat_seed(7, ordinal) for ordinal in range(20)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 20
    assert seeds == [repeat_seed(7, ordinal) for ordinal in range(20)]
