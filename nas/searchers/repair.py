"""Genotypes beyond the limits, moved to within them before they are proposed; a searcher whose asks are so moved.

Where few networks keep the limits, a searcher that does not know them spends its candidates on those that do not.
What breaks a limit is known for free, so that a genotype can be led back by some free looks, a decision at a time.
"""

from __future__ import annotations

import random
from collections import deque
from math import inf

from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.multi_fidelity import Asked, by_share
from nas.searchers.protocol import Look, Outcome, Searcher
from search_spaces.space.genotype import Genotype, Value

Change = tuple[str, Value]
"""A decision, and the option that it is changed to."""


class Effects:
    """How much less the limits were broken after each change: means over all repairs that it was handed to."""

    def __init__(self) -> None:
        self._sums: dict[Change, float] = {}
        self._counts: dict[Change, int] = {}

    def add(self, name: str, before: Value, after: Value, gain: float) -> None:
        """A decision was changed, and the excess fell by ``gain``."""
        for change, part in (((name, after), gain), ((name, before), -gain)):
            self._sums[change] = self._sums.get(change, 0.0) + part
            self._counts[change] = self._counts.get(change, 0) + 1

    def expected(self, name: str, before: Value, after: Value) -> float:
        """The gain to be expected of a change; an option that was never seen to matter counts as 0."""
        return self._mean((name, after)) - self._mean((name, before))

    def _mean(self, change: Change) -> float:
        return self._sums[change] / self._counts[change] if change in self._counts else 0.0


def repaired(
    space: ChoiceSpace,
    genotype: Genotype,
    look: Look,
    rng: random.Random,
    attempts: int = 30,
    effects: Effects | None = None,
) -> Genotype:
    """The genotype led towards the limits; itself where it keeps them, what breaks them least where that failed.

    Greedy: of the changes of one decision, the one of most expected effect is tried, none twice in a round of them,
    and kept where the limits are broken less. It looks at ``attempts`` children at most and pays for none. ``effects``
    are learnt from every look: handed on from repair to repair, they save most of the attempts.
    """
    effects = Effects() if effects is None else effects
    options = space.decisions()
    excess = look(genotype).excess
    tried: set[Change] = set()
    for _ in range(attempts):
        if excess <= 0:
            break
        change = _most_promising(genotype, options, tried, effects, rng)
        if change is None:
            tried.clear()
            change = _most_promising(genotype, options, tried, effects, rng)
            if change is None:
                break
        tried.add(change)
        name, option = change
        child = space.complete({**genotype, name: option}, rng)
        after = look(child).excess
        effects.add(name, genotype[name], option, excess - after)
        if after < excess:
            genotype, excess = child, after
    return genotype


def _most_promising(
    genotype: Genotype,
    options: dict[str, tuple[Value, ...]],
    tried: set[Change],
    effects: Effects,
    rng: random.Random,
) -> Change | None:
    """A change with the most expected effect, at random among equals; ``None`` where all were tried."""
    best: list[Change] = []
    most = -inf
    for name, value in genotype.items():
        for option in options.get(name, ()):
            if option == value or (name, option) in tried:
                continue
            gain = effects.expected(name, value, option)
            if gain > most:
                best, most = [], gain
            if gain == most:
                best.append((name, option))
    return best[int(rng.random() * len(best))] if best else None


class Repairing:
    """A searcher around another: what that asks for is repaired first.

    An outcome of a repaired genotype tells the inner searcher first that the one it asked for broke the limits, and
    then of the repaired one, so that nothing that it asked for stays open. What repairs have learnt of decisions is no
    outcome: a searcher rebuilt from outcomes learns it again. ``shares`` are those of the inner searcher.
    """

    def __init__(
        self, searcher: Searcher, space: ChoiceSpace, rng: random.Random, look: Look, attempts: int = 30
    ) -> None:
        if attempts < 0:
            raise ValueError(f"attempts count from 0, not {attempts}")
        self._searcher = searcher
        self._by_share = by_share(searcher)
        self._space = space
        self._rng = rng
        self._look = look
        self._attempts = attempts
        self._effects = Effects()
        self._asked_for: dict[Asked, deque[Genotype]] = {}

    @property
    def shares(self) -> tuple[float, ...]:
        return self._by_share.shares

    def ask(self) -> Genotype:
        return self._led_back(Asked(self._searcher.ask(), 1.0)).genotype

    def tell(self, outcome: Outcome) -> None:
        for told in self._meant(outcome, 1.0):
            self._searcher.tell(told)

    def ask_at(self) -> Asked:
        return self._led_back(self._by_share.ask_at())

    def tell_at(self, outcome: Outcome, share: float) -> None:
        for told in self._meant(outcome, share):
            self._by_share.tell_at(told, share)

    def _led_back(self, asked: Asked) -> Asked:
        child = repaired(self._space, asked.genotype, self._look, self._rng, self._attempts, self._effects)
        proposed = Asked(child, asked.share)
        if proposed != asked:
            self._asked_for.setdefault(proposed, deque()).append(asked.genotype)
        return proposed

    def _meant(self, outcome: Outcome, share: float) -> list[Outcome]:
        """The outcome, after that of the genotype whose repair it is, if it is one's."""
        proposed = Asked(outcome.genotype, share)
        waiting = self._asked_for.get(proposed)
        if not waiting:
            return [outcome]
        asked = waiting.popleft()
        if not waiting:
            del self._asked_for[proposed]
        return [Outcome(asked, (inf,) * len(outcome.losses), self._look(asked).excess), outcome]
