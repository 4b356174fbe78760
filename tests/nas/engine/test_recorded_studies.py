"""Studies and caches of release 0.1.0: found by the same commands, gone on with, and nothing in them paid for again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import nas
from evaluators.devices.device import LatencyMeasurement
from nas.cache import EvaluationCache
from nas.candidates.candidate import Candidate
from nas.engine.fingerprint import legacy_fingerprint
from nas.engine.problem import build_problem
from nas.engine.settings import SearchSettings
from nas.engine.verification import load_verified
from nas.study.load import load_candidates, load_document, load_study, stored_study
from nas.study.storage import open_storage
from nas.study.study import STUDY_ATTRIBUTE
from tests.support.command_line import run_command
from tests.support.formula_device import FormulaDevice
from tests.support.recorded_release import unpack_release

TRAINING = [f"--training={setting}" for setting in ("steps=4", "image_size=32", "max_train_images=64")]
TRAINING += ["--training=max_val_images=32", "--training=width=0.25"]
SEARCH = ["search", "--space=mnasnet", "--hw=edgetpu", "--limit=latency<=4ms", "--trials=24", "--train=4", *TRAINING]
NAME = "mnasnet-pixel4_edgetpu-2a86f4e2"
SHARED_CACHE = "--cache=runs/evaluations.sqlite"
HALVING = "sqlite:///runs/halving.db"


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded files, in the current folder."""
    unpack_release("0.1.0", tmp_path)
    monkeypatch.chdir(tmp_path)


def result_of(*arguments: str) -> dict[str, Any]:
    command = run_command(*arguments, "--workers=0", "--json")
    assert command.code == 0, command.err
    result: dict[str, Any] = command.json
    return result


def candidates_of(where: str, name: str | None = None) -> list[Candidate]:
    return load_candidates(where, name)[1]


def by_number(candidates: list[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda c: (c.reference, c.number))


@dataclass
class CountingDevice(FormulaDevice):
    """Counts what it is asked for."""

    requests: list[str] = field(default_factory=list)

    def measure(self, graph: nas.Graph, *, seed: int = 0, keep: Path | None = None) -> LatencyMeasurement:
        self.requests.append(graph.digest)
        return super().measure(graph, seed=seed, keep=keep)


def test_the_same_command_finds_its_finished_study_and_repeats_nothing() -> None:
    journal = f"runs/{NAME}/study.journal"
    before = candidates_of(journal)
    result = result_of(*SEARCH, "--directory=runs")
    assert result["study"] == NAME
    tally = result["tally"]
    assert (tally["misses"], tally["full_hits"], tally["resumed"]) == (0, 0, 7)
    assert candidates_of(journal) == before
    assert sorted(Path("runs").iterdir()) == sorted(
        Path("runs", name) for name in ("evaluations.sqlite", "halving.db", NAME, "repeats", "verified")
    )


def test_a_stopped_study_is_finished_as_if_it_had_not_been_stopped() -> None:
    finished, stopped = f"runs/{NAME}/study.journal", f"stopped/{NAME}/study.journal"
    begun = candidates_of(stopped)
    assert len(begun) < len(candidates_of(finished))
    result = result_of(*SEARCH, "--directory=stopped", SHARED_CACHE)
    assert result["study"] == NAME
    tally = result["tally"]
    assert (tally["misses"], tally["full_hits"], tally["resumed"]) == (0, 2, 5)
    assert candidates_of(stopped)[: len(begun)] == begun
    assert by_number(candidates_of(stopped)) == by_number(candidates_of(finished))


def test_a_stopped_study_is_finished_with_a_cache_of_its_own() -> None:
    result = result_of("resume", f"stopped/{NAME}")
    assert (result["tally"]["misses"], result["tally"]["resumed"]) == (2, 5)
    finished = {c.key: c.status for c in candidates_of(f"runs/{NAME}/study.journal")}
    assert {c.key: c.status for c in candidates_of(f"stopped/{NAME}/study.journal")} == finished


def test_a_new_study_takes_every_training_from_the_recorded_cache() -> None:
    result = result_of(*SEARCH, "--directory=new", SHARED_CACHE)
    assert (result["tally"]["misses"], result["tally"]["full_hits"]) == (0, 7)
    with EvaluationCache("runs/evaluations.sqlite") as cache:  # the networks were recognised, and none stored anew
        assert (cache.summary().networks, cache.summary().collisions) == (17, 0)
    assert result["study"] != NAME
    assert load_document(f"new/{result['study']}/study.journal", None)[0] == result["study"]


def test_repeated_and_shorter_trainings_are_resumed() -> None:
    before = candidates_of("runs/repeats/study.journal")
    result = result_of("resume", "repeats", "--directory=runs")
    assert result["tally"]["misses"] == 0
    assert candidates_of("runs/repeats/study.journal") == before
    before = candidates_of(HALVING)
    assert {c.status for c in before} == {"trained", "stopped"}
    result = result_of("resume", "halving", f"--storage={HALVING}", "--directory=runs")
    assert result["tally"]["misses"] == 0
    assert candidates_of(HALVING) == before


def test_what_a_device_measured_is_not_measured_again() -> None:
    verified = load_verified(load_study("runs/verified/study.journal", None))
    assert [v.measured_ms is not None for v in verified] == [True] * 3
    device = CountingDevice()
    result = nas.search(
        "nasbench201", "edgetpu", trials=8, train=0, verify=3, device=device, study="verified", directory="runs"
    )
    assert device.requests == []
    assert list(result.verified) == verified


def test_settings_that_differ_are_named_with_both_values() -> None:
    command = run_command(*SEARCH, "--directory=runs", f"--study={NAME}", "--trials=25", "--training=steps=5")
    assert command.code == 2
    assert "training.steps is 4 there and 5 here" in command.err
    assert "trials is 24 there and 25 here" in command.err
    assert "schema" not in command.err
    assert f"nas resume runs/{NAME}" in command.err


@pytest.mark.parametrize(
    ("where", "device"),
    [
        (f"runs/{NAME}/study.journal", ""),
        (f"stopped/{NAME}/study.journal", ""),
        ("runs/repeats/study.journal", ""),
        ("runs/verified/study.journal", "formula"),
        (HALVING, ""),
    ],
)
def test_the_fingerprint_of_release_0_1_0_is_computed_as_it_was(where: str, device: str) -> None:
    (raw,) = open_storage(where).get_all_studies()
    recorded_fingerprint = raw.user_attrs[STUDY_ATTRIBUTE]["fingerprint"]
    problem = build_problem(SearchSettings.from_document(load_study(where, None).document))
    assert legacy_fingerprint(problem, device) == recorded_fingerprint


def test_a_study_in_another_folder_is_shown(tmp_path: Path) -> None:
    shutil.move(f"runs/{NAME}", tmp_path / "moved")
    location, name = stored_study(str(tmp_path / "moved"), Path("runs"))
    assert load_document(location, name)[0] == NAME
    command = run_command("show", str(tmp_path / "moved"), "--json")
    assert len(command.json["candidates"]) == 27
