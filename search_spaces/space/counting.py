"""How many genotypes a space has."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from search_spaces.graph.graph import Graph
from search_spaces.space.choose import _First
from search_spaces.space.genotype import Genotype, Rng, SpaceError, Value


class _Misjudged(Exception):
    """What a count took for independent is not: it starts again with what was learnt, as long as it has runs left."""


class _Explorer:
    """Finds which decisions bear on which others, and counts genotypes with that.

    ``run`` runs the space's function with some decisions fixed and the others drawn; ``options`` has the options of
    every choice that a run has made so far.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Mapping[str, Value], Rng], tuple[Genotype, Graph]],
        options: Mapping[str, tuple[Any, ...]],
        seed: int = 0,
    ) -> None:
        self.name = name
        self.run = run
        self.options = options
        self.rng = random.Random(seed)
        self.first_run: dict[str, dict[str, Value]] = {}  # the first that made each choice
        self.links: dict[str, set[str]] = {}  # pairs where one decision, changed alone, makes the other come or go
        self.surprises: list[dict[str, Value]] = []
        self.runs_left = 100_000

    def count(self, samples: int = 1000) -> int | None:
        """Genotypes of the space; ``None`` where its choices are too entangled to tell."""
        while self.runs_left > 0:
            try:
                return self._count({}, frozenset(), samples)
            except _Misjudged:
                continue
        return None

    def _run(self, given: Mapping[str, Value], rng: Rng | None = None) -> dict[str, Value]:
        self.runs_left -= 1
        if self.runs_left < 0:
            raise _Misjudged
        made = dict(self.run(given, rng or self.rng)[0])
        for name in made:
            self.first_run.setdefault(name, made)
        return made

    def _link(self, a: str, b: str) -> None:
        self.links.setdefault(a, set()).add(b)
        self.links.setdefault(b, set()).add(a)

    def _cause(self, name: str, having: dict[str, Value], lacking: dict[str, Value]) -> str:
        """A decision that makes ``name`` come or go: found on the way from one run to another, change by change."""
        given = {**lacking, **having}
        for other, value in lacking.items():
            if given[other] != value:
                given[other] = value
                if name not in self._run(given, _First()):
                    return other
        raise SpaceError(f"space {self.name!r}: {name!r} is made or not at random; spaces must be functions")

    def _count(self, fixed: dict[str, Value], outside: frozenset[str], samples: int) -> int:
        """Genotypes that agree with ``fixed``, looking only at decisions that are not ``outside``."""
        known = self.options
        runs = [run for run in self.surprises if all(n in run and run[n] == v for n, v in fixed.items())]
        for _ in range(4):
            start = self._run(fixed)
            runs.append(start)
            for name in start:
                if name in fixed or name in outside:
                    continue
                for option in known[name]:
                    if option != start[name]:
                        other = self._run({**start, name: option})
                        runs.append(other)
                        for changed in sorted(start.keys() ^ other.keys()):
                            self._found(name, changed, fixed, outside, other)
        if any(len(options) > 1 for options in known.values()):
            runs.extend([self._run(fixed) for _ in range(samples)])
        here = set().union(*runs)
        runs.extend([self._run({**run, **fixed}) for name, run in list(self.first_run.items()) if name not in here])
        for run in runs:
            if not run.keys() >= fixed.keys():
                self.surprises.append(run)
                raise _Misjudged
        free = [n for n in dict.fromkeys(n for run in runs for n in run) if n not in fixed and n not in outside]
        always = set(free).intersection(*runs)
        total = 1
        left = set(free)
        for name in free:
            if name not in left:
                continue
            group = self._group(name, left)
            while not group & always:
                # Whatever comes and goes has a cause that does not; the first of the group is nearest to it.
                first = next(n for n in free if n in group)
                having = next(run for run in runs if first in run)
                lacking = next(run for run in runs if first not in run)
                self._found(self._cause(first, having, lacking), first, fixed, outside, having, lacking)
                group = self._group(name, set(free))
            if not group <= left:
                raise _Misjudged
            left -= group
            leader = next(n for n in free if n in group and n in always)
            if len(group) == 1:
                total *= len(known[leader])
            else:
                beside = outside.union(free) - group
                total *= sum(self._count({**fixed, leader: option}, beside, 32) for option in known[leader])
        return total

    def _found(
        self, cause: str, name: str, fixed: Mapping[str, Value], outside: frozenset[str], *runs: dict[str, Value]
    ) -> None:
        self._link(cause, name)
        if cause in outside or name in outside or name in fixed:
            self.surprises.extend(runs)
            raise _Misjudged

    def _group(self, name: str, among: set[str]) -> set[str]:
        """All decisions of ``among`` that bear on ``name``, directly or through each other."""
        group, todo = {name}, [name]
        while todo:
            for other in self.links.get(todo.pop(), ()):
                if other in among and other not in group:
                    group.add(other)
                    todo.append(other)
        return group
