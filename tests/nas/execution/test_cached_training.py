"""No network is paid for twice: the engine with the evaluation cache, and the commands that look at it."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

import nas
from evaluators.evaluator import Diverged, Evaluation, EvaluationJob, QualityMetric
from nas.cache import EvaluationCache
from nas.cli.main import main
from nas.execution.cached_training import repeat_seed
from nas.searchers.evolution import AgingEvolution
from nas.searchers.protocol import Outcome
from nas.study.storage import open_storage
from tests.support.fakes import StandIn

FLAT = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
ROUNDABOUT = "|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|nor_conv_1x1~2|"  # node 2 is zero


@dataclass
class SeededEvaluator(StandIn):
    """Quality is a function of the network and the seed; every training is counted; one in nine networks diverges."""

    trained: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers: int = 1  # the version of what it answers

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("accuracy"),)

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        return {"evaluator": f"seeded/{self.answers}", "data": "none", "fidelity": {"steps": 0}}

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        key = nas.functional_hash(job.graph)
        self.trained[key, job.seed] += 1
        number = int(key[-8:], 16)
        if number % 9 == 0:
            raise Diverged("the loss is nan after 3 steps")
        return Evaluation({"accuracy": (number % 9973) / 9973 * 0.9 + random.Random(job.seed).random() * 0.1})


def search(directory: Path, evaluator: SeededEvaluator | None = None, **changes: Any) -> nas.SearchResult:
    """Plain evolution on NAS-Bench-201 cells: most children are networks that were met before."""
    arguments: dict[str, Any] = {
        "space": "nasbench201",
        "hw": "edgetpu",
        "space_options": {"cells": 1},
        "evaluator": evaluator or SeededEvaluator(),
        "objectives": ["accuracy"],
        "score": "none",
        "trials": 500,
        "train": 40,
        "searcher": "evolution",
        "searcher_options": {"population": 12, "tournament": 6},
        "directory": directory,
    }
    return nas.search(**{**arguments, **changes})


@pytest.fixture
def told_outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What the searcher is told, in order."""
    outcomes: list[Outcome] = []
    tell = AgingEvolution.tell

    def recorded(self: AgingEvolution, outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(self, outcome)

    monkeypatch.setattr(AgingEvolution, "tell", recorded)
    return outcomes


@pytest.mark.parametrize("evaluations", [1, 3])
def test_the_searcher_sees_no_cache(tmp_path: Path, told_outcomes: list[Outcome], evaluations: int) -> None:
    search(tmp_path / "on", evaluations=evaluations)
    shared = told_outcomes.copy()
    told_outcomes.clear()
    search(tmp_path / "off", evaluations=evaluations, cache=None)
    assert len(shared) > len(told_outcomes) >= 30  # the same 40 trainings go further
    assert shared[: len(told_outcomes)] == told_outcomes


def test_a_network_is_trained_once_and_failures_again(tmp_path: Path) -> None:
    evaluator = SeededEvaluator()
    result = search(tmp_path, evaluator, train=60)
    failed = {c.key for c in result.candidates if c.status == "failed"}
    assert failed
    assert all(count == 1 for (key, _), count in evaluator.trained.items() if key not in failed)
    assert result.tally.duplicates > 0
    assert result.tally.full_hits + result.tally.in_flight_hits > 0
    assert result.tally.misses == evaluator.trained.total()
    assert result.tally.hash_seconds > 0


def test_a_later_search_pays_for_what_is_new_only(tmp_path: Path) -> None:
    first, second, other = SeededEvaluator(), SeededEvaluator(), SeededEvaluator(answers=2)
    a = search(tmp_path, first)
    b = search(tmp_path, second, train=50, study="longer")
    assert {(c.key, c.metrics.get("accuracy")) for c in a.candidates} <= {
        (c.key, c.metrics.get("accuracy")) for c in b.candidates
    }
    cached_entries = {entry for entry, _ in first.trained.items()}
    failed = {c.key for c in b.candidates if c.status == "failed"}
    assert not [entry for entry in second.trained if entry in cached_entries and entry[0] not in failed]
    assert b.tally.saved_seconds >= 0
    search(tmp_path, other, study="another training")
    assert other.trained.keys() == first.trained.keys()  # another version's answers are none of its own


def test_a_seed_has_its_own_answers(tmp_path: Path) -> None:
    first, second = SeededEvaluator(), SeededEvaluator()
    search(tmp_path, first, seed=1)
    search(tmp_path, second, seed=2)
    assert {seed for _, seed in first.trained} == {1}
    assert {seed for _, seed in second.trained} == {2}


def test_several_trainings_are_averaged(tmp_path: Path) -> None:
    evaluator = SeededEvaluator()
    result = search(tmp_path, evaluator, evaluations=3, score="entropy", trials=30, train=4, rules="exact")
    trained = [c for c in result.candidates if c.status == "trained"]
    assert trained
    for candidate in trained:
        number = int(candidate.key[-8:], 16)
        values = [
            (number % 9973) / 9973 * 0.9 + random.Random(repeat_seed(0, ordinal)).random() * 0.1 for ordinal in range(3)
        ]
        measurement = candidate.measurements["accuracy"]
        assert measurement.value == pytest.approx(sum(values) / 3, abs=1e-12)
        assert measurement.std == pytest.approx(pd.Series(values).std(), abs=1e-12)
    assert len({repeat_seed(0, ordinal) for ordinal in range(3)}) == 3
    again = search(tmp_path, evaluator, evaluations=3, score="entropy", trials=30, train=4, rules="exact")
    assert [c.metrics for c in again.candidates] == [c.metrics for c in result.candidates]


def test_a_network_met_again_is_trained_up_to_its_number(tmp_path: Path) -> None:
    evaluator = SeededEvaluator()
    result = search(tmp_path, evaluator, evaluations=2, train=150)
    assert result.tally.partial_hits > 0
    failed = {c.key for c in result.candidates if c.status == "failed"}
    trainings = Counter(key for key, _ in evaluator.trained if key not in failed)
    assert max(trainings.values()) == 2
    forgetful = SeededEvaluator()
    search(tmp_path / "forgetful", forgetful, forget=1.0, train=150)
    trainings = Counter(key for key, _ in forgetful.trained)
    assert max(trainings.values()) > 2  # each sight trains anew, with another seed


def test_resampling_finds_new_networks_sooner(tmp_path: Path) -> None:
    plain = search(tmp_path / "plain", train=120)
    options = {"population": 12, "tournament": 6}
    resampled = search(tmp_path / "resampled", searcher_options={**options, "resample": 20}, train=120)
    tabu = search(tmp_path / "tabu", searcher_options={**options, "tabu": 2}, train=120)
    assert resampled.tally.duplicates < tabu.tally.duplicates < plain.tally.duplicates
    with pytest.raises(ValueError, match="no option 'resampel'; its options: population, resample, tabu, tournament"):
        search(tmp_path, searcher_options={"resampel": 3})


def test_two_writings_share_a_training(tmp_path: Path) -> None:
    space = nas.load_space("nasbench201", cells=1)
    assert nas.functional_hash(FLAT, space=space) == nas.functional_hash(ROUNDABOUT, space=space)


def test_the_tally_is_kept_with_the_study(tmp_path: Path) -> None:
    result = search(tmp_path)
    storage = open_storage(result.directory / "study.journal")
    kept = optuna.load_study(study_name=result.study, storage=storage).user_attrs["nas_tally"]
    assert kept["misses"] == result.tally.misses > 0
    assert kept["full_hits"] == result.tally.full_hits
    assert result.to_document()["tally"]["hash_seconds"] == result.tally.hash_seconds


def test_a_cache_may_be_given_and_is_left_open(tmp_path: Path) -> None:
    with EvaluationCache("sqlite://") as cache:
        result = search(tmp_path, cache=cache)
        summary = cache.summary()
        assert summary.observations == result.tally.misses - result.tally.failed
        assert summary.networks >= summary.observations
    assert not (tmp_path / "evaluations.sqlite").exists()


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        search(tmp_path, evaluations=0)
    with pytest.raises(ValueError, match="revisit_probability must be 0 to 1"):
        search(tmp_path, forget=2)
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        search(tmp_path, rules="exct")


# -- the commands --------------------------------------------------------------------------------------------------


def nas_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_hash_tells_networks_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = nas_command(capsys, "hash", f"nasbench201={FLAT}", f"nasbench201={ROUNDABOUT}")
    assert (code, out.splitlines()[-1]) == (0, "the same network")
    written = tmp_path / "network.json"
    written.write_text(nas.load_network("mobiledet_cpu").to_json())
    code, out, _ = nas_command(capsys, "hash", "mobiledet_cpu", str(written), "--json")
    assert (code, json.loads(out)["same"]) == (0, True)
    code, out, _ = nas_command(capsys, "hash", "mobiledet_cpu", "mobiledet_dsp")
    assert code == 1
    assert "different: the first has node 1, conv(out_channels=16" in out
    code, out, err = nas_command(capsys, "hash", "mobiledet_cpu", "--rules", "bn-scal")
    assert (code, "did you mean 'bn-scale'" in err) == (2, True)
    code, _, err = nas_command(capsys, "hash", "missing.json")
    assert (code, "no file 'missing.json'" in err) == (2, True)
    code, _, err = nas_command(capsys, "hash", "mobiledet_cpu", "mobiledet_cpu", "mobiledet_cpu")
    assert (code, "one or two networks" in err) == (2, True)


def test_the_cache_is_shown_exported_and_cleared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = ["--directory", str(tmp_path)]
    code, _, err = nas_command(capsys, "cache", "show", *directory)
    assert (code, "no evaluation cache" in err) == (2, True)
    result = search(tmp_path)
    answered = result.tally.misses - result.tally.failed
    code, out, _ = nas_command(capsys, "cache", "show", *directory, "--json")
    assert (code, json.loads(out)["observations"]) == (0, answered)
    code, out, _ = nas_command(capsys, "cache", "show", *directory)
    assert (code, f"{answered} trainings" in out) == (0, True)
    table = tmp_path / "trainings.csv"
    code, out, _ = nas_command(capsys, "cache", "export", str(table), *directory)
    assert code == 0
    assert len(pd.read_csv(table)) == answered
    code, out, _ = nas_command(capsys, "cache", "clear", *directory)
    assert (code, out.strip()) == (0, f"{answered} trainings removed")
    code, out, _ = nas_command(capsys, "cache", "show", *directory, "--json")
    assert json.loads(out)["observations"] == 0
