"""Random search spaces with conditional choices, small enough to list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.space import Space

_B = Builder()
_GRAPH = _B.build(_B.linear(_B.input((1,)), 1))

_CONDITIONS: dict[str, Callable[[int, int], bool]] = {
    "one": lambda a, b: a == 1,
    "not": lambda a, b: a != 1,
    "both": lambda a, b: a == 1 and b == 0,
    "either": lambda a, b: a == 1 or b == 1,
    "differ": lambda a, b: a != b,
}


def _choose_all(choose: Choose, statements: tuple[Any, ...], decisions: dict[str, int]) -> None:
    for statement in statements:
        if statement[0] == "choose":
            _, name, options = statement
            decisions[name] = choose.one_of(name, options)
        else:
            _, kind, first, second, then, otherwise = statement
            names = list(decisions)
            if names:
                a, b = decisions[names[first % len(names)]], decisions[names[second % len(names)]]
                _choose_all(choose, then if _CONDITIONS[kind](a, b) else otherwise, decisions)


def space_of(statements: tuple[Any, ...]) -> Space:
    """The space that makes these choices; all its networks are alike."""

    def function(choose: Choose) -> Graph:
        _choose_all(choose, statements, {})
        return _GRAPH

    return Space(function, "random")


@st.composite
def spaces(draw: st.DrawFn, most: int = 7) -> Space:
    """Spaces of up to ``most`` choices; conditions look at one or two earlier choices and nest."""
    choice_count = 0

    def choices(depth: int) -> tuple[Any, ...]:
        nonlocal choice_count
        statements: list[Any] = []
        for _ in range(draw(st.integers(0 if depth else 1, 3))):
            if depth < 3 and draw(st.booleans()) and choice_count:
                kind = draw(st.sampled_from(sorted(_CONDITIONS)))
                picks = draw(st.integers(0, 6)), draw(st.integers(0, 6))
                then, otherwise = choices(depth + 1), choices(depth + 1)
                # Two branches may make one choice, as long as a network makes it once.
                statements.append(("if", kind, *picks, then, then + otherwise if draw(st.booleans()) else otherwise))
            elif choice_count < most:
                choice_count += 1
                statements.append(("choose", f"c{choice_count}", tuple(range(draw(st.integers(1, 4))))))
        return tuple(statements)

    return space_of(choices(0))
