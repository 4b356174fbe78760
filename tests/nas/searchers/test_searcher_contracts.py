"""Every searcher of the table keeps the contract of searchers."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nas.searchers.catalog import SEARCHERS, make_searcher
from nas.testing import SearcherContract
from search_spaces.space.space import Space
from tests.support.space_contracts import checks_of

# Models begin after 12 outcomes; the time of Gaussian processes grows with the cube of the outcomes
ASKS = {"gp": 60, "auto": 40, "predictor": 60}


@pytest.mark.parametrize("check", checks_of(SearcherContract))
@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_keeps_its_contract(name: str, check: str) -> None:
    def make(self: object, space: Space, rng: Random, history: Any = ()) -> Any:
        return make_searcher(name, space, rng, history)

    asks = ASKS.get(name, SearcherContract.asks)
    contract = type(name, (SearcherContract,), {"make_searcher": make, "asks": asks})
    getattr(contract(), check)()
