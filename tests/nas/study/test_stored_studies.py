"""Studies that are opened, found and read again, in journals and databases, and by their earlier names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nas.candidates.objectives import Objective
from nas.study import journal
from nas.study.load import load_document, load_notes, load_study, stored_study, study_name
from nas.study.schema import SCHEMA
from nas.study.storage import StudyError, open_storage
from nas.study.study import Study
from search_spaces.registry import UnknownName
from tests.support.recorded_release import unpack_release

OBJECTIVES = [Objective("latency_ms", "minimize")]


def open_study(storage: str | Path, name: str = "mine", **document: Any) -> Study:
    return Study.open(storage, name, OBJECTIVES, [], {"space": "small", **document}, defaults={"trials": 1000})


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_a_new_study_keeps_its_settings_in_full(kind: str, tmp_path: Path) -> None:
    where = tmp_path / "study.journal" if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    open_study(where).note("seen_a", {"n": 4})
    assert load_document(where, None) == ("mine", {"schema": SCHEMA, "space": "small", "trials": 1000})
    study = load_study(where, "mine")
    assert study.notes("seen_") == load_notes(where, None, "seen_") == open_study(where).notes("seen_")
    assert study.notes("seen_") == {"a": {"n": 4}}
    assert study.candidates() == []
    open_study(where, trials=1000)
    with pytest.raises(StudyError, match=r"made with other settings \(trials is 1000 there and 5 here\)"):
        open_study(where, trials=5)
    with pytest.raises(UnknownName, match="it holds mine"):
        load_study(where, "yours")


def test_the_advice_to_go_on_is_a_command_that_finds_the_study(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for journal_path in (Path("elsewhere", "mine", "study.journal"), Path("mine.journal")):
        open_study(journal_path)
        with pytest.raises(StudyError, match="nas resume ") as caught:
            open_study(journal_path, trials=5)
        advised = str(caught.value).rpartition("nas resume ")[2]
        assert stored_study(advised, Path("nas-runs")) == (journal_path, None)
    open_study(f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(StudyError, match="nas resume mine, with the same --storage"):
        open_study(f"sqlite:///{tmp_path}/study.db", trials=5)


def test_a_study_is_found_by_the_first_name_that_is_there(tmp_path: Path) -> None:
    names = ["space-hw-new", "space-hw-old"]
    url = f"sqlite:///{tmp_path}/study.db"
    journal_path = tmp_path / "all.journal"
    assert study_name(names, tmp_path) == study_name(names, tmp_path, journal_path) == "space-hw-new"
    assert list(tmp_path.iterdir()) == []  # to look makes nothing
    assert study_name(names, tmp_path, url) == "space-hw-new"
    open_study(tmp_path / "space-hw-old" / "study.journal", "space-hw-old")
    open_study(url, "space-hw-old")
    open_study(journal_path, "space-hw-old")
    for storage in (None, url, journal_path):
        assert study_name(names, tmp_path, storage) == "space-hw-old"
    open_study(url, "space-hw-new")
    assert study_name(names, tmp_path, url) == "space-hw-new"


def test_a_full_disk_leaves_no_half_line_in_the_journal(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "study.journal"
    study = open_study(path)
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_SYNC_EVERY_S", -1.0)
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            study.note("seen_a", {"n": 1})
    assert path.read_bytes() == before
    study.note("seen_a", {"n": 2})
    assert load_notes(path, None, "seen_") == {"a": {"n": 2}}
    for line in path.read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("runs/mnasnet-pixel4_edgetpu-2a86f4e2/study.journal", 27),
        ("stopped/mnasnet-pixel4_edgetpu-2a86f4e2/study.journal", None),
        ("runs/repeats/study.journal", 4),
        ("runs/verified/study.journal", 8),
        ("sqlite:///runs/halving.db", 6),
    ],
)
def test_recorded_studies_of_release_0_1_0_are_read(
    where: str, count: int | None, tmp_path: Path, monkeypatch: Any
) -> None:
    unpack_release("0.1.0", tmp_path)
    monkeypatch.chdir(tmp_path)
    study = load_study(where, None)
    assert study.document["schema"] == SCHEMA
    assert study.document["fingerprint"] == {"evaluator_version": "1"}
    candidates = study.candidates()
    assert count is None or len(candidates) == count
    assert {c.key.partition(":")[0] for c in candidates} == {"exact-2"}
    # What it holds is told from the storage itself, by another reader
    (raw,) = open_storage(where).get_all_studies()
    trials = open_storage(where).get_all_trials(raw._study_id)
    assert [c.number for c in candidates] == [t.user_attrs["nas"]["number"] for t in trials]
    assert [c.status for c in candidates] == [t.user_attrs["status"] for t in trials]
    stored_trained = [t.user_attrs["nas"]["measurements"] for t in trials if t.user_attrs["status"] == "trained"]
    trained = [c.measurements for c in candidates if c.status == "trained"]
    for figures, stored in zip(trained, stored_trained, strict=True):
        assert {n: m.value for n, m in figures.items()} == {n: m["value"] for n, m in stored.items()}
