"""Bounded memos of immutable things."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.graph.graph import KeyT, ValueT

MEMO_LIMIT = 1 << 16


def memo_put(memo: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> None:
    """Put a value into a memo; one that has grown to ``MEMO_LIMIT`` starts anew."""
    if len(memo) >= MEMO_LIMIT:
        memo.clear()
    memo[key] = value


def memo_get_or_make(memo: dict[KeyT, ValueT], key: KeyT, make: Callable[[KeyT], ValueT]) -> ValueT:
    """What a memo holds for a key; made, and remembered, where it holds nothing."""
    try:
        return memo[key]
    except KeyError:
        value = make(key)
        memo_put(memo, key, value)
        return value
