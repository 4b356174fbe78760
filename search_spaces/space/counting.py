"""All genotypes of a space: listed, or counted without a list."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from search_spaces.graph.graph import Graph
from search_spaces.space.choose import FirstOption
from search_spaces.space.genotype import DecisionValue, Genotype, Rng, SpaceError

MAX_LISTED = 2000  # spaces that seem no larger than this are counted by listing them ...
MAX_LIST = 20_000  # ... and a list that grows to this gives up


def enumerate_genotypes(
    run: Callable[[Mapping[str, DecisionValue]], Genotype], options: Mapping[str, tuple[Any, ...]]
) -> Iterator[Genotype]:
    """Every genotype once, in the order of the options, last decision fastest.

    ``run`` takes the first option of every choice that it is not given; ``options`` has those of every choice that a
    run has made so far.
    """
    prefix: dict[str, DecisionValue] = {}
    while True:
        genotype = run(prefix)
        yield genotype
        values = dict(genotype)
        for name in reversed(list(values)):
            index = options[name].index(values[name])
            if index + 1 < len(options[name]):
                values[name] = options[name][index + 1]
                prefix = values
                break
            del values[name]
        else:
            return


class _MissedDependency(Exception):
    """Decisions that a count took for independent are not: it starts again, knowing that, while it has runs left."""


class GenotypeCounter:
    """Finds which decisions bear on which others, and counts genotypes with that.

    ``run`` runs the space's function with some decisions fixed and the others at random; ``options`` has the options of
    every choice that a run has made so far.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Mapping[str, DecisionValue], Rng], tuple[Genotype, Graph]],
        options: Mapping[str, tuple[Any, ...]],
        seed: int = 0,
    ) -> None:
        self.name = name
        self.run = run
        self.options = options
        self.rng = random.Random(seed)
        self.first_run: dict[str, dict[str, DecisionValue]] = {}  # the first that made each choice
        # Pairs of decisions of which one, changed alone, makes the other come or go
        self.dependencies: dict[str, set[str]] = {}
        self.contradicting_runs: list[dict[str, DecisionValue]] = []
        self.runs_left = 100_000

    def count_and_names(self, enumerate_all: Callable[[], Iterator[Genotype]]) -> tuple[int, tuple[str, ...]]:
        """How many genotypes there are, and the names of all choices; small spaces are listed by ``enumerate_all``.

        Raises ``SpaceError`` where the space can neither be counted nor listed.
        """
        total = self.count()
        if total is None or total <= MAX_LISTED:
            total = 0
            for genotype in islice(enumerate_all(), MAX_LIST):
                self.first_run.update({name: {} for name in genotype if name not in self.first_run})
                total += 1
            if total == MAX_LIST:
                example = next(reversed(self.dependencies), "")
                raise SpaceError(
                    f"space {self.name!r}: which choices are made depends on too many others together to count, for"
                    f" example {example!r}"
                )
        return total, tuple(self.first_run)

    def count(self, samples: int = 1000) -> int | None:
        """Genotypes of the space; ``None`` where its choices are too entangled to tell."""
        while self.runs_left > 0:
            try:
                return self._count({}, frozenset(), samples)
            except _MissedDependency:
                continue
        return None

    def _run(self, given: Mapping[str, DecisionValue], rng: Rng | None = None) -> dict[str, DecisionValue]:
        self.runs_left -= 1
        if self.runs_left < 0:
            raise _MissedDependency
        decisions = dict(self.run(given, rng or self.rng)[0])
        for name in decisions:
            self.first_run.setdefault(name, decisions)
        return decisions

    def _add_dependency(self, a: str, b: str) -> None:
        self.dependencies.setdefault(a, set()).add(b)
        self.dependencies.setdefault(b, set()).add(a)

    def _find_cause(self, name: str, run_with: dict[str, DecisionValue], run_without: dict[str, DecisionValue]) -> str:
        """A decision that makes ``name`` come or go: the one change, from one run to the other, that does."""
        given = {**run_without, **run_with}
        for other, value in run_without.items():
            if given[other] != value:
                given[other] = value
                if name not in self._run(given, FirstOption()):
                    return other
        raise SpaceError(f"space {self.name!r}: {name!r} is made or not at random; spaces must be functions")

    def _count(self, fixed: dict[str, DecisionValue], excluded: frozenset[str], samples: int) -> int:
        """Genotypes that agree with ``fixed``, looking only at decisions that are not ``excluded``."""
        declared = self.options
        runs = [run for run in self.contradicting_runs if all(n in run and run[n] == v for n, v in fixed.items())]
        for _ in range(4):
            start = self._run(fixed)
            runs.append(start)
            for name in start:
                if name in fixed or name in excluded:
                    continue
                for option in declared[name]:
                    if option != start[name]:
                        other = self._run({**start, name: option})
                        runs.append(other)
                        for changed in sorted(start.keys() ^ other.keys()):
                            self._note_dependency(name, changed, fixed, excluded, other)
        if any(len(options) > 1 for options in declared.values()):
            runs.extend([self._run(fixed) for _ in range(samples)])
        here = set().union(*runs)
        runs.extend([self._run({**run, **fixed}) for name, run in list(self.first_run.items()) if name not in here])
        for run in runs:
            if not run.keys() >= fixed.keys():
                self.contradicting_runs.append(run)
                raise _MissedDependency
        open_choices = [
            n for n in dict.fromkeys(n for run in runs for n in run) if n not in fixed and n not in excluded
        ]
        always = set(open_choices).intersection(*runs)
        total = 1
        remaining = set(open_choices)
        for name in open_choices:
            if name not in remaining:
                continue
            group = self._dependent_group(name, remaining)
            while not group & always:
                # Whatever comes and goes has a cause that does not; the first of the group is nearest to it.
                first = next(n for n in open_choices if n in group)
                run_with = next(run for run in runs if first in run)
                run_without = next(run for run in runs if first not in run)
                self._note_dependency(
                    self._find_cause(first, run_with, run_without), first, fixed, excluded, run_with, run_without
                )
                group = self._dependent_group(name, set(open_choices))
            if not group <= remaining:
                raise _MissedDependency
            remaining -= group
            leader = next(n for n in open_choices if n in group and n in always)
            if len(group) == 1:
                total *= len(declared[leader])
            else:
                excluded_choices = excluded.union(open_choices) - group
                total *= sum(
                    self._count({**fixed, leader: option}, excluded_choices, 32) for option in declared[leader]
                )
        return total

    def _note_dependency(
        self,
        cause: str,
        name: str,
        fixed: Mapping[str, DecisionValue],
        excluded: frozenset[str],
        *runs: dict[str, DecisionValue],
    ) -> None:
        self._add_dependency(cause, name)
        if cause in excluded or name in excluded or name in fixed:
            self.contradicting_runs.extend(runs)
            raise _MissedDependency

    def _dependent_group(self, name: str, candidates: set[str]) -> set[str]:
        """All decisions of ``candidates`` that bear on ``name``, directly or through each other."""
        group, todo = {name}, [name]
        while todo:
            for other in self.dependencies.get(todo.pop(), ()):
                if other in candidates and other not in group:
                    group.add(other)
                    todo.append(other)
        return group
