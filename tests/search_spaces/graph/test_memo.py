"""Memos are bounded, forget their oldest entries alone, and may be shared by threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from search_spaces.graph.memo import memo_get_or_make, memo_put


def test_a_full_memo_forgets_the_oldest_alone() -> None:
    memo: dict[int, str] = {}
    for key in range(5):
        memo_put(memo, key, str(key), limit=3)
    assert memo == {2: "2", 3: "3", 4: "4"}


def test_a_large_memo_forgets_a_small_part() -> None:
    memo: dict[int, int] = {}
    for key in range(10_000):
        memo_put(memo, key, key, limit=640)
        assert max(0, min(key + 1, 640) - 10) <= len(memo) <= 640
    assert list(memo) == list(range(10_000 - len(memo), 10_000))


def test_the_limit_is_read_when_something_is_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.graph.memo.MEMO_LIMIT", 2)
    memo: dict[int, int] = {}
    values = [memo_get_or_make(memo, key, lambda k: k * k) for key in (1, 2, 3, 2, 1)]
    assert values == [1, 4, 9, 4, 1]
    assert memo == {3: 9, 1: 1}


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_may_share_a_memo() -> None:
    memo: dict[int, int] = {}
    threads = 8

    def work(seed: int) -> bool:
        keys = [(seed * 7919 + i * 104_729) % 500 for i in range(4_000)]
        for key in keys:
            if memo.get(key, -key) != -key:
                return False
            memo_put(memo, key, -key, limit=64)
            if len(memo) > 64 + threads:
                return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(work, range(threads)))
    assert len(memo) <= 64 + threads
