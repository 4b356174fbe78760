"""Bounded memos: dictionaries that forget their oldest entries when they are full."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

MEMO_LIMIT = 1 << 16
_DROPPED_AT_ONCE = 1 / 64  # of the limit; a dictionary is slow to find its first entry behind many that were deleted


def memo_put(memo: dict[Key, Value], key: Key, value: Value, limit: int | None = None) -> None:
    """Put a value into a memo of at most ``limit`` entries (default ``MEMO_LIMIT``); a full one drops its oldest.

    Threads may share a memo: of two that make the same value the later one stays, and the bound is exceeded by at
    most one entry a thread.
    """
    limit = MEMO_LIMIT if limit is None else limit
    while len(memo) >= limit:
        try:
            oldest_keys = list(islice(memo, max(1, int(limit * _DROPPED_AT_ONCE))))
        except RuntimeError:  # another thread changed the dictionary before its first key was read
            continue
        for oldest in oldest_keys:
            memo.pop(oldest, None)
    memo[key] = value


def memo_get_or_make(memo: dict[Key, Value], key: Key, make: Callable[[Key], Value]) -> Value:
    """What a memo holds for a key; where it holds nothing, ``make(key)``, which it then remembers."""
    try:
        return memo[key]
    except KeyError:
        value = make(key)
        memo_put(memo, key, value)
        return value
