"""Constraint repair: genotypes beyond the limits, moved to within them before they are proposed.

Where few networks keep the limits, a searcher that does not know them spends its candidates on those that do not. The
predicted costs that break a limit take no training, so a genotype is repaired by them alone, a decision at a time.
"""

from __future__ import annotations

import random
from collections import deque
from math import inf

from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.multi_fidelity import Suggestion, as_multi_fidelity
from nas.searchers.protocol import Featurizer, Outcome, Searcher
from search_spaces.space.genotype import DecisionValue, Genotype

Change = tuple[str, DecisionValue]
"""A decision, and the option that it is changed to."""


class RepairEffects:
    """How much less the limits were broken after each change: means over all repairs that it was handed to."""

    def __init__(self) -> None:
        self._sums: dict[Change, float] = {}
        self._counts: dict[Change, int] = {}

    def add(self, name: str, before: DecisionValue, after: DecisionValue, gain: float) -> None:
        """A decision was changed, and the constraint violation fell by ``gain``."""
        for change, part in (((name, after), gain), ((name, before), -gain)):
            self._sums[change] = self._sums.get(change, 0.0) + part
            self._counts[change] = self._counts.get(change, 0) + 1

    def expected(self, name: str, before: DecisionValue, after: DecisionValue) -> float:
        """The gain to be expected of a change; an option that was never seen to matter counts as 0."""
        return self._mean((name, after)) - self._mean((name, before))

    def _mean(self, change: Change) -> float:
        return self._sums[change] / self._counts[change] if change in self._counts else 0.0


def repair_genotype(
    space: ChoiceSpace,
    genotype: Genotype,
    featurize: Featurizer,
    rng: random.Random,
    attempts: int = 30,
    effects: RepairEffects | None = None,
) -> Genotype:
    """The genotype moved to within the limits; itself where it keeps them, what breaks them least where that failed.

    Greedy: of the changes of one decision, the one of most expected effect is tried, none twice in a round of them,
    and kept where the limits are broken less. It predicts ``attempts`` children at most and trains none. ``effects``
    are learned from every attempt: handed on from repair to repair, they save most of the attempts.
    """
    effects = RepairEffects() if effects is None else effects
    options = space.decisions()
    constraint_violation = featurize(genotype).constraint_violation
    tried: set[Change] = set()
    for _ in range(attempts):
        if constraint_violation <= 0:
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
        after = featurize(child).constraint_violation
        effects.add(name, genotype[name], option, constraint_violation - after)
        if after < constraint_violation:
            genotype, constraint_violation = child, after
    return genotype


def _most_promising(
    genotype: Genotype,
    options: dict[str, tuple[DecisionValue, ...]],
    tried: set[Change],
    effects: RepairEffects,
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


class RepairingSearcher:
    """A searcher around another: what that asks for is repaired first.

    An outcome of a repaired genotype tells the inner searcher first that the one it asked for broke the limits, and
    then of the repaired one, so that nothing that it asked for stays pending. What repairs have learned of decisions is
    no outcome: a searcher rebuilt from outcomes learns it again. ``fidelities`` are those of the inner searcher.
    """

    def __init__(
        self, searcher: Searcher, space: ChoiceSpace, rng: random.Random, featurize: Featurizer, attempts: int = 30
    ) -> None:
        if attempts < 0:
            raise ValueError(f"attempts count from 0, not {attempts}")
        self._searcher = searcher
        self._multi_fidelity = as_multi_fidelity(searcher)
        self._space = space
        self._rng = rng
        self._featurize = featurize
        self._attempts = attempts
        self._effects = RepairEffects()
        self._originals: dict[Suggestion, deque[Genotype]] = {}

    @property
    def fidelities(self) -> tuple[float, ...]:
        return self._multi_fidelity.fidelities

    def ask(self) -> Genotype:
        return self._repair(Suggestion(self._searcher.ask(), 1.0)).genotype

    def tell(self, outcome: Outcome) -> None:
        for reported in self._with_original(outcome, 1.0):
            self._searcher.tell(reported)

    def ask_with_fidelity(self) -> Suggestion:
        return self._repair(self._multi_fidelity.ask_with_fidelity())

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        for reported in self._with_original(outcome, fidelity):
            self._multi_fidelity.tell_with_fidelity(reported, fidelity)

    def _repair(self, original: Suggestion) -> Suggestion:
        child = repair_genotype(
            self._space, original.genotype, self._featurize, self._rng, self._attempts, self._effects
        )
        replacement = Suggestion(child, original.fidelity)
        if replacement != original:
            self._originals.setdefault(replacement, deque()).append(original.genotype)
        return replacement

    def _with_original(self, outcome: Outcome, fidelity: float) -> list[Outcome]:
        """The outcome; if its genotype is a repair, after that of the genotype that was repaired."""
        replacement = Suggestion(outcome.genotype, fidelity)
        originals = self._originals.get(replacement)
        if not originals:
            return [outcome]
        original = originals.popleft()
        if not originals:
            del self._originals[replacement]
        return [
            Outcome(original, (inf,) * len(outcome.losses), self._featurize(original).constraint_violation),
            outcome,
        ]
