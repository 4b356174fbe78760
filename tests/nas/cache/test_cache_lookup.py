"""The evaluation cache finds what was trained, for the right network and cache key, and nothing else."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.cache import CachedResult, CacheError, CacheKey, EvaluationCache, Observation
from tests.support.cached_networks import (
    KEY,
    OTHER_KEY,
    gives,
    mark_forgotten,
    no_training,
    same_letters,
    stored_network,
    unexpected_comparison,
)

# -- networks --------------------------------------------------------------------------------------------------------


def test_a_network_is_found_by_any_equal_form(cache: EvaluationCache) -> None:
    first = stored_network(cache, "abc")
    assert cache.network("exact-1:k", "abc", lambda: "never built", unexpected_comparison) == first
    assert stored_network(cache, "cab") == first
    assert cache.network("exact-1:k", "cab", lambda: "never built", unexpected_comparison) == first, (
        "remembered: compared once"
    )
    assert cache.collisions == 0


def test_different_networks_of_one_key_never_share_a_result(cache: EvaluationCache) -> None:
    one, two, three = stored_network(cache, "abc"), stored_network(cache, "abd"), stored_network(cache, "abe")
    assert [n.variant for n in (one, two, three)] == [0, 1, 2]
    assert cache.collisions == 2
    for index, each in enumerate((one, two, three)):
        assert cache.evaluate(each, KEY, gives(index)).kind == "miss"
    for form, value in (("bca", 0.0), ("dba", 1.0), ("eab", 2.0), ("abd", 1.0)):
        result = cache.evaluate(stored_network(cache, form), KEY, no_training)
        assert (result.kind, result.metrics) == ("full", {"map": value})
    summary = cache.summary()
    assert (summary.networks, summary.collisions) == (3, 2)
    assert sorted(cache.export()["variant"]) == [0, 1, 2]


def test_forms_are_compared_with_what_was_stored(cache: EvaluationCache) -> None:
    form = json.dumps({"ops": ["conv"] * 1000, "text": "gr\u00f6\u00dfe \U0001f600"})
    cache.network("k", "first", lambda: form, unexpected_comparison)
    seen: list[tuple[str, str]] = []
    cache.network("k", "second", lambda: "mine", lambda stored, mine: bool(seen.append((stored, mine))))
    assert seen == [(form, "mine")]


def test_a_network_that_another_process_stores_meanwhile_is_compared_too(
    cache: EvaluationCache, tmp_path: Path
) -> None:
    with EvaluationCache(tmp_path / "cache.db") as other:

        def form() -> str:
            assert stored_network(other, "abc").variant == 0
            return "abc"

        assert cache.network("exact-1:k", "abc", form, unexpected_comparison).variant == 0, (
            "an equal digest: not compared"
        )
        compared: list[str] = []

        def same(stored: str, mine: str) -> bool:
            compared.append(stored)
            stored_network(other, "abd")
            return same_letters(stored, mine)

        assert cache.network("exact-1:k", "dba", lambda: "dba", same).variant == 1
        assert compared == ["abc", "abd"]
        assert (cache.collisions, other.collisions) == (0, 1)


def test_an_error_in_the_comparison_stores_nothing(cache: EvaluationCache) -> None:
    stored_network(cache)
    with pytest.raises(ZeroDivisionError):
        cache.network("exact-1:k", "other", lambda: "other", lambda a, b: bool(1 / 0))
    assert cache.summary().networks == 1


def test_functional_keys_differ_by_case_spaces_and_length(cache: EvaluationCache) -> None:
    keys = ["k", "K", "k ", "\u00e9", "e\u0301", "k" * 5000]
    assert len({stored_network(cache, key=key).id for key in keys}) == len(keys)
    assert {cache.network("a", "b" * n, lambda: "x", lambda a, b: False).id for n in (1, 2)} != {
        cache.network("ab", "b" * n, lambda: "x", lambda a, b: False).id for n in (1, 2)
    }


def test_the_least_recently_used_networks_are_evicted(tmp_path: Path) -> None:
    with EvaluationCache(tmp_path / "cache.db", limit=3) as cache:
        for name in "abc":
            cache.evaluate(stored_network(cache, name, key=name), KEY, gives(0.0))
        stored_network(cache, "a", key="a")
        claim = cache.claim(stored_network(cache, "b", key="b"), OTHER_KEY, 0)
        stored_network(cache, "a", key="a")
        stored_network(cache, "c", key="c")
        for name in "de":  # b is the least recently used, but in training
            stored_network(cache, name, key=name)
        assert cache.summary().networks == 3
        assert cache.lookup(stored_network(cache, "b", key="b"), KEY).kind == "full"
        assert cache.lookup(stored_network(cache, "a", key="a"), KEY).kind == "miss"
        assert claim is not None
        claim.release()


# -- cache keys and results -------------------------------------------------------------------------------------------


def test_a_cache_key_is_all_that_a_result_depends_on(cache: EvaluationCache) -> None:
    cache_keys = [
        KEY,
        OTHER_KEY,
        CacheKey("sgd@2", "digits-5f2c", KEY.fidelity, "ordinal"),
        CacheKey("sgd@1", "digits-0000", KEY.fidelity, "ordinal"),
        CacheKey("sgd@1", "digits-5f2c", KEY.fidelity, "fixed"),
        CacheKey("sgd@1", "digits-5f2c", {}, "ordinal"),
    ]
    assert len({q.digest for q in cache_keys}) == len(set(cache_keys)) == len(cache_keys)
    one = stored_network(cache)
    for index, cache_key in enumerate(cache_keys):
        cache.evaluate(one, cache_key, gives(index))
    assert [cache.lookup(one, q).metrics["map"] for q in cache_keys] == list(range(len(cache_keys)))
    reordered = CacheKey("sgd@1", "digits-5f2c", {"image_size": 64, "steps": 300}, "ordinal")
    assert reordered == KEY
    assert KEY.digest == "201dc2881957cd53e47f38ade173f7edf047e2a4", "the same in every process and version"


def test_a_cache_key_does_not_change_with_the_fidelity_it_was_made_from() -> None:
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
def test_cache_keys_are_equal_where_their_fidelities_are_the_same_json(a: dict[str, Any], b: dict[str, Any]) -> None:
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
        stored_network(cache, key=text)


def test_results_are_partial_until_there_are_enough_observations(cache: EvaluationCache) -> None:
    one, values = stored_network(cache), (0.25, 0.5, 0.9)
    assert cache.lookup(one, KEY, 3).kind == "miss"
    for count, kind in enumerate(("miss", "partial", "partial"), start=1):
        result = cache.evaluate(one, KEY, gives(*values), 3, seed=lambda ordinal: 100 + ordinal)
        assert (result.kind, result.count) == (kind, count)
        assert result.metrics["map"] == pytest.approx(statistics.fmean(values[:count]))
        assert [o.seed for o in result.observations] == list(range(100, 100 + count))
    result = cache.evaluate(one, KEY, no_training, 3)
    assert (result.kind, result.seconds) == ("full", 2.0)
    assert result.std["map"] == pytest.approx(statistics.stdev(values))
    assert cache.lookup(one, KEY, 1).kind == "full", "more than were requested: all count"
    assert cache.lookup(one, KEY, 4).kind == "partial"


floats = st.floats(allow_subnormal=False)


@settings(max_examples=30)
@given(st.lists(st.fixed_dictionaries({"map": floats}, optional={"loss": floats, "\u00e9 key": floats}), min_size=1))
def test_metrics_come_back_as_they_were(observed: list[dict[str, float]]) -> None:
    with EvaluationCache("sqlite://") as cache:
        one = stored_network(cache)
        for metrics in observed:
            result = cache.evaluate(one, KEY, lambda _, m=metrics: (m, 1.0), len(observed))  # type: ignore[misc]
        assert repr([dict(sorted(m.items())) for m in observed]) == repr([dict(o.metrics) for o in result.observations])
        values = [m["map"] for m in observed]
        if all(map(math.isfinite, values)):
            assert min(values) <= result.metrics["map"] <= max(values) or math.isclose(
                result.metrics["map"], values[0], rel_tol=1e-9
            )
        assert ("map" in result.std) == (len(values) > 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_deviation_are_those_of_statistics(values: list[float]) -> None:
    result = CachedResult("full", tuple(Observation(n, {"x": v}, 1.0) for n, v in enumerate(values)))
    assert result.metrics["x"] == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert result.std["x"] == pytest.approx(statistics.stdev(values), abs=1e-6)


@pytest.mark.parametrize(
    "metrics", [{}, {"map": "0.5"}, {"map": True}, {"map": None}, {"": 1.0}, {3: 1.0}, {"x\0": 1.0}, {"x": 10**5000}, 3]
)
def test_metrics_that_are_no_named_numbers_are_refused(metrics: Any, cache: EvaluationCache) -> None:
    one = stored_network(cache)
    with pytest.raises(CacheError):
        cache.evaluate(one, KEY, lambda _: (metrics, 1.0))
    assert cache.lookup(one, KEY).kind == "miss"
    assert cache.claim(one, KEY, 0) is not None, "the claim was released"


@pytest.mark.parametrize(("seconds", "seed"), [(-1.0, 0), (math.nan, 0), ("1", 0), (1.0, 2**63), (1.0, 0.5)])
def test_seconds_and_seeds_are_numbers_in_range(seconds: Any, seed: Any, cache: EvaluationCache) -> None:
    claim = cache.claim(stored_network(cache), KEY, 0)
    assert claim is not None
    with pytest.raises(CacheError):
        claim.complete({"map": 1.0}, seconds, seed)
    assert claim.complete({"map": 1.0}, 1.0, -(2**63)), "the claim is still held"


def test_failures_leave_no_result(cache: EvaluationCache) -> None:
    one = stored_network(cache)

    def fail(ordinal: int) -> tuple[dict[str, float], float]:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            cache.evaluate(one, KEY, fail)
    assert cache.summary().in_flight == 0
    assert cache.evaluate(one, KEY, gives(0.5)).kind == "miss"


def test_observations_marked_as_forgotten_are_kept_but_count_no_more(cache: EvaluationCache) -> None:
    one = stored_network(cache)
    cache.evaluate(one, KEY, gives(0.25))
    cache.evaluate(one, OTHER_KEY, gives(0.75))
    assert mark_forgotten(cache, one, KEY) == 1
    assert mark_forgotten(cache, one, KEY) == 0
    assert cache.lookup(one, KEY).kind == "miss"
    assert cache.lookup(one, OTHER_KEY).kind == "full"
    result = cache.evaluate(one, KEY, gives(0.25, 0.5))
    assert [(o.ordinal, o.metrics["map"]) for o in result.observations] == [(1, 0.5)], "ordinals go on"
    rows = {q.fidelity: (q.observations, q.forgotten) for q in cache.summary().questions}
    assert rows == {KEY.fidelity_text: (1, 1), OTHER_KEY.fidelity_text: (1, 0)}
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
def test_any_sequence_of_operations_gives_the_results_of_a_dictionary(sequence: list[tuple[str, str, int]]) -> None:
    model: dict[str, dict[int, float | None]] = {"abc": {}, "abd": {}}  # None: forgotten
    claims: dict[tuple[str, int], Any] = {}
    with EvaluationCache("sqlite://") as cache:
        for step, (operation, form, most) in enumerate(sequence):
            entry = model["abd" if form == "abd" else "abc"]
            name = "abd" if form == "abd" else "abc"
            one = stored_network(cache, form)
            held = {o for n, o in claims if n == name}
            observations_in_use = [v for v in entry.values() if v is not None]
            next_ordinal = next(n for n in range(99) if n not in entry and n not in held)
            if operation == "evaluate" and (
                len(observations_in_use) >= most or len(observations_in_use) + len(held) < most
            ):
                result = cache.evaluate(one, KEY, lambda _, v=step: ({"x": v}, 1.0), most)  # type: ignore[misc]
                assert result.kind == (
                    "full" if len(observations_in_use) >= most else "partial" if observations_in_use else "miss"
                )
                if len(observations_in_use) < most:
                    entry[next_ordinal] = float(step)
            elif operation == "fail" and len(observations_in_use) + len(held) < most:
                with pytest.raises(ZeroDivisionError):
                    cache.evaluate(one, KEY, lambda _: ({}, 1 / 0), most)
            elif operation == "forget":
                assert mark_forgotten(cache, one, KEY) == len(observations_in_use)
                entry.update(dict.fromkeys(entry, None))
            elif operation == "claim":
                claim = cache.claim(one, KEY, most)
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
                result = cache.lookup(stored_network(cache, shown), KEY)
                observations = {o.ordinal: o.metrics["x"] for o in result.observations}
                assert observations == {o: v for o, v in expected.items() if v is not None}
