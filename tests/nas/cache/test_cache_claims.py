"""Of several processes that need one observation, one trains it and the others wait, whoever dies."""

from __future__ import annotations

import importlib.util
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nas.cache import CachedResult, Claim, EvaluationCache
from nas.cache.owner_process import process_start_time
from tests.conftest import ROOT
from tests.support.cached_networks import (
    KEY,
    OTHER_KEY,
    gives,
    stored_network,
)

# -- claims ----------------------------------------------------------------------------------------------------------


def test_a_claim_is_held_by_one(cache: EvaluationCache, tmp_path: Path) -> None:
    one = stored_network(cache)
    claim = cache.claim(one, KEY, 0)
    assert claim is not None
    with EvaluationCache(tmp_path / "cache.db") as other:
        assert stored_network(other) == one
        assert other.claim(one, KEY, 0) is None
        assert other.claim_next(one, KEY) is None
        ahead = other.claim_next(one, KEY, repeats=2)
        assert ahead is not None
        assert ahead.ordinal == 1
        claim.release()
        claim.release()
        with other.claim(one, KEY, 0) or pytest.fail("it was released") as second:
            assert second.complete({"map": 0.5}, 1.0)
        assert cache.claim(one, KEY, 0) is None, "recorded"
    assert cache.claim(one, KEY, 1) is not None, "closing a cache releases its claims"


def test_threads_that_need_the_same_observation_train_once(tmp_path: Path) -> None:
    for where in (str(tmp_path / "cache.db"), "sqlite://"):
        with EvaluationCache(where) as cache:
            trained: list[int] = []
            kinds: list[str] = []

            def train(ordinal: int, trained: list[int] = trained) -> tuple[dict[str, float], float]:
                trained.append(ordinal)
                time.sleep(0.1)
                return {"map": 0.5}, 0.1

            def lookup(cache: EvaluationCache = cache, train: Any = train, kinds: list[str] = kinds) -> None:
                kinds.append(cache.evaluate(stored_network(cache), KEY, train, poll_s=0.01).kind)

            threads = [threading.Thread(target=lookup) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert trained == [0]
            assert sorted(kinds) == ["in_flight"] * 7 + ["miss"]


def test_an_observation_is_claimed_then_waited_for_then_found(cache: EvaluationCache) -> None:
    one = stored_network(cache)
    claim = cache.result_or_claim(one, KEY, 1)
    assert isinstance(claim, Claim)
    assert claim.ordinal == 1
    timer = threading.Timer(0.05, claim.complete, [{"map": 0.5}, 1.0])
    timer.start()
    for kind in ("in_flight", "full"):
        result = cache.result_or_claim(one, KEY, 1, poll_s=0.01)
        assert isinstance(result, CachedResult)
        assert (result.kind, [(o.ordinal, o.metrics) for o in result.observations]) == (kind, [(1, {"map": 0.5})])
    timer.join()
    other = cache.result_or_claim(one, KEY, 0)
    assert isinstance(other, Claim), "another ordinal is another observation"
    other.release()


def test_the_error_of_a_training_is_raised_though_the_claim_cannot_be_released(cache: EvaluationCache) -> None:
    claim = cache.claim(stored_network(cache), KEY, 0)
    assert claim is not None
    cache._database.pid += 1  # as in a forked process: any use of the cache is an error
    with pytest.raises(ZeroDivisionError), claim:
        raise ZeroDivisionError
    cache._database.pid -= 1


def test_waiting_ends_with_the_result_or_with_the_claim(cache: EvaluationCache) -> None:
    one = stored_network(cache)
    for act, recorded in ((lambda c: c.release(), False), (lambda c: c.complete({"map": 1.0}, 1.0), True)):
        claim = cache.claim(one, KEY, 0)
        timer = threading.Timer(0.05, act, [claim])
        timer.start()
        assert cache.wait(one, KEY, 0, poll_s=0.01) == recorded
        timer.join()


DIES = """
import sys, time
from nas.cache import CacheKey, EvaluationCache
cache = EvaluationCache(sys.argv[1])
one = cache.network("exact-1:k", "abc", lambda: "abc", lambda a, b: False)
claim = cache.claim(one, CacheKey("sgd@1", "digits-5f2c", {"steps": 300, "image_size": 64}, "ordinal"), 0)
print("claimed" if claim else "not claimed", flush=True)
time.sleep(60)
"""


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)


def test_a_dead_owners_claim_is_taken_over(cache: EvaluationCache, tmp_path: Path) -> None:
    one = stored_network(cache)
    with start(DIES, tmp_path / "cache.db") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        assert cache.claim(one, KEY, 0) is None
        assert cache.summary().in_flight == 1
        process.send_signal(signal.SIGKILL)
        assert not cache.wait(one, KEY, 0, poll_s=0.01), "dead at once, without any waiting"
    assert cache.summary().in_flight == 0
    result = cache.evaluate(one, KEY, gives(0.5))
    assert (result.kind, result.observations[0].ordinal) == ("miss", 0)


def _change_claims(path: Path, **values: Any) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE nas_cache_claims SET {', '.join(f'{n} = ?' for n in values)}", [*values.values()])  # noqa: S608


def test_a_claim_of_another_machine_lives_as_long_as_its_heartbeat(tmp_path: Path) -> None:
    with EvaluationCache(tmp_path / "cache.db", lease_s=0.4) as owner, EvaluationCache(tmp_path / "cache.db") as other:
        one = stored_network(owner)
        claim = owner.claim(one, KEY, 0)
        _change_claims(tmp_path / "cache.db", machine="elsewhere")
        time.sleep(0.6)
        assert claim is not None
        assert other.claim(one, KEY, 0) is None
        _change_claims(tmp_path / "cache.db", owner="one that was switched off")
        time.sleep(0.6)
        assert not other.wait(one, KEY, 0)
        second = other.claim(one, KEY, 0)
        assert second is not None
        # The first owner was only cut off: what is recorded first stands, and nothing is recorded twice.
        assert claim.complete({"map": 0.25}, 1.0)
        assert not second.complete({"map": 0.75}, 1.0)
        assert owner.lookup(one, KEY).metrics == other.lookup(one, KEY).metrics == {"map": 0.25}


def test_a_process_number_that_is_used_again_owns_nothing(cache: EvaluationCache, tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("the start of a process is unknown here")
    one = stored_network(cache)
    assert cache.claim(one, KEY, 0) is not None
    _change_claims(tmp_path / "cache.db", started="1")
    assert cache.claim(one, KEY, 0) is not None


@pytest.mark.parametrize("pid", [0, -1, 2**62])
def test_process_numbers_that_nobody_has(pid: int) -> None:
    assert process_start_time(pid) is None


# -- processes that die ----------------------------------------------------------------------------------------------


def test_eight_processes_train_each_network_exactly_as_often_as_needed_though_killed(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "cache_kill", ROOT / "results" / "caching" / "cache_kill_and_restart.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    for kills, networks in ((0, 8), (3, 16)):
        (folder := tmp_path / str(kills)).mkdir()
        figures = script.run(folder, workers=8, networks=networks, most=3, kills=kills, hold_s=0.03, every_s=0.08)
        assert figures.recorded == 3 * networks
        assert (figures.trained, figures.broken) == (3 * networks, 0) or kills


HALF_WRITTEN = """
import sqlite3, sys, time
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("PRAGMA cache_size=1")  # so that pages reach the log before the transaction ends
raw.execute("BEGIN IMMEDIATE")
raw.execute("UPDATE nas_cache_observations SET metrics = '{\\"map\\": 9}'")
raw.executemany("INSERT INTO nas_cache_aliases VALUES (?, ?)", [(f"{n:040}", "x" * 40) for n in range(20000)])
print("written", flush=True)
time.sleep(60)
"""


def test_readers_and_writers_go_on_where_a_writer_died_in_a_transaction(cache: EvaluationCache, tmp_path: Path) -> None:
    one = stored_network(cache)
    cache.evaluate(one, KEY, gives(0.5))
    with start(HALF_WRITTEN, tmp_path / "cache.db") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert cache.lookup(one, KEY).metrics == {"map": 0.5}, "readers do not wait"
        process.send_signal(signal.SIGKILL)
    assert cache.evaluate(one, OTHER_KEY, gives(0.75)).kind == "miss"
    with EvaluationCache(tmp_path / "cache.db") as again:
        assert again.lookup(one, KEY).metrics == {"map": 0.5}
        assert again.lookup(one, OTHER_KEY).metrics == {"map": 0.75}
    with closing(sqlite3.connect(tmp_path / "cache.db")) as raw:
        assert raw.execute("SELECT count(*) FROM nas_cache_aliases").fetchone() == (1,)
