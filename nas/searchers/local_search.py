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

from nas.candidates.pareto import constrained_dominates
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.low_discrepancy import genotype_sequence
from nas.searchers.protocol import Outcome
from search_spaces.registry import unknown_name
from search_spaces.space.genotype import Genotype

_STARTS = ("random", "lattice", "sobol")
# Draws for a start that is new, before the space counts as seen.
_PATIENCE = 100
# Later starts that are told before a run goes on without neighbours that it still waits for: they may never come.
_MAX_BUFFERED_STARTS = 16


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


@dataclass
class _ArchiveMember:
    """A member of the archive, with those of its neighbours that were not visited yet."""

    outcome: Outcome
    unvisited: Iterator[Genotype]
    next_neighbour: Genotype | None = None
    has_unvisited: bool = True


class LocalSearch:
    """Evaluated networks are not asked for again, as ``network_key`` tells (by default: evaluated genotypes).

    It starts from the best of ``history``, else from the first outcome that it is told. Any other outcome of a
    network that it did not ask for takes part like a neighbour. ``start``: where the restarts are, ``random`` or points
    of a ``sobol`` sequence or a ``lattice`` (``nas.searchers.low_discrepancy``). While neighbours are waited for and
    none are left to ask for, starts of later runs are asked for.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        until_improvement: bool = False,
        start: str = "random",
        network_key: Callable[[Genotype], str] | None = None,
    ) -> None:
        if start not in _STARTS:
            raise unknown_name("start", start, list(_STARTS))
        self._space = space
        self._rng = rng
        self._greedy = until_improvement
        self._seed = repr(rng.random())
        self._points = None if start == "random" else genotype_sequence(space, rng, start)
        self._network_key: Callable[[Genotype], Hashable] = network_key or (lambda genotype: genotype)
        self._evaluated_keys: set[Hashable] = set()
        self._pending: dict[Hashable, bool] = {}  # asked for and not told of: whether it is a start
        self._starts: deque[Outcome] = deque()
        self._archive: list[_ArchiveMember] = []
        self._centre: _ArchiveMember | None = None
        self._neighbour_outcomes: list[Outcome] = []
        for outcome in history:
            self.tell(outcome)
        self._move()

    def ask(self) -> Genotype:
        self._advance()
        genotype = None if self._centre is None else self._peek(self._centre)
        is_start = genotype is None
        if genotype is None:
            genotype = self._new_start()
        self._pending[self._network_key(genotype)] = is_start
        return genotype

    def tell(self, outcome: Outcome) -> None:
        name = self._network_key(outcome.genotype)
        is_start = self._pending.pop(name, None)
        if is_start is None and not self._pending:
            self._advance()  # as the ask did that this outcome answers, in a search that is told again
        self._evaluated_keys.add(name)
        if is_start and self._archive:
            self._starts.append(outcome)
        elif not self._archive:
            self._start_run(outcome)
        else:
            self._neighbour_outcomes.append(outcome)
            if self._greedy:
                self._move()

    # -- one run -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on from a centre whose neighbours are all evaluated to the next one, run or start."""
        while self._centre is not None and self._peek(self._centre) is None:
            if len(self._starts) < _MAX_BUFFERED_STARTS and not all(self._pending.values()):
                return
            self._move()
            self._centre = next((c for c in self._archive if c.has_unvisited), None)
            if self._centre is None:  # a local optimum
                self._archive = []
                if self._starts:
                    self._start_run(self._starts.popleft())

    def _start_run(self, outcome: Outcome) -> None:
        self._archive = [self._new_member(outcome)]
        self._centre = self._archive[0]
        self._neighbour_outcomes = []

    def _new_member(self, outcome: Outcome) -> _ArchiveMember:
        return _ArchiveMember(outcome, neighbours(self._space, outcome.genotype, self._seed))

    def _move(self) -> None:
        """Take outcomes into the archive: what is dominated or equalled stays out, what it dominates goes."""
        for challenger in self._neighbour_outcomes:
            members = [c.outcome for c in self._archive]
            if any(
                constrained_dominates(m, challenger)
                or (m.losses, m.constraint_violation) == (challenger.losses, challenger.constraint_violation)
                for m in members
            ):
                continue
            self._archive = [c for c in self._archive if not constrained_dominates(challenger, c.outcome)]
            self._archive.append(self._new_member(challenger))
        self._neighbour_outcomes = []
        if self._centre is not None and not any(c is self._centre for c in self._archive):
            self._centre = next((c for c in self._archive if c.has_unvisited), self._centre)

    def _peek(self, centre: _ArchiveMember) -> Genotype | None:
        """The next neighbour that is new; ``None`` where all are evaluated or pending."""
        while centre.has_unvisited:
            if centre.next_neighbour is not None:
                name = self._network_key(centre.next_neighbour)
                if name not in self._evaluated_keys and name not in self._pending:
                    return centre.next_neighbour
            centre.next_neighbour = next(centre.unvisited, None)
            centre.has_unvisited = centre.next_neighbour is not None
        return None

    def _new_start(self) -> Genotype:
        for _ in range(_PATIENCE):
            genotype = self._space.sample(self._rng) if self._points is None else next(self._points)
            name = self._network_key(genotype)
            if name not in self._evaluated_keys and name not in self._pending:
                break
        return genotype
