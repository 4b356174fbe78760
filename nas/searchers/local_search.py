"""Local search with restarts (White, Nolen and Savani 2020, arXiv 2004.08996), for several objectives and hard limits.

The neighbours of a network differ from it in one decision. With one objective this is algorithm 1 of the paper: all
neighbours are evaluated, then the search moves to the best if it is better, and starts elsewhere if none is; with
``until_improvement`` it moves to the first better one. With several objectives it is Pareto local search (Paquete,
Chiarandini and Stuetzle 2004): an archive of the non-dominated networks of the run, whose neighbourhoods are searched
one after another until all have been.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from nas.candidates.pareto import dominates
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.low_discrepancy import genotypes
from nas.searchers.protocol import Outcome
from search_spaces.registry import unknown
from search_spaces.space.genotype import Genotype

_STARTS = ("random", "lattice", "sobol")
# Draws for a start that is new, before the space counts as seen.
_PATIENCE = 100
# Later starts that are told before a run goes on without neighbours that it still waits for: they may never come.
_AHEAD = 16


def neighbours(space: ChoiceSpace, genotype: Genotype, seed: str = "0") -> Iterator[Genotype]:
    """Every genotype with one decision changed to another option, once each, in an order that ``seed`` decides.

    Choices that a change opens are drawn at random. Order and draws depend on the genotype and ``seed`` alone.
    """
    options = space.decisions()
    changes = [(name, option) for name, value in genotype.items() for option in options[name] if option != value]
    order = random.Random(f"{seed}:{genotype.to_json()}")
    order.shuffle(changes)
    for name, option in changes:
        yield space.complete({**genotype, name: option}, order)


def _beats(a: Outcome, b: Outcome) -> bool:
    """Whether ``a`` dominates ``b``, hard limits first (Deb 2000)."""
    if a.excess > 0 or b.excess > 0:
        return a.excess < b.excess
    return dominates(a.losses, b.losses)


@dataclass
class _Centre:
    """A member of the archive, with those of its neighbours that nobody looked at yet."""

    outcome: Outcome
    ahead: Iterator[Genotype]
    next_one: Genotype | None = None
    left: bool = True


class LocalSearch:
    """Known networks are not asked for again, as ``name_of`` tells (by default: known genotypes).

    It starts from the best of what is ``known``, else from the first outcome that it is told. Any other outcome of a
    network that it did not ask for takes part like a neighbour. ``start``: where the restarts are, ``random`` or points
    of a ``sobol`` sequence or a ``lattice`` (``nas.searchers.low_discrepancy``). While neighbours are waited for and
    none are left to ask for, starts of later runs are asked for.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        rng: random.Random,
        known: Sequence[Outcome] = (),
        *,
        until_improvement: bool = False,
        start: str = "random",
        name_of: Callable[[Genotype], str] | None = None,
    ) -> None:
        if start not in _STARTS:
            raise unknown("start", start, list(_STARTS))
        self._space = space
        self._rng = rng
        self._greedy = until_improvement
        self._seed = repr(rng.random())
        self._points = None if start == "random" else genotypes(space, rng, start)
        self._name_of: Callable[[Genotype], Hashable] = name_of or (lambda genotype: genotype)
        self._known: set[Hashable] = set()
        self._pending: dict[Hashable, bool] = {}  # asked for and not told of: whether it is a start
        self._starts: deque[Outcome] = deque()
        self._archive: list[_Centre] = []
        self._centre: _Centre | None = None
        self._found: list[Outcome] = []
        for outcome in known:
            self.tell(outcome)
        self._move()

    def ask(self) -> Genotype:
        self._advance()
        genotype = None if self._centre is None else self._peek(self._centre)
        is_start = genotype is None
        if genotype is None:
            genotype = self._start()
        self._pending[self._name_of(genotype)] = is_start
        return genotype

    def tell(self, outcome: Outcome) -> None:
        name = self._name_of(outcome.genotype)
        is_start = self._pending.pop(name, None)
        if is_start is None and not self._pending:
            self._advance()  # as the ask did that this outcome answers, in a search that is told again
        self._known.add(name)
        if is_start and self._archive:
            self._starts.append(outcome)
        elif not self._archive:
            self._begin(outcome)
        else:
            self._found.append(outcome)
            if self._greedy:
                self._move()

    # -- one run -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on from a centre whose neighbours are all known to the next one, run or start."""
        while self._centre is not None and self._peek(self._centre) is None:
            if len(self._starts) < _AHEAD and not all(self._pending.values()):
                return
            self._move()
            self._centre = next((c for c in self._archive if c.left), None)
            if self._centre is None:  # a local optimum
                self._archive = []
                if self._starts:
                    self._begin(self._starts.popleft())

    def _begin(self, outcome: Outcome) -> None:
        self._archive = [self._new_centre(outcome)]
        self._centre = self._archive[0]
        self._found = []

    def _new_centre(self, outcome: Outcome) -> _Centre:
        return _Centre(outcome, neighbours(self._space, outcome.genotype, self._seed))

    def _move(self) -> None:
        """Take what was found into the archive: what is beaten or equalled stays out, what it beats goes."""
        for found in self._found:
            members = [c.outcome for c in self._archive]
            if any(_beats(m, found) or (m.losses, m.excess) == (found.losses, found.excess) for m in members):
                continue
            self._archive = [c for c in self._archive if not _beats(found, c.outcome)]
            self._archive.append(self._new_centre(found))
        self._found = []
        if self._centre is not None and not any(c is self._centre for c in self._archive):
            self._centre = next((c for c in self._archive if c.left), self._centre)

    def _peek(self, centre: _Centre) -> Genotype | None:
        """The next neighbour that is new; ``None`` where all are known or asked for."""
        while centre.left:
            if centre.next_one is not None:
                name = self._name_of(centre.next_one)
                if name not in self._known and name not in self._pending:
                    return centre.next_one
            centre.next_one = next(centre.ahead, None)
            centre.left = centre.next_one is not None
        return None

    def _start(self) -> Genotype:
        for _ in range(_PATIENCE):
            genotype = self._space.sample(self._rng) if self._points is None else next(self._points)
            name = self._name_of(genotype)
            if name not in self._known and name not in self._pending:
                break
        return genotype
