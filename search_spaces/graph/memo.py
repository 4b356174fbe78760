"""Bounded memos of immutable things."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.graph.graph import Key, Value

MEMO_LIMIT = 1 << 16


def remember(memo: dict[Key, Value], key: Key, value: Value) -> None:
    """Put a value into a memo; one that has grown to ``MEMO_LIMIT`` starts anew."""
    if len(memo) >= MEMO_LIMIT:
        memo.clear()
    memo[key] = value


def recall(memo: dict[Key, Value], key: Key, make: Callable[[Key], Value]) -> Value:
    """What a memo holds for a key; made, and remembered, where it holds nothing."""
    try:
        return memo[key]
    except KeyError:
        value = make(key)
        remember(memo, key, value)
        return value
