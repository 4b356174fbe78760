"""A searcher that breaks a check of ``SearcherContract`` is caught by it; one that keeps it passes."""

from __future__ import annotations

import random
from random import Random
from typing import Any

import pytest

from nas.searchers.protocol import Outcome
from nas.testing import SearcherContract
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space
from tests.support.space_contracts import checks_of


class Search:
    """Random search, in which subclasses break something."""

    def __init__(self, space: Space, rng: Random, history: Any) -> None:
        self.space, self.rng, self.history = space, rng, history
        self.open = 0

    def ask(self) -> Any:
        self.open += 1
        return self.space.sample(self.rng)

    def tell(self, outcome: Outcome) -> None:
        self.open -= 1


class AsksForDicts(Search):
    def ask(self) -> Any:
        return dict(super().ask())


class AsksOutside(Search):
    def ask(self) -> Any:
        return Genotype({**super().ask(), "stem": 5})


class DrawsFromElsewhere(Search):
    def ask(self) -> Any:
        return self.space.sample(random.Random(random.random()))


class OneAtATime(Search):
    def ask(self) -> Any:
        assert not self.open, "tell me first"
        return super().ask()


class FailsAtFailures(Search):
    def tell(self, outcome: Outcome) -> None:
        self.best = sum(round(loss) for loss in outcome.losses)


class FailsAtLimits(Search):
    def tell(self, outcome: Outcome) -> None:
        assert outcome.constraint_violation == 0, "no limits here"


class KeepsTheList(Search):
    def tell(self, outcome: Outcome) -> None:
        if self.history:
            self.history.append(outcome)


class WantsTwo(Search):
    def ask(self) -> Any:
        first = super().ask()
        if self.space.size() == 1:
            raise LookupError("nothing to vary")
        return first


BROKEN_SEARCHERS: list[tuple[str, type[Search], str]] = [
    ("it_asks_for_genotypes_of_the_space", AsksForDicts, "returned dict, not a Genotype"),
    ("it_asks_for_genotypes_of_the_space", AsksOutside, "leads out of the space"),
    ("the_same_seed_asks_for_the_same_genotypes", DrawsFromElsewhere, "is for another genotype"),
    ("several_asks_may_come_before_the_outcomes", OneAtATime, "tell me first"),
    ("failures_and_broken_limits_are_outcomes_too", FailsAtFailures, "cannot convert float infinity"),
    ("failures_and_broken_limits_are_outcomes_too", FailsAtLimits, "no limits here"),
    ("it_starts_from_known_outcomes", KeepsTheList, "changed the list of known outcomes"),
    ("a_space_of_one_network_is_asked_again_and_again", WantsTwo, "nothing to vary"),
]


@pytest.mark.parametrize(
    ("check", "searcher", "message"), BROKEN_SEARCHERS, ids=[m.__name__ for _, m, _ in BROKEN_SEARCHERS]
)
def test_a_broken_searcher_is_caught(check: str, searcher: type[Search], message: str) -> None:
    contract = type("Broken", (SearcherContract,), {"make_searcher": lambda self, *arguments: searcher(*arguments)})
    good = type("Good", (SearcherContract,), {"make_searcher": lambda self, *arguments: Search(*arguments)})
    getattr(good(), f"test_{check}")()
    with pytest.raises((AssertionError, OverflowError, LookupError), match=message):
        getattr(contract(), f"test_{check}")()


def test_every_check_is_broken_by_a_searcher() -> None:
    assert {f"test_{check}" for check, _, _ in BROKEN_SEARCHERS} == set(checks_of(SearcherContract))
