"""Searchers written for earlier releases: parameter names of factories, and the names of fidelities."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from nas.searchers import catalog
from nas.searchers.catalog import SearcherRow, make_searcher
from nas.searchers.multi_fidelity import FullFidelity, Suggestion, as_multi_fidelity
from nas.searchers.protocol import Featurizer, KnownFeatures, Outcome
from nas.searchers.random_search import RandomSearch
from nas.testing.searchers import practice_space
from search_spaces.catalog import load_space
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

SPACE = load_space(practice_space)


class PresentFactory(RandomSearch):
    """Asks for its context by the names of today."""

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        network_key: Callable[[Genotype], str] | None = None,
        featurize: Featurizer | None = None,
        objectives: int | None = None,
        depth: int = 1,
    ) -> None:
        super().__init__(space, rng, history)
        self.context = (network_key, featurize, objectives, depth)


class EarlierFactory(RandomSearch):
    """Asks for its context by the names of the first releases."""

    def __init__(
        self,
        space: Space,
        rng: random.Random,
        known: Sequence[Outcome] = (),
        *,
        name_of: Callable[[Genotype], str] | None = None,
        look: Featurizer | None = None,
        objectives: int | None = None,
        depth: int = 1,
    ) -> None:
        super().__init__(space, rng, known)
        self.context = (name_of, look, objectives, depth)


def features(genotype: Genotype) -> KnownFeatures:
    return KnownFeatures("key of " + genotype.to_json())


@pytest.mark.parametrize("factory", [PresentFactory, EarlierFactory])
def test_a_factory_gets_its_context_under_either_name(
    factory: type[PresentFactory | EarlierFactory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.SEARCHERS, "mine", SearcherRow(f"{__name__}:{factory.__name__}", "mine"))
    searcher = make_searcher("mine", SPACE, random.Random(0), featurize=features, objectives=2, depth=3)
    assert isinstance(searcher, PresentFactory | EarlierFactory)
    network_key, featurize, objectives, depth = searcher.context
    genotype = searcher.ask()
    assert network_key is not None
    assert network_key(genotype) == features(genotype).key
    assert (featurize, objectives, depth) == (features, 2, 3)
    with pytest.raises(ValueError, match=r"no option 'width'; its options: depth$"):
        make_searcher("mine", SPACE, random.Random(0), featurize=features, width=3)


class Asked(NamedTuple):
    """What such a searcher asked for: a genotype and a share of the training."""

    genotype: Genotype
    share: float


class EarlierMultiFidelity(RandomSearch):
    """Asks for short trainings by the names of the first releases."""

    shares = (0.25, 1.0)

    def __init__(self, space: Space, rng: random.Random, known: Sequence[Outcome] = ()) -> None:
        super().__init__(space, rng, known)
        self.outcomes: list[tuple[Outcome, float]] = []

    def ask_at(self) -> Asked:
        return Asked(self.ask(), 0.25)

    def tell_at(self, outcome: Outcome, share: float) -> None:
        self.outcomes.append((outcome, share))


def test_a_searcher_of_shares_asks_for_fidelities() -> None:
    searcher = EarlierMultiFidelity(SPACE, random.Random(0))
    multi_fidelity = as_multi_fidelity(searcher)
    assert multi_fidelity.fidelities == (0.25, 1.0)
    suggestion = multi_fidelity.ask_with_fidelity()
    assert isinstance(suggestion, Suggestion)
    assert suggestion.fidelity == 0.25
    outcome = Outcome(suggestion.genotype, (1.0,))
    multi_fidelity.tell_with_fidelity(outcome, 0.25)
    assert searcher.outcomes == [(outcome, 0.25)]


def test_a_plain_searcher_trains_in_full() -> None:
    assert isinstance(as_multi_fidelity(RandomSearch(SPACE, random.Random(0))), FullFidelity)
