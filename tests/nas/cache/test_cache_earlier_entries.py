"""Caches of earlier releases: their entries hit, and are merged where they have become one."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import nas
from nas.cache import CacheKey, EvaluationCache
from nas.cache.records import question_digest
from nas.cache.tables import SCHEMA_VERSION, decompress_form
from nas.hashing import functional_hash
from search_spaces.graph.serialise import graph_from_json
from tests.support.cached_networks import gives, mark_forgotten, no_training, stored_network, unexpected_comparison
from tests.support.recorded_release import unpack_release

NOW = CacheKey("sgd/1", "digits-5f2c", {"steps": 300}, "from 0")


def key_of_release(release: str, evaluator: str = "sgd/1") -> CacheKey:
    return CacheKey(f"{evaluator} nas-{release}", "digits-5f2c", {"steps": 300}, "from 0")


def make_older(path: Path) -> None:
    """Give a cache the version of the tables that release 0.1.0 wrote."""
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE nas_cache_version SET version = 1")


def trained_by(path: Path, release: str, *metrics: float, form: str = "abc") -> None:
    """A cache in which a release trained a network, once for each of the metrics."""
    with EvaluationCache(path) as cache:
        for ordinal, value in enumerate(metrics):
            claim = cache.claim(stored_network(cache, form), key_of_release(release), ordinal)
            assert claim is not None
            claim.complete({"map": value}, 2.0)
    make_older(path)


def maps(path: Path, cache_key: CacheKey = NOW) -> list[float]:
    with EvaluationCache(path) as cache:
        return [o.metrics["map"] for o in cache.lookup(stored_network(cache), cache_key).observations]


def stored_evaluators(path: Path) -> set[str]:
    with EvaluationCache(path) as cache:
        return {question.evaluator for question in cache.summary().questions}


def test_entries_of_an_earlier_release_hit(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    trained_by(path, "0.1.0", 0.5, 0.7)
    with EvaluationCache(path) as cache:
        result = cache.evaluate(stored_network(cache), NOW, no_training, repeats=2)
        assert result.kind == "full"
        assert result.metrics == {"map": pytest.approx(0.6)}
        assert cache.summary().observations == 2
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT version FROM nas_cache_version").fetchall() == [(SCHEMA_VERSION,)]
    assert stored_evaluators(path) == {"sgd/1"}


def test_entries_that_became_one_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    trained_by(path, "0.1.0", 0.5)
    trained_by(path, "0.1.1.dev0+g12", 0.25, 0.75)
    assert maps(path) == [0.5, 0.75]  # of two with one ordinal, the one that was recorded first
    assert stored_evaluators(path) == {"sgd/1"}


def test_an_entry_that_counts_goes_before_a_forgotten_one(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    trained_by(path, "0.1.0", 0.5)
    with EvaluationCache(path) as cache:
        mark_forgotten(cache, stored_network(cache), NOW)
    trained_by(path, "0.2.0", 0.25)
    assert maps(path) == [0.25]


def test_what_a_running_older_search_writes_is_taken_over_at_the_next_opening(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    trained_by(path, "0.1.0", 0.5)
    with EvaluationCache(path) as cache:  # the file is of this release now, and the older search does not know
        claim = cache.claim(stored_network(cache), key_of_release("0.1.0"), 1)
        assert claim is not None
        assert claim.complete({"map": 0.75}, 1.0)
    assert maps(path) == [0.5, 0.75]


def test_an_evaluator_that_only_sounds_like_it_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    for name in ("my nas-like trainer", "sgd/1 nas-", "nas-0.1.0"):
        with EvaluationCache(path) as cache:
            cache.evaluate(stored_network(cache), CacheKey(name, "d", {}, "s"), gives(0.5))
        make_older(path)
    assert stored_evaluators(path) == {"my nas-like trainer", "sgd/1 nas-", "nas-0.1.0"}


def test_a_fidelity_under_an_earlier_name_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    earlier = CacheKey("mine/1 nas-0.1.0", "d", {"share": "1/3"}, "from 0")
    with EvaluationCache(path) as cache:
        cache.evaluate(stored_network(cache), earlier, gives(0.5))
    make_older(path)
    with EvaluationCache(path) as cache:
        (question,) = cache.summary().questions
        assert (question.evaluator, question.fidelity) == ("mine/1", '{"share": "1/3"}')
        assert cache.export()["fidelity"].tolist() == ['{"share": "1/3"}']
    assert maps(path, CacheKey("mine/1", "d", {"share": "1/3"}, "from 0")) == [0.5]


def test_several_may_open_an_older_cache_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    for number in range(20):
        trained_by(path, f"0.1.{number % 2}", 0.5, 0.75, form="abc" + "x" * number)
    start = threading.Barrier(6)

    def open_together(_: int) -> None:
        start.wait()
        EvaluationCache(path).close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(open_together, range(6)))
    with EvaluationCache(path) as cache:
        assert cache.summary().observations == 40
        assert [question.evaluator for question in cache.summary().questions] == ["sgd/1"]
    assert maps(path) == [0.5, 0.75]


def test_the_names_of_layers_are_no_part_of_a_network(tmp_path: Path) -> None:
    space = nas.load_space("nasbench201")
    named = space.graph(space.sample(random.Random(0)))
    document = json.loads(named.to_json())
    assert document.pop("labels")
    bare = graph_from_json(json.dumps(document))
    with EvaluationCache(tmp_path / "cache.db") as cache:
        stored = [
            cache.network(functional_hash(graph), graph.digest, graph.to_json, unexpected_comparison)
            for graph in (bare, named)
        ]
        assert stored[0] == stored[1]
        assert cache.summary().networks == 1


@pytest.mark.parametrize(("folder", "observations", "cache_keys"), [("runs", 24, 3), ("stopped", 5, 1)])
def test_a_recorded_cache_of_release_0_1_0(folder: str, observations: int, cache_keys: int, tmp_path: Path) -> None:
    unpack_release("0.1.0", tmp_path)
    path = tmp_path / folder / "evaluations.sqlite"
    with closing(sqlite3.connect(path)) as raw:
        before = raw.execute("SELECT metrics, seconds, seed FROM nas_cache_observations").fetchall()
        networks = raw.execute("SELECT key, form FROM nas_cache_networks").fetchall()
    with EvaluationCache(path) as cache:
        summary = cache.summary()
        assert (summary.observations, len(summary.questions)) == (observations, cache_keys)
        assert {question.evaluator for question in summary.questions} == {"classification/1"}
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT metrics, seconds, seed FROM nas_cache_observations").fetchall() == before
        for row in raw.execute("SELECT id, evaluator, data, fidelity, seeds FROM nas_cache_questions").fetchall():
            assert row[0] == question_digest(*row[1:])
    # Networks are found by their keys, so these must be what this release makes of the stored forms
    assert len(networks) >= 5
    for key, form in networks:
        assert functional_hash(graph_from_json(decompress_form(form))) == key
