"""Trained weights in a study's folder: whole or not at all, and within the budget."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from nas.candidates.objectives import Objective
from nas.study.artifacts import ARTIFACT_NOTE, ArtifactError, WeightStore, keep_weights, read_artifact
from nas.study.study import Study

MIB = 2**20


def weights(value: float = 1.0, mib: float = 0.0) -> bytes:
    """A safetensors file of about that size."""
    return save({"a": torch.full([4, 2], value), "filler": torch.zeros(int(mib * MIB), dtype=torch.uint8)}, {"of": "x"})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "weights").iterdir())


def test_weights_come_back_with_their_metadata(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 1)
    path = store.put("exact-2:1f", 1.0, weights(0.5), metadata={"classes": "one, two", "of": "y"})
    assert path == store.path("exact-2:1f") == store.path("exact-2:1f", 1.0)
    assert path is not None
    tensors, metadata = read_artifact(path)
    assert tensors["a"].tolist() == [[0.5, 0.5]] * 4
    assert metadata == {"classes": "one, two", "of": "y"}
    assert store.path("exact-2:1e") is store.path("exact-2:1f", 0.5) is None
    store.put("exact-2:1f", 1.0, weights(0.75))
    assert read_artifact(path)[0]["a"][0, 0] == 0.75
    assert len(names(tmp_path)) == 1


def test_a_file_is_named_for_key_fidelity_and_ordinal(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 1)
    store.put("1f", 1 / 3, weights(1))
    store.put("1f", 1.0, weights(2), ordinal=2)
    store.put("1f", 1.0, weights(3), ordinal=10)
    assert names(tmp_path) == ["1f@1.10.safetensors", "1f@1.2.safetensors", "1f@1_3.safetensors"]
    assert store.path("1f") == tmp_path / "weights" / "1f@1.2.safetensors"
    assert store.path("1f", 1 / 3) == tmp_path / "weights" / "1f@1_3.safetensors"


@given(st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=8))
def test_any_key_is_a_file_of_its_own(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    folder = tmp_path_factory.mktemp("study")
    store = WeightStore(folder, 1)
    keys = [*keys, keys[0].upper() + "/..", "x" * 5000]
    for number, key in enumerate(dict.fromkeys(keys)):
        path = store.put(key, 1.0, weights(number))
        assert path is not None
        assert path.parent == folder / "weights"
        assert path.name.isascii()
        assert len(path.name) < 200
    for number, key in enumerate(dict.fromkeys(keys)):
        path = store.path(key)
        assert path is not None
        assert read_artifact(path)[0]["a"][0, 0] == number


def put_all(store: WeightStore, keys: Sequence[str], mib: float = 1.0) -> None:
    """Weights of that size under each key, the last the most recent."""
    for age, key in enumerate(reversed(keys)):
        path = store.put(key, 1.0, weights(mib=mib))
        assert path is not None
        os.utime(path, (1e9 - age, 1e9 - age))


def test_within_the_budget_the_front_stays_and_then_the_most_recent(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 3.5)
    put_all(store, ["a", "b", "c", "d", "e"])
    assert [path.name for path in store.prune(["b", "a", "not trained"])] == ["d@1.safetensors", "c@1.safetensors"]
    assert names(tmp_path) == ["a@1.safetensors", "b@1.safetensors", "e@1.safetensors"]
    assert store.prune(["b", "a"]) == []
    store = WeightStore(tmp_path, 1.5)
    store.prune(["b", "a", "b"])
    assert names(tmp_path) == ["b@1.safetensors"]


def test_of_one_candidate_the_longest_training_stays(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 10)
    for fidelity, ordinal in ((1 / 9, 0), (1.0, 1), (1 / 3, 0), (1.0, 0)):
        store.put("a", fidelity, weights(mib=1), ordinal=ordinal)
    WeightStore(tmp_path, 2.5).prune(["a"])
    assert names(tmp_path) == ["a@1.1.safetensors", "a@1.safetensors"]


def test_what_is_larger_than_the_room_leaves_it_to_smaller_ones(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 10)
    put_all(store, ["small"], 0.5)
    put_all(store, ["large"], 5)
    WeightStore(tmp_path, 1).prune(["large", "small"])
    assert names(tmp_path) == ["small@1.safetensors"]


def test_with_a_budget_of_nothing_nothing_is_written(tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "study", 0)
    assert store.put("a", 1.0, weights()) is None
    assert store.path("a") is None
    assert store.prune(["a"]) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="0 MiB or more, not -1"):
        WeightStore(tmp_path, -1)


def test_weights_above_the_whole_budget_are_not_written(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 1)
    assert store.put("a", 1.0, weights(mib=2)) is None
    assert not (tmp_path / "weights").exists()


def test_content_that_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 1)
    whole = weights()
    header = b'{"a": 1}'
    for content in (
        b"",
        b"pickle" * 10,
        whole[:-1],
        whole + b"x",
        whole[:40],
        len(header).to_bytes(8, "little") + header,
    ):
        with pytest.raises(ArtifactError, match="weights"):
            store.put("a", 1.0, content)
    assert not (tmp_path / "weights").exists()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(whole[:40])
    with pytest.raises(ArtifactError, match="cannot read the weights"):
        read_artifact(damaged)
    with pytest.raises(ArtifactError, match="cannot read the weights"):
        read_artifact(tmp_path / "missing.safetensors")


def test_files_of_others_are_left_alone_and_half_written_ones_of_the_dead_are_not(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 1)
    store.put("a", 1.0, weights())
    folder = tmp_path / "weights"
    for name in ("mine.safetensors", "notes.txt", ".a.new.half", ".a.old.half"):
        (folder / name).write_bytes(b"0" * 2 * MIB)
    long_ago = time.time() - 7200
    os.utime(folder / ".a.old.half", (long_ago, long_ago))
    store.prune()
    assert names(tmp_path) == [".a.new.half", "a@1.safetensors", "mine.safetensors", "notes.txt"]


def full_disk(*args: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_the_weights_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study.open(tmp_path / "study.journal", "s", [Objective("latency_ms", "minimize")], [], {"space": "small"})
    store = WeightStore(tmp_path, 1)
    kept = keep_weights(study, store, "exact-2:1f", 1.0, weights(0.5), metadata={"classes": "one"})
    assert kept is not None
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        assert keep_weights(study, store, "exact-2:1f", 1.0, weights(0.75)) is None
        assert keep_weights(study, store, "2f", 1 / 3, weights(), ordinal=1) is None
    assert read_artifact(kept)[0]["a"][0, 0] == 0.5
    assert names(tmp_path) == [kept.name]
    notes = study.notes(ARTIFACT_NOTE)
    assert "No space left" in notes["2f"].pop("warning")
    assert notes["2f"] == {"fidelity": "1/3", "ordinal": 1}
    keep_weights(study, store, "2f", 1 / 3, weights(), ordinal=1)
    assert study.notes(ARTIFACT_NOTE)["2f"] == {
        "fidelity": "1/3",
        "ordinal": 1,
        "artifact": "weights/2f@1_3.1.safetensors",
    }
    assert keep_weights(study, store, "3f", 1.0, b"no weights") is None
    assert "safetensors" in study.notes(ARTIFACT_NOTE)["3f"]["warning"]
    assert keep_weights(study, WeightStore(tmp_path, 0), "4f", 1.0, weights()) is None
    assert "4f" not in study.notes(ARTIFACT_NOTE)


def test_the_store_is_pruned_at_once_where_the_best_are_known(tmp_path: Path) -> None:
    study = Study.open(tmp_path / "study.journal", "s", [Objective("latency_ms", "minimize")], [], {"space": "small"})
    store = WeightStore(tmp_path, 2.5)
    for number, key in enumerate(["a", "b", "c"]):
        path = keep_weights(study, store, key, 1.0, weights(mib=1), best=["a"])
        assert path is not None
        os.utime(path, (1e9 + number, 1e9 + number))
    assert names(tmp_path) == ["a@1.safetensors", "c@1.safetensors"]
    assert keep_weights(study, store, "d", 1.0, weights(mib=1), best=["a", "c"]) is None
    assert {*study.notes(ARTIFACT_NOTE)} == {"a", "b", "c"}


def test_weights_stay_whole_where_the_writer_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = WeightStore(tmp_path, 1)
    path = store.put("a", 1.0, weights(0.5))
    assert path is not None

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            store.put("a", 1.0, weights(0.75))
    assert names(tmp_path) == [path.name]
    assert read_artifact(path)[0]["a"][0, 0] == 0.5
