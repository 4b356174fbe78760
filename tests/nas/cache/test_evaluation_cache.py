"""The evaluation cache: what is stored is what was trained, once, for the right network, whoever dies."""

from __future__ import annotations

import importlib.util
import json
import math
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.cache import CachedResult, CacheError, CacheKey, EvaluationCache, NetworkId, Observation
from nas.cache.owner_process import process_start_time
from nas.cache.tables import MAX_FORM_BYTES, decompress_form, schema
from tests.conftest import ROOT

QUESTION = CacheKey("sgd@1", "digits-5f2c", {"steps": 300, "image_size": 64}, "ordinal")
OTHER = CacheKey("sgd@1", "digits-5f2c", {"steps": 600, "image_size": 64}, "ordinal")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[EvaluationCache]:
    with EvaluationCache(tmp_path / "cache.db") as opened:
        yield opened


def never(stored: str, mine: str) -> bool:
    raise AssertionError("equal digests are equal forms: nobody needs to be asked")


def letters(stored: str, mine: str) -> bool:
    return sorted(stored) == sorted(mine)


def network(cache: EvaluationCache, form: str = "abc", key: str = "exact-1:k") -> NetworkId:
    return cache.network(key, form, lambda: form, letters)


def gives(*metrics: float) -> Any:
    """A training whose n-th observation has the n-th of these as its metric, and takes two seconds."""
    return lambda ordinal: ({"map": metrics[ordinal]}, 2.0)


def no_training(ordinal: int) -> tuple[Mapping[str, float], float]:
    raise AssertionError("trained what was known")


# -- networks --------------------------------------------------------------------------------------------------------


def test_a_network_is_found_again_by_any_form_that_is_the_same(cache: EvaluationCache) -> None:
    first = network(cache, "abc")
    assert cache.network("exact-1:k", "abc", lambda: "never built", never) == first
    assert network(cache, "cab") == first
    assert cache.network("exact-1:k", "cab", lambda: "never built", never) == first, "remembered: asked once"
    assert cache.collisions == 0


def test_networks_of_one_key_that_differ_never_share_an_answer(cache: EvaluationCache) -> None:
    one, two, three = network(cache, "abc"), network(cache, "abd"), network(cache, "abe")
    assert [n.variant for n in (one, two, three)] == [0, 1, 2]
    assert cache.collisions == 2
    for place, each in enumerate((one, two, three)):
        assert cache.evaluate(each, QUESTION, gives(place)).kind == "miss"
    for form, value in (("bca", 0.0), ("dba", 1.0), ("eab", 2.0), ("abd", 1.0)):
        answer = cache.evaluate(network(cache, form), QUESTION, no_training)
        assert (answer.kind, answer.metrics) == ("full", {"map": value})
    summary = cache.summary()
    assert (summary.networks, summary.collisions) == (3, 2)
    assert sorted(cache.export()["variant"]) == [0, 1, 2]


def test_forms_are_compared_with_what_was_stored(cache: EvaluationCache) -> None:
    form = json.dumps({"ops": ["conv"] * 1000, "text": "gr\u00f6\u00dfe \U0001f600"})
    cache.network("k", "first", lambda: form, never)
    seen: list[tuple[str, str]] = []
    cache.network("k", "second", lambda: "mine", lambda stored, mine: bool(seen.append((stored, mine))))
    assert seen == [(form, "mine")]


def test_what_another_stores_in_the_meantime_is_compared_too(cache: EvaluationCache, tmp_path: Path) -> None:
    with EvaluationCache(tmp_path / "cache.db") as other:

        def form() -> str:
            assert network(other, "abc").variant == 0
            return "abc"

        assert cache.network("exact-1:k", "abc", form, never).variant == 0, "an equal digest: nobody is asked"
        compared: list[str] = []

        def same(stored: str, mine: str) -> bool:
            compared.append(stored)
            network(other, "abd")
            return letters(stored, mine)

        assert cache.network("exact-1:k", "dba", lambda: "dba", same).variant == 1
        assert compared == ["abc", "abd"]
        assert (cache.collisions, other.collisions) == (0, 1)


def test_an_error_in_the_comparison_stores_nothing(cache: EvaluationCache) -> None:
    network(cache)
    with pytest.raises(ZeroDivisionError):
        cache.network("exact-1:k", "other", lambda: "other", lambda a, b: bool(1 / 0))
    assert cache.summary().networks == 1


def test_keys_are_told_apart_by_case_spaces_and_length(cache: EvaluationCache) -> None:
    keys = ["k", "K", "k ", "\u00e9", "e\u0301", "k" * 5000]
    assert len({network(cache, key=key).id for key in keys}) == len(keys)
    assert {cache.network("a", "b" * n, lambda: "x", lambda a, b: False).id for n in (1, 2)} != {
        cache.network("ab", "b" * n, lambda: "x", lambda a, b: False).id for n in (1, 2)
    }


def test_the_least_recently_used_networks_leave(tmp_path: Path) -> None:
    with EvaluationCache(tmp_path / "cache.db", limit=3) as cache:
        for name in "abc":
            cache.evaluate(network(cache, name, key=name), QUESTION, gives(0.0))
        network(cache, "a", key="a")
        claim = cache.claim(network(cache, "b", key="b"), OTHER, 0)
        network(cache, "a", key="a")
        network(cache, "c", key="c")
        for name in "de":  # b is the least recently used, but in training
            network(cache, name, key=name)
        assert cache.summary().networks == 3
        assert cache.lookup(network(cache, "b", key="b"), QUESTION).kind == "full"
        assert cache.lookup(network(cache, "a", key="a"), QUESTION).kind == "miss"
        assert claim is not None
        claim.release()


# -- questions and answers -------------------------------------------------------------------------------------------


def test_a_question_is_all_that_an_answer_depends_on(cache: EvaluationCache) -> None:
    asked = [
        QUESTION,
        OTHER,
        CacheKey("sgd@2", "digits-5f2c", QUESTION.fidelity, "ordinal"),
        CacheKey("sgd@1", "digits-0000", QUESTION.fidelity, "ordinal"),
        CacheKey("sgd@1", "digits-5f2c", QUESTION.fidelity, "fixed"),
        CacheKey("sgd@1", "digits-5f2c", {}, "ordinal"),
    ]
    assert len({q.digest for q in asked}) == len(set(asked)) == len(asked)
    one = network(cache)
    for place, cache_key in enumerate(asked):
        cache.evaluate(one, cache_key, gives(place))
    assert [cache.lookup(one, q).metrics["map"] for q in asked] == list(range(len(asked)))
    reordered = CacheKey("sgd@1", "digits-5f2c", {"image_size": 64, "steps": 300}, "ordinal")
    assert reordered == QUESTION
    assert QUESTION.digest == "201dc2881957cd53e47f38ade173f7edf047e2a4", "the same in every process and version"


def test_a_question_keeps_what_it_was_made_with() -> None:
    fidelity: dict[str, Any] = {"steps": 1, "crop": (1, 2)}
    cache_key = CacheKey("e", "d", fidelity, "s")
    fidelity["steps"] = 2
    assert cache_key.fidelity == {"steps": 1, "crop": [1, 2]}
    assert cache_key == CacheKey("e", "d", cache_key.fidelity, "s")


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(
    st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=3),
    st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=3),
)
def test_questions_are_equal_where_their_fidelities_are_the_same_json(a: dict[str, Any], b: dict[str, Any]) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (CacheKey("e", "d", a, "s") == CacheKey("e", "d", b, "s")) == same


@pytest.mark.parametrize("fidelity", [{"x": math.nan}, {"x": object()}, {"x": {1}}, {1: 2, "1": 2}, 3, ["a"]])
def test_a_fidelity_that_is_no_json_is_refused(fidelity: Any) -> None:
    with pytest.raises(CacheError, match="fidelity"):
        CacheKey("e", "d", fidelity, "s")


@pytest.mark.parametrize("text", ["", "\0", "a\ud800", 3, None, "x" * 20_000], ids=range(6))
def test_a_text_that_not_every_database_holds_is_refused(text: Any, cache: EvaluationCache) -> None:
    with pytest.raises(CacheError, match="evaluator"):
        CacheKey(text, "d", {}, "s")
    with pytest.raises(CacheError, match="key"):
        network(cache, key=text)


def test_answers_are_partial_until_there_are_enough(cache: EvaluationCache) -> None:
    one, values = network(cache), (0.25, 0.5, 0.9)
    assert cache.lookup(one, QUESTION, 3).kind == "miss"
    for count, kind in enumerate(("miss", "partial", "partial"), start=1):
        answer = cache.evaluate(one, QUESTION, gives(*values), 3, seed=lambda ordinal: 100 + ordinal)
        assert (answer.kind, answer.count) == (kind, count)
        assert answer.metrics["map"] == pytest.approx(statistics.fmean(values[:count]))
        assert [o.seed for o in answer.observations] == list(range(100, 100 + count))
    answer = cache.evaluate(one, QUESTION, no_training, 3)
    assert (answer.kind, answer.seconds) == ("full", 2.0)
    assert answer.std["map"] == pytest.approx(statistics.stdev(values))
    assert cache.lookup(one, QUESTION, 1).kind == "full", "more than were asked for: all count"
    assert cache.lookup(one, QUESTION, 4).kind == "partial"


floats = st.floats(allow_subnormal=False)


@settings(max_examples=30)
@given(st.lists(st.fixed_dictionaries({"map": floats}, optional={"loss": floats, "\u00e9 key": floats}), min_size=1))
def test_metrics_come_back_as_they_were(observed: list[dict[str, float]]) -> None:
    with EvaluationCache("sqlite://") as cache:
        one = network(cache)
        for metrics in observed:
            answer = cache.evaluate(one, QUESTION, lambda _, m=metrics: (m, 1.0), len(observed))  # type: ignore[misc]
        assert repr([dict(sorted(m.items())) for m in observed]) == repr([dict(o.metrics) for o in answer.observations])
        values = [m["map"] for m in observed]
        if all(map(math.isfinite, values)):
            assert min(values) <= answer.metrics["map"] <= max(values) or math.isclose(
                answer.metrics["map"], values[0], rel_tol=1e-9
            )
        assert ("map" in answer.std) == (len(values) > 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_deviation_are_those_of_statistics(values: list[float]) -> None:
    answer = CachedResult("full", tuple(Observation(n, {"x": v}, 1.0) for n, v in enumerate(values)))
    assert answer.metrics["x"] == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert answer.std["x"] == pytest.approx(statistics.stdev(values), abs=1e-6)


@pytest.mark.parametrize(
    "metrics", [{}, {"map": "0.5"}, {"map": True}, {"map": None}, {"": 1.0}, {3: 1.0}, {"x\0": 1.0}, {"x": 10**5000}, 3]
)
def test_metrics_that_are_no_named_numbers_are_refused(metrics: Any, cache: EvaluationCache) -> None:
    one = network(cache)
    with pytest.raises(CacheError):
        cache.evaluate(one, QUESTION, lambda _: (metrics, 1.0))
    assert cache.lookup(one, QUESTION).kind == "miss"
    assert cache.claim(one, QUESTION, 0) is not None, "the claim was released"


@pytest.mark.parametrize(("seconds", "seed"), [(-1.0, 0), (math.nan, 0), ("1", 0), (1.0, 2**63), (1.0, 0.5)])
def test_seconds_and_seeds_are_numbers_in_range(seconds: Any, seed: Any, cache: EvaluationCache) -> None:
    claim = cache.claim(network(cache), QUESTION, 0)
    assert claim is not None
    with pytest.raises(CacheError):
        claim.complete({"map": 1.0}, seconds, seed)
    assert claim.complete({"map": 1.0}, 1.0, -(2**63)), "the claim is still held"


def test_failures_are_no_answers(cache: EvaluationCache) -> None:
    one = network(cache)

    def fail(ordinal: int) -> tuple[dict[str, float], float]:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            cache.evaluate(one, QUESTION, fail)
    assert cache.summary().in_flight == 0
    assert cache.evaluate(one, QUESTION, gives(0.5)).kind == "miss"


def test_what_is_forgotten_is_kept_but_counts_no_more(cache: EvaluationCache) -> None:
    one = network(cache)
    cache.evaluate(one, QUESTION, gives(0.25))
    cache.evaluate(one, OTHER, gives(0.75))
    assert cache.forget(one, QUESTION) == 1
    assert cache.forget(one, QUESTION) == 0
    assert cache.lookup(one, QUESTION).kind == "miss"
    assert cache.lookup(one, OTHER).kind == "full"
    answer = cache.evaluate(one, QUESTION, gives(0.25, 0.5))
    assert [(o.ordinal, o.metrics["map"]) for o in answer.observations] == [(1, 0.5)], "ordinals go on"
    rows = {q.fidelity: (q.observations, q.forgotten) for q in cache.summary().questions}
    assert rows == {QUESTION.fidelity_text: (1, 1), OTHER.fidelity_text: (1, 0)}
    assert list(cache.export()["forgotten"]) == [True, False, False]


operations = st.lists(
    st.tuples(
        st.sampled_from(["evaluate", "fail", "forget", "claim", "done", "release", "clear"]),
        st.sampled_from(["abc", "abd", "cba"]),
        st.sampled_from([1, 2, 3]),
    ),
    max_size=25,
)


@settings(max_examples=30)
@given(operations)
def test_any_sequence_of_operations_answers_as_a_dictionary_would(sequence: list[tuple[str, str, int]]) -> None:
    model: dict[str, dict[int, float | None]] = {"abc": {}, "abd": {}}  # None: forgotten
    claims: dict[tuple[str, int], Any] = {}
    with EvaluationCache("sqlite://") as cache:
        for step, (operation, form, most) in enumerate(sequence):
            entry = model["abd" if form == "abd" else "abc"]
            name = "abd" if form == "abd" else "abc"
            one = network(cache, form)
            held = {o for n, o in claims if n == name}
            observations_in_use = [v for v in entry.values() if v is not None]
            free = next(n for n in range(99) if n not in entry and n not in held)
            if operation == "evaluate" and (
                len(observations_in_use) >= most or len(observations_in_use) + len(held) < most
            ):
                answer = cache.evaluate(one, QUESTION, lambda _, v=step: ({"x": v}, 1.0), most)  # type: ignore[misc]
                assert answer.kind == (
                    "full" if len(observations_in_use) >= most else "partial" if observations_in_use else "miss"
                )
                if len(observations_in_use) < most:
                    entry[free] = float(step)
            elif operation == "fail" and len(observations_in_use) + len(held) < most:
                with pytest.raises(ZeroDivisionError):
                    cache.evaluate(one, QUESTION, lambda _: ({}, 1 / 0), most)
            elif operation == "forget":
                assert cache.forget(one, QUESTION) == len(observations_in_use)
                entry.update(dict.fromkeys(entry, None))
            elif operation == "claim":
                claim = cache.claim(one, QUESTION, most)
                assert (claim is None) == (most in entry or most in held)
                if claim is not None:
                    claims[name, most] = claim
            elif operation in ("done", "release") and (name, most) in claims:
                claim = claims.pop((name, most))
                if operation == "release":
                    claim.release()
                else:
                    assert claim.complete({"x": step}, 1.0)
                    entry[most] = float(step)
            elif operation == "clear":
                assert cache.clear() == sum(map(len, model.values()))
                for each in model.values():
                    each.clear()
            for shown, expected in model.items():
                answer = cache.lookup(network(cache, shown), QUESTION)
                known = {o.ordinal: o.metrics["x"] for o in answer.observations}
                assert known == {o: v for o, v in expected.items() if v is not None}


# -- claims ----------------------------------------------------------------------------------------------------------


def test_a_claim_is_held_by_one(cache: EvaluationCache, tmp_path: Path) -> None:
    one = network(cache)
    claim = cache.claim(one, QUESTION, 0)
    assert claim is not None
    with EvaluationCache(tmp_path / "cache.db") as other:
        assert network(other) == one
        assert other.claim(one, QUESTION, 0) is None
        assert other.claim_next(one, QUESTION) is None
        ahead = other.claim_next(one, QUESTION, most=2)
        assert ahead is not None
        assert ahead.ordinal == 1
        claim.release()
        claim.release()
        with other.claim(one, QUESTION, 0) or pytest.fail("it was free") as taken:
            assert taken.complete({"map": 0.5}, 1.0)
        assert cache.claim(one, QUESTION, 0) is None, "recorded"
    assert cache.claim(one, QUESTION, 1) is not None, "closing a cache releases its claims"


def test_threads_that_ask_the_same_train_once(tmp_path: Path) -> None:
    for where in (str(tmp_path / "cache.db"), "sqlite://"):
        with EvaluationCache(where) as cache:
            trained: list[int] = []
            kinds: list[str] = []

            def train(ordinal: int, trained: list[int] = trained) -> tuple[dict[str, float], float]:
                trained.append(ordinal)
                time.sleep(0.1)
                return {"map": 0.5}, 0.1

            def lookup(cache: EvaluationCache = cache, train: Any = train, kinds: list[str] = kinds) -> None:
                kinds.append(cache.evaluate(network(cache), QUESTION, train, poll_s=0.01).kind)

            threads = [threading.Thread(target=lookup) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert trained == [0]
            assert sorted(kinds) == ["in_flight"] * 7 + ["miss"]


def test_waiting_ends_with_the_result_or_with_the_claim(cache: EvaluationCache) -> None:
    one = network(cache)
    for act, recorded in ((lambda c: c.release(), False), (lambda c: c.complete({"map": 1.0}, 1.0), True)):
        claim = cache.claim(one, QUESTION, 0)
        timer = threading.Timer(0.05, act, [claim])
        timer.start()
        assert cache.wait(one, QUESTION, 0, poll_s=0.01) == recorded
        timer.join()


DIES = """
import sys, time
from nas.cache import EvaluationCache, Question
cache = EvaluationCache(sys.argv[1])
one = cache.network("exact-1:k", "abc", lambda: "abc", lambda a, b: False)
claim = cache.claim(one, Question("sgd@1", "digits-5f2c", {"steps": 300, "image_size": 64}, "ordinal"), 0)
print("claimed" if claim else "not claimed", flush=True)
time.sleep(60)
"""


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)


def test_a_dead_owners_claim_is_taken_over(cache: EvaluationCache, tmp_path: Path) -> None:
    one = network(cache)
    with start(DIES, tmp_path / "cache.db") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        assert cache.claim(one, QUESTION, 0) is None
        assert cache.summary().in_flight == 1
        process.send_signal(signal.SIGKILL)
        assert not cache.wait(one, QUESTION, 0, poll_s=0.01), "dead at once, though nobody has waited for it yet"
    assert cache.summary().in_flight == 0
    answer = cache.evaluate(one, QUESTION, gives(0.5))
    assert (answer.kind, answer.observations[0].ordinal) == ("miss", 0)


def _change_claims(path: Path, **values: Any) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE nas_cache_claims SET {', '.join(f'{n} = ?' for n in values)}", [*values.values()])  # noqa: S608


def test_a_claim_from_elsewhere_lives_as_long_as_its_heart_beats(tmp_path: Path) -> None:
    with EvaluationCache(tmp_path / "cache.db", lease_s=0.4) as owner, EvaluationCache(tmp_path / "cache.db") as other:
        one = network(owner)
        claim = owner.claim(one, QUESTION, 0)
        _change_claims(tmp_path / "cache.db", machine="elsewhere")
        time.sleep(0.6)
        assert claim is not None
        assert other.claim(one, QUESTION, 0) is None
        _change_claims(tmp_path / "cache.db", owner="one that was switched off")
        time.sleep(0.6)
        assert not other.wait(one, QUESTION, 0)
        taken = other.claim(one, QUESTION, 0)
        assert taken is not None
        # The first was only cut off: what it hands in first stands, and nothing is recorded twice.
        assert claim.complete({"map": 0.25}, 1.0)
        assert not taken.complete({"map": 0.75}, 1.0)
        assert owner.lookup(one, QUESTION).metrics == other.lookup(one, QUESTION).metrics == {"map": 0.25}


def test_a_process_number_that_was_given_again_owns_nothing(cache: EvaluationCache, tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("the start of a process cannot be told here")
    one = network(cache)
    assert cache.claim(one, QUESTION, 0) is not None
    _change_claims(tmp_path / "cache.db", process_start_time="1")
    assert cache.claim(one, QUESTION, 0) is not None


@pytest.mark.parametrize("pid", [0, -1, 2**62])
def test_process_numbers_that_nobody_has(pid: int) -> None:
    assert process_start_time(pid) is None


# -- processes that die ----------------------------------------------------------------------------------------------


def test_eight_processes_train_each_network_exactly_as_often_as_asked_though_killed(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("cache_kill", ROOT / "results" / "cache_kill_and_restart.py")
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
    one = network(cache)
    cache.evaluate(one, QUESTION, gives(0.5))
    with start(HALF_WRITTEN, tmp_path / "cache.db") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert cache.lookup(one, QUESTION).metrics == {"map": 0.5}, "readers do not wait"
        process.send_signal(signal.SIGKILL)
    assert cache.evaluate(one, OTHER, gives(0.75)).kind == "miss"
    with EvaluationCache(tmp_path / "cache.db") as again:
        assert again.lookup(one, QUESTION).metrics == {"map": 0.5}
        assert again.lookup(one, OTHER).metrics == {"map": 0.75}
    with closing(sqlite3.connect(tmp_path / "cache.db")) as raw:
        assert raw.execute("SELECT count(*) FROM nas_cache_aliases").fetchone() == (1,)


# -- measured cost and housekeeping ----------------------------------------------------------------------------------


def test_a_measured_cost_is_kept_for_each_device(cache: EvaluationCache) -> None:
    assert cache.cost("structure", "cpu@1", lambda: {"latency_ms": 2.5}) == {"latency_ms": 2.5}
    assert cache.cost("structure", "cpu@1", lambda: pytest.fail("measured again")) == {"latency_ms": 2.5}
    with pytest.raises(ZeroDivisionError):
        cache.cost("structure", "cpu@2", lambda: {"latency_ms": 1 / 0})
    assert cache.cost("structure", "cpu@2", lambda: {"latency_ms": 3}) == {"latency_ms": 3.0}
    assert cache.summary().costs == 2


def test_summary_counts_what_is_there(cache: EvaluationCache) -> None:
    assert cache.summary().questions == ()
    for form in ("abc", "abd"):
        cache.evaluate(network(cache, form), QUESTION, gives(0.0, 1.0), 2)
        cache.evaluate(network(cache, form), QUESTION, gives(0.0, 1.0), 2)
    cache.evaluate(network(cache), OTHER, gives(0.0))
    claim = cache.claim(network(cache), OTHER, 1)
    summary = cache.summary()
    assert [(q.networks, q.observations, q.seconds) for q in summary.questions] == [(2, 4, 8.0), (1, 1, 2.0)]
    assert (summary.networks, summary.observations, summary.seconds, summary.in_flight) == (2, 5, 10.0, 1)
    assert summary.bytes is not None
    assert summary.bytes > 4096
    assert claim is not None


def test_clearing_removes_what_is_named_and_nothing_else(cache: EvaluationCache) -> None:
    old, new = CacheKey("old", "d", {}, "s"), CacheKey("new", "d", {}, "s")
    for form in ("abc", "abd"):
        cache.evaluate(network(cache, form), old, gives(0.0))
    cache.evaluate(network(cache), new, gives(1.0))
    cache.cost("s", "d", lambda: {"x": 1.0})
    assert cache.clear(older_than_s=60.0) == 0
    assert cache.clear("nobody") == 0
    assert cache.clear("old") == 2
    summary = cache.summary()
    assert ([q.evaluator for q in summary.questions], summary.networks, summary.costs) == (["new"], 1, 1)
    assert cache.lookup(network(cache), new).metrics == {"map": 1.0}
    claim = cache.claim(network(cache, "xyz", key="x"), new, 0)
    assert cache.clear(older_than_s=-1.0) == 1
    summary = cache.summary()
    assert (summary.networks, summary.costs) == (1, 0), "a network in training stays"
    assert claim is not None
    assert claim.complete({"map": 0.5}, 1.0)
    assert cache.lookup(network(cache, "xyz", key="x"), new).count == 1
    assert cache.clear() == 1
    assert (cache.summary().networks, cache.summary().questions) == (0, ())


def test_clearing_gives_the_space_back(cache: EvaluationCache) -> None:
    import random

    noise = random.Random(0).randbytes(2_000_000).hex()
    cache.network("k", "d", lambda: noise, never)
    before = cache.summary().bytes
    cache.clear()
    after = cache.summary().bytes
    assert before is not None
    assert after is not None
    assert after < 200_000 < 2_000_000 < before


def test_a_training_whose_network_is_cleared_is_not_lost(cache: EvaluationCache) -> None:
    one = network(cache)
    cache.clear()
    assert cache.evaluate(one, QUESTION, gives(0.5)).metrics == {"map": 0.5}
    assert len(cache.export()) == 1
    assert cache.evaluate(network(cache), QUESTION, no_training).kind == "full"


def test_export_is_a_table_of_observations(cache: EvaluationCache) -> None:
    empty = cache.export()
    assert len(empty) == 0
    cache.evaluate(network(cache), QUESTION, lambda _: ({"map": 0.5, "key": math.inf}, 2.0), seed=lambda _: 7)
    cache.evaluate(network(cache, "abd"), QUESTION, lambda _: ({"loss": 0.1}, 3.0))
    frame = cache.export()
    assert list(frame.columns[: len(empty.columns)]) == list(empty.columns)
    assert dict(frame.dtypes[:12]).keys() == dict(empty.dtypes).keys()
    first = frame.iloc[0]
    assert (first["key"], first["variant"], first["evaluator"], first["ordinal"]) == ("exact-1:k", 0, "sgd@1", 0)
    assert (first["map"], first["metric_key"], first["seconds"], first["seed"]) == (0.5, math.inf, 2.0, 7)
    assert abs(first["recorded"].timestamp() - time.time()) < 60
    assert math.isnan(frame.iloc[1]["map"])


def test_a_cache_is_found_again_with_all_that_it_held(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "cache.db"
    with EvaluationCache(path) as cache:
        cache.evaluate(network(cache), QUESTION, gives(0.5))
    with EvaluationCache(f"sqlite:///{path}") as cache:
        assert cache.evaluate(network(cache, "bca"), QUESTION, no_training).metrics == {"map": 0.5}
    cache.close()
    with pytest.raises(CacheError, match="closed"):
        cache.lookup(NetworkId("k", 0, "0"), QUESTION)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_transaction_that_another_came_into_is_done_again(cache: EvaluationCache) -> None:
    from sqlalchemy import exc

    calls: list[int] = []

    def work(connection: Any) -> int:
        calls.append(len(calls))
        if len(calls) < 3:
            raise exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))
        return 5

    assert cache._database.write(work) == 5
    assert calls == [0, 1, 2]


def test_a_transaction_whose_success_was_not_heard_of_may_be_done_again(
    cache: EvaluationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = cache._database.write
    monkeypatch.setattr(cache._database, "write", lambda work: (once(work), once(work))[1])
    for form, value in (("abc", 0.25), ("abd", 0.5)):
        assert cache.evaluate(network(cache, form), QUESTION, gives(value)).metrics == {"map": value}
        cache.cost(form, "cpu@1", lambda: {"latency_ms": 1.0})
    summary = cache.summary()
    assert (summary.networks, summary.observations, summary.in_flight, summary.costs) == (2, 2, 0, 2)


def test_a_forked_process_opens_its_own(cache: EvaluationCache) -> None:
    cache._database.pid += 1
    with pytest.raises(CacheError, match="another process"):
        cache.summary()
    cache._database.pid -= 1


# -- files that are none ---------------------------------------------------------------------------------------------


def test_files_that_are_no_cache_are_left_alone_and_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("These are my notes. " * 300)
    foreign = tmp_path / "study.db"
    with closing(sqlite3.connect(foreign)) as raw, raw:
        raw.execute("CREATE TABLE trials (id INTEGER)")
    for path, reason in ((text, "not a database.*move it away"), (foreign, "another program.*trials.*another file")):
        before = path.read_bytes()
        with pytest.raises(CacheError, match=reason):
            EvaluationCache(path)
        assert path.read_bytes() == before
    with pytest.raises(CacheError, match="cannot"):
        EvaluationCache(tmp_path)
    with pytest.raises(CacheError, match="cannot write"):
        EvaluationCache(text / "cache.db")


@pytest.mark.parametrize(
    "url",
    [
        "nosuchdatabase://me:secret@host/name",
        "sqlite+nosuchdriver:///x",
        "://",
        "postgresql://me:secret@host:port/name",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(CacheError, match="cannot open the cache") as caught:
        EvaluationCache(url)
    assert "secret" not in str(caught.value)


def test_a_newer_caches_tables_are_not_touched(tmp_path: Path) -> None:
    EvaluationCache(tmp_path / "cache.db").close()
    for version, reason in ((99, "newer nas.*upgrade"), (0, "version 0"), ("one", "damaged")):
        with closing(sqlite3.connect(tmp_path / "cache.db")) as raw, raw:
            raw.execute("UPDATE nas_cache_version SET version = ?", [version])
        with pytest.raises(CacheError, match=reason):
            EvaluationCache(tmp_path / "cache.db")


def test_a_damaged_cache_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with EvaluationCache(path) as cache:
        one = network(cache)
        cache.evaluate(one, QUESTION, gives(0.5))

    def lookup() -> None:
        with EvaluationCache(path) as cache:
            cache.lookup(one, QUESTION)
            cache.network("exact-1:k", "a form not met before", lambda: "abc", letters)

    for column, table, value in (
        ("metrics", "observations", "{"),
        ("metrics", "observations", "[1]"),
        ("metrics", "observations", b"\xff"),
        ("form", "networks", b"not compressed"),
        ("form", "networks", b""),
    ):
        with closing(sqlite3.connect(path)) as raw, raw:
            kept = raw.execute(f"SELECT {column} FROM nas_cache_{table}").fetchone()  # noqa: S608
            raw.execute(f"UPDATE nas_cache_{table} SET {column} = ?", [value])  # noqa: S608
        with pytest.raises(CacheError, match="damaged"):
            lookup()
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(f"UPDATE nas_cache_{table} SET {column} = ?", kept)  # noqa: S608
    lookup()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CacheError, match="damaged"):
        lookup()


def test_a_form_that_unpacks_to_more_than_memory_is_refused() -> None:
    import zlib

    packed = zlib.compress(b"0" * (MAX_FORM_BYTES + 1))
    assert len(packed) < 100_000
    with pytest.raises(CacheError, match="damaged"):
        decompress_form(packed)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql", "mariadb", "mssql", "oracle"])
def test_the_tables_can_be_made_in_other_databases(dialect: str) -> None:
    import sqlalchemy as sa
    from sqlalchemy.schema import CreateIndex, CreateTable

    tables = schema()
    made = ""
    for table in tables.metadata.sorted_tables:
        made += str(CreateTable(table).compile(dialect=sa.make_url(f"{dialect}://").get_dialect()()))
        for index in table.indexes:
            made += str(CreateIndex(index).compile(dialect=sa.make_url(f"{dialect}://").get_dialect()()))
    assert made.count("CREATE TABLE") == 7
    if dialect in ("mysql", "mariadb"):
        assert "MEDIUMBLOB" in made.upper() or "BLOB(16777215)" in made
        assert "DOUBLE" in made
    if dialect == "postgresql":
        assert "DOUBLE PRECISION" in made
    for statement in (tables.by_alias, tables.observations_in_use, tables.recorded):
        assert str(statement.compile(dialect=sa.make_url(f"{dialect}://").get_dialect()()))


def test_nothing_happens_at_import() -> None:
    loaded = (
        "import sys, nas.cache; print([m for m in ('sqlalchemy', 'pandas', 'sqlite3', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"
