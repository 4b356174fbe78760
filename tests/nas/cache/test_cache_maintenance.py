"""The evaluation cache is counted, cleared, exported, reopened, and used by transactions."""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nas.cache import CacheError, CacheKey, EvaluationCache, NetworkId
from tests.support.cached_networks import (
    KEY,
    OTHER_KEY,
    gives,
    no_training,
    store_cost,
    stored_network,
    unexpected_comparison,
)


def test_summary_counts_what_is_there(cache: EvaluationCache) -> None:
    assert cache.summary().questions == ()
    for form in ("abc", "abd"):
        cache.evaluate(stored_network(cache, form), KEY, gives(0.0, 1.0), 2)
        cache.evaluate(stored_network(cache, form), KEY, gives(0.0, 1.0), 2)
    cache.evaluate(stored_network(cache), OTHER_KEY, gives(0.0))
    claim = cache.claim(stored_network(cache), OTHER_KEY, 1)
    summary = cache.summary()
    assert [(q.networks, q.observations, q.seconds) for q in summary.questions] == [(2, 4, 8.0), (1, 1, 2.0)]
    assert (summary.networks, summary.observations, summary.seconds, summary.in_flight) == (2, 5, 10.0, 1)
    assert summary.bytes is not None
    assert summary.bytes > 4096
    assert claim is not None


def test_clearing_removes_what_is_named_and_nothing_else(cache: EvaluationCache) -> None:
    old, new = CacheKey("old", "d", {}, "s"), CacheKey("new", "d", {}, "s")
    for form in ("abc", "abd"):
        cache.evaluate(stored_network(cache, form), old, gives(0.0))
    cache.evaluate(stored_network(cache), new, gives(1.0))
    store_cost(cache, "s", "d", {"x": 1.0})
    assert cache.clear(older_than_s=60.0) == 0
    assert cache.clear("nobody") == 0
    assert cache.clear("old") == 2
    summary = cache.summary()
    assert ([q.evaluator for q in summary.questions], summary.networks, summary.costs) == (["new"], 1, 1)
    assert cache.lookup(stored_network(cache), new).metrics == {"map": 1.0}
    claim = cache.claim(stored_network(cache, "xyz", key="x"), new, 0)
    assert cache.clear(older_than_s=-1.0) == 1
    summary = cache.summary()
    assert (summary.networks, summary.costs) == (1, 0), "a network in training stays"
    assert claim is not None
    assert claim.complete({"map": 0.5}, 1.0)
    assert cache.lookup(stored_network(cache, "xyz", key="x"), new).count == 1
    assert cache.clear() == 1
    assert (cache.summary().networks, cache.summary().questions) == (0, ())


def test_clearing_gives_the_space_back(cache: EvaluationCache) -> None:
    import random

    noise = random.Random(0).randbytes(2_000_000).hex()
    cache.network("k", "d", lambda: noise, unexpected_comparison)
    before = cache.summary().bytes
    cache.clear()
    after = cache.summary().bytes
    assert before is not None
    assert after is not None
    assert after < 200_000 < 2_000_000 < before


def test_a_training_whose_network_is_cleared_is_not_lost(cache: EvaluationCache) -> None:
    one = stored_network(cache)
    cache.clear()
    assert cache.evaluate(one, KEY, gives(0.5)).metrics == {"map": 0.5}
    assert len(cache.export()) == 1
    assert cache.evaluate(stored_network(cache), KEY, no_training).kind == "full"


def test_export_is_a_table_of_observations(cache: EvaluationCache) -> None:
    empty = cache.export()
    assert len(empty) == 0
    cache.evaluate(stored_network(cache), KEY, lambda _: ({"map": 0.5, "key": math.inf}, 2.0), seed=lambda _: 7)
    cache.evaluate(stored_network(cache, "abd"), KEY, lambda _: ({"loss": 0.1}, 3.0))
    frame = cache.export()
    assert list(frame.columns[: len(empty.columns)]) == list(empty.columns)
    assert dict(frame.dtypes[:12]).keys() == dict(empty.dtypes).keys()
    first = frame.iloc[0]
    assert (first["key"], first["variant"], first["evaluator"], first["ordinal"]) == ("exact-1:k", 0, "sgd@1", 0)
    assert (first["map"], first["metric_key"], first["seconds"], first["seed"]) == (0.5, math.inf, 2.0, 7)
    assert abs(first["recorded"].timestamp() - time.time()) < 60
    assert math.isnan(frame.iloc[1]["map"])


def test_a_reopened_cache_has_all_that_it_held(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "cache.db"
    with EvaluationCache(path) as cache:
        cache.evaluate(stored_network(cache), KEY, gives(0.5))
    with EvaluationCache(f"sqlite:///{path}") as cache:
        assert cache.evaluate(stored_network(cache, "bca"), KEY, no_training).metrics == {"map": 0.5}
    cache.close()
    with pytest.raises(CacheError, match="closed"):
        cache.lookup(NetworkId("k", 0, "0"), KEY)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_transaction_that_another_interrupts_is_repeated(cache: EvaluationCache) -> None:
    from sqlalchemy import exc

    calls: list[int] = []

    def work(connection: Any) -> int:
        calls.append(len(calls))
        if len(calls) < 3:
            raise exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))
        return 5

    assert cache._database.write(work) == 5
    assert calls == [0, 1, 2]


def test_a_transaction_whose_success_was_not_reported_may_be_repeated(
    cache: EvaluationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = cache._database.write
    monkeypatch.setattr(cache._database, "write", lambda work: (once(work), once(work))[1])
    for form, value in (("abc", 0.25), ("abd", 0.5)):
        assert cache.evaluate(stored_network(cache, form), KEY, gives(value)).metrics == {"map": value}
    summary = cache.summary()
    assert (summary.networks, summary.observations, summary.in_flight) == (2, 2, 0)


def test_a_forked_process_opens_its_own(cache: EvaluationCache) -> None:
    cache._database.pid += 1
    with pytest.raises(CacheError, match="another process"):
        cache.summary()
    cache._database.pid -= 1
