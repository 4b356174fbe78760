"""What the named modules of a recording are: their steps, what they read, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from search_spaces.pytorch.from_module.recording import RecordedStep, Recording
from search_spaces.space.genotype import SpaceError


class Region(NamedTuple):
    """A module that takes one tensor and returns one: its steps, the step that it reads and its own last one."""

    steps: frozenset[int]
    source: int
    end: int


def belongs_to(path: str, owner: str) -> bool:
    """Whether a step of ``owner`` belongs to the module at ``path``."""
    return owner == path or owner.startswith(f"{path}.") or not path


def steps_in(steps: Sequence[RecordedStep], path: str) -> list[int]:
    return [index for index, step in enumerate(steps) if step.op != "input" and belongs_to(path, step.owner)]


def find_region(recording: Recording, path: str) -> Region | str:
    """The region of the module at ``path``, or why it is none."""
    steps = recording.steps
    own = frozenset(steps_in(steps, path))
    if not own:
        return f"{path!r} computes nothing here"
    sources = {i for index in own for i in steps[index].operands if i not in own}
    ends = {i for index, step in enumerate(steps) if index not in own for i in step.operands if i in own}
    ends |= {i for i in recording.outputs.values() if i in own}
    if len(sources) != 1 or len(ends) != 1:
        return (
            f"{path!r} reads {len(sources)} tensors and is read in {len(ends)}; only a module that takes one tensor,"
            " returns one and is called once can be left out or replaced"
        )
    return Region(own, *sources, *ends)


def match_paths(pattern: str, paths: Sequence[str]) -> list[str]:
    """The paths that a pattern names: ``*`` and ``?`` within one name, ``**`` for any number of names.

    Raises ``SpaceError`` with the names that come close.
    """
    matches = [path for path in paths if path and _matches(pattern.split("."), path.split("."))]
    if not matches:
        close = get_close_matches(pattern, paths, n=4, cutoff=0.5) or [p for p in paths if p and "." not in p][:8]
        raise SpaceError(f"vary: no module matches {pattern!r}; close: {', '.join(close) or 'none'}")
    return matches


def _matches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(pattern[1:], names[i:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(pattern[1:], names[1:])
