"""The engine: budgets, limits, repeats, failures, resumption, determinism."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

import nas
from evaluators.evaluator import DataError
from nas.candidates.pareto import dominates
from nas.study.load import load_candidates
from nas.study.storage import StudyError, open_storage
from search_spaces.registry import UnknownName
from tests.support.fakes import CountingEvaluator, small_space


def run(directory: Path, evaluator: CountingEvaluator | None = None, **changes: Any) -> nas.SearchResult:
    arguments: dict[str, Any] = {
        "space": small_space,
        "hw": "edgetpu",
        "trials": 60,
        "train": 6,
        "directory": directory,
    }
    if "data" not in changes:  # else the data's own
        arguments["evaluator"] = evaluator or CountingEvaluator()
    return nas.search(**{**arguments, **changes})


def test_a_search_costs_trains_and_fronts(tmp_path: Path) -> None:
    evaluator = CountingEvaluator()
    result = run(tmp_path, evaluator)
    assert len(result.candidates) == 60
    assert len({c.key for c in result.candidates}) == 60
    assert len(evaluator.seen) == len(set(evaluator.seen)) == 6
    trained = [c for c in result.candidates if c.status == "trained"]
    failed = [c for c in result.candidates if c.status == "failed"]
    assert len(trained) + len(failed) == 6
    assert all(c.reason.startswith("diverged: the loss is nan") for c in failed)
    losses = {c.key: (c.metrics["latency_ms"], -c.metrics["map"]) for c in trained}
    best = {key for key, loss in losses.items() if not any(dominates(other, loss) for other in losses.values())}
    assert {c.key for c in result.front} == best
    assert [c.metrics["latency_ms"] for c in result.front] == sorted(c.metrics["latency_ms"] for c in result.front)
    assert result.front[0].measurements["latency_ms"].source.startswith("predicted:")
    assert result.front[0].measurements["map"].source.startswith("trained:")
    assert nas.functional_hash(result.graph(result.front[0])) == result.front[0].key


def test_the_frame_has_a_row_a_candidate(tmp_path: Path) -> None:
    result = run(tmp_path)
    frame = result.to_frame()
    assert len(frame) == 60
    assert set(frame.loc[frame["front"], "key"]) == {c.key for c in result.front}
    assert {"latency_ms", "map", "macs", "params", "status", "architecture", "reason"} <= set(frame.columns)


def test_one_seed_one_result(tmp_path: Path) -> None:
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    assert [c.to_document() for c in first.candidates] == [c.to_document() for c in again.candidates]
    other = run(tmp_path / "c", seed=1)
    assert [c.key for c in other.candidates] != [c.key for c in first.candidates]


def test_hard_limits_are_checked_before_training(tmp_path: Path) -> None:
    unlimited = run(tmp_path / "a", train=0)
    bound = sorted(c.metrics["latency_ms"] for c in unlimited.candidates)[20]
    evaluator = CountingEvaluator()
    result = run(tmp_path / "b", evaluator, limits={"latency_ms": bound}, repair=False)
    over = [c for c in result.candidates if c.metrics["latency_ms"] > bound]
    assert over
    assert all(c.status == "infeasible" and c.constraint_violation > 0 and "latency_ms" in c.reason for c in over)
    assert all(c.metrics["latency_ms"] <= bound for c in result.front)
    assert all(c.status != "infeasible" for c in result.candidates if c.metrics["latency_ms"] <= bound)
    assert len(evaluator.seen) == 6


def test_candidates_over_a_limit_are_led_back(tmp_path: Path) -> None:
    limits = {"latency_ms": sorted(c.metrics["latency_ms"] for c in run(tmp_path / "a", train=0).candidates)[10]}
    fractions = [
        sum(c.status == "infeasible" for c in run(tmp_path / f"{repair}", limits=limits, repair=repair).candidates)
        for repair in (False, True)
    ]
    assert fractions[1] < fractions[0] / 2


def test_limits_that_nothing_meets_leave_an_empty_front_and_say_why(tmp_path: Path) -> None:
    from nas.report.tables import summary_lines

    result = run(tmp_path, limits=["params<=1"], trials=8, train=0)
    assert result.front == ()
    nearest = min(c.metrics["params"] for c in result.candidates)
    assert summary_lines(result)[-1] == (
        f"No candidate is within the limits; the nearest: params is {nearest:.4g}, limit params <= 1; it misses params"
        f" by {100 * (nearest - 1):,.0f} %."
    )


def test_a_quality_that_no_trained_candidate_reaches_is_said_to_be_missed(tmp_path: Path) -> None:
    from nas.report.tables import summary_lines

    result = run(tmp_path, limits=["map>=1000"], trials=20, train=4)
    assert result.front == ()
    assert {c.status for c in result.candidates} >= {"scored", "infeasible"}
    nearest = result.nearest_miss
    assert nearest is not None
    assert nearest.metrics["map"] == max(c.metrics["map"] for c in result.candidates if c.was_trained)
    assert summary_lines(result)[-1].startswith("No trained candidate is within the limits; the nearest: map is")


def test_what_lies_on_a_front_misses_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, limits=["params<=1M"], trials=8, train=0).nearest_miss is None


@pytest.mark.parametrize("name", ["../../evil", "..", ".", "a/b", "a\\b", "/evil", "nul\0", "", " "])
def test_a_study_is_kept_in_a_folder_of_its_own(name: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"is no name of a study|name is empty"):
        run(tmp_path / "a" / "b", study=name)
    assert list(tmp_path.iterdir()) == []


def test_a_space_with_a_path_for_a_name_is_kept_there_too(tmp_path: Path) -> None:
    result = run(tmp_path / "a", space=nas.Space(small_space, name="../../evil"), trials=4, train=0)
    assert result.study.startswith(".._.._evil-")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert result.directory.parent == tmp_path / "a"


def test_without_a_score_every_candidate_is_trained_and_told(tmp_path: Path) -> None:
    evaluator = CountingEvaluator()
    result = run(tmp_path, evaluator, score="none", train=10)
    assert len(evaluator.seen) == 10
    assert sum(c.status in ("trained", "failed") for c in result.candidates) == 10


def test_prediction_alone_needs_no_training(tmp_path: Path) -> None:
    result = run(tmp_path, train=0, objectives=["latency", "score", "params"], trials=80)
    assert all(c.status == "scored" for c in result.candidates)
    assert {o.metric for o in result.objectives} == {"latency_ms", "score", "params"}
    assert result.front


def test_a_space_that_runs_dry_ends_the_search(tmp_path: Path) -> None:
    def two(choose: nas.Choose) -> nas.Graph:
        b = nas.Builder()
        return b.build(b.conv(b.input((3, 8, 8)), choose.one_of("width", (8, 16)), 3))

    result = nas.search(two, "edgetpu", train=0, trials=50, directory=tmp_path)
    assert len(result.candidates) == 2


def test_random_search_is_a_searcher_too(tmp_path: Path) -> None:
    assert len(run(tmp_path, searcher="random").candidates) == 60


def test_the_study_holds_every_candidate_once(tmp_path: Path) -> None:
    result = run(tmp_path, limits={"params": 12_000}, repair=False)
    journal = result.directory / "study.journal"
    study = optuna.load_study(study_name=result.study, storage=open_storage(journal))
    trials = study.get_trials()
    assert len(trials) == len(result.candidates)
    states = {s.name: sum(t.state == s for t in trials) for s in optuna.trial.TrialState}
    by_status = {
        s: sum(c.status == s for c in result.candidates) for s in ("trained", "failed", "scored", "infeasible")
    }
    assert states["COMPLETE"] == by_status["trained"]
    assert states["FAIL"] == by_status["failed"]
    assert states["PRUNED"] == by_status["scored"] + by_status["infeasible"]
    assert study.metric_names == ["latency_ms", "map"]
    assert {t.user_attrs["nas"]["key"] for t in study.best_trials} == {c.key for c in result.front}
    broken = next(t for t in trials if t.user_attrs["status"] == "infeasible")
    assert any(value > 0 for value in broken.constraints.values())
    _, stored, _ = load_candidates(journal, None)
    assert sorted((c.to_document() for c in stored), key=lambda d: d["number"]) == [
        c.to_document() for c in result.candidates
    ]


def test_any_optuna_storage_serves(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'runs.db'}"
    first = run(tmp_path, storage=storage, trials=12, train=2)
    evaluator = CountingEvaluator()
    again = run(tmp_path, evaluator, storage=storage, trials=12, train=2)
    assert evaluator.seen == []
    assert [c.to_document() for c in again.candidates] == [c.to_document() for c in first.candidates]


def test_a_storage_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot open the storage"):
        run(tmp_path, storage="sqlite:////nowhere/at/all.db")
    with pytest.raises(StudyError, match="cannot open the storage"):
        run(tmp_path, storage="nosuch://x")


def test_the_same_call_again_evaluates_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    evaluator = CountingEvaluator()
    again = run(tmp_path, evaluator)
    assert evaluator.seen == []
    assert again.tally.resumed == 6
    assert [c.to_document() for c in again.candidates] == [c.to_document() for c in first.candidates]


def test_a_named_study_of_another_search_is_refused(tmp_path: Path) -> None:
    run(tmp_path, study="mine")
    with pytest.raises(StudyError, match=r"made with other settings \(.*trials"):
        run(tmp_path, study="mine", trials=61)


def test_a_changed_space_is_another_study(tmp_path: Path) -> None:
    def changed(choose: nas.Choose, *, image_size: int = 32, num_classes: int = 4) -> nas.Graph:
        return small_space(choose, image_size=image_size, num_classes=num_classes + 1)

    changed.__name__ = "small_space"
    assert run(tmp_path).study != run(tmp_path, space=changed).study


def test_a_half_written_line_is_cut_off(tmp_path: Path) -> None:
    first = run(tmp_path)
    journal = first.directory / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-3]) + lines[-3][:20])
    again = run(tmp_path)
    assert [c.to_document() for c in again.candidates] == [c.to_document() for c in first.candidates]
    assert len(load_candidates(journal, None)[1]) == 60


SEARCH_SCRIPT = """
import sys
from pathlib import Path
import nas
from tests.support.fakes import CountingEvaluator, small_space
folder = Path(sys.argv[1])
result = nas.search(small_space, "edgetpu", trials=150, train=24, limits={"params": 12_000}, directory=folder,
                    evaluator=CountingEvaluator(log=folder / "log", seconds=0.05))
print(result.study)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_killed_at_random_moments_nothing_is_lost_and_nothing_done_twice(tmp_path: Path) -> None:
    """Ten kills; finished candidates stay, are never evaluated again, and the end is that of an unbroken run."""
    whole = nas.search(
        small_space,
        "edgetpu",
        trials=150,
        train=24,
        limits={"params": 12_000},
        directory=tmp_path / "whole",
        evaluator=CountingEvaluator(),
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    log = folder / "log"
    journal = folder / whole.study / "study.journal"
    command = [sys.executable, "-c", SEARCH_SCRIPT, str(folder)]
    rng = random.Random(0)
    finished: set[str] = set()
    proxies = {c.key: small_space_digest(c) for c in whole.candidates}
    kills = 0
    while kills < 10:
        seen_before = log.read_text().split() if log.exists() else []
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # Wait for the search to be under way, so that the moments fall into its loop and not into imports.
        size = journal.stat().st_size if journal.exists() else 0
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            if journal.exists() and (journal.stat().st_size > size or len(seen_before) > 0):
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        _, stderr = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), stderr.decode()
        kills += 1
        evaluated_now = (log.read_text().split() if log.exists() else [])[len(seen_before) :]
        assert not {proxies[key] for key in finished} & set(evaluated_now)
        if journal.exists() and journal.stat().st_size:
            try:
                _, stored, _ = load_candidates(journal, None)
            except UnknownName:  # killed before the study was made
                stored = []
            keys = [c.key for c in stored]
            assert len(keys) == len(set(keys))
            done = {c.key for c in stored if c.status in ("trained", "failed")}
            assert finished <= done
            finished = done
    subprocess.run(command, check=True, capture_output=True)
    _, stored, _ = load_candidates(journal, None)
    assert sorted((c.to_document() for c in stored), key=lambda d: d["number"]) == [
        c.to_document() for c in whole.candidates
    ]


def small_space_digest(candidate: nas.Candidate) -> str:
    return nas.load_space(small_space, image_size=32).graph(candidate.genotype).digest


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"space": "mobildet"}, UnknownName, "no space 'mobildet'; did you mean 'mobiledet'?"),
        ({"hw": "edgetp"}, UnknownName, "did you mean 'edgetpu'?"),
        ({"searcher": "evolutoin"}, UnknownName, "did you mean 'evolution'?"),
        ({"score": "entropi"}, UnknownName, "did you mean 'entropy'?"),
        ({"data": "digit"}, UnknownName, "did you mean 'digits'?"),
        ({"data": "voc"}, DataError, "voc:VOCdevkit"),
        ({"trials": 0}, ValueError, "trials must be at least 1"),
        ({"train": -1}, ValueError, "train must be at least 0"),
        ({"train": 0, "score": "none"}, ValueError, "nothing ranks"),
    ],
)
def test_settings_that_make_no_sense_are_clear_errors(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text.replace("?", r"\?").replace("(", r"\(")):
        run(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_the_document_is_json(tmp_path: Path) -> None:
    result = run(tmp_path)
    document = json.loads(json.dumps(result.to_document()))
    assert [c["key"] for c in document["front"]] == [c.key for c in result.front]
