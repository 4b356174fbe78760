"""Networks, cache keys and trainings for tests of the evaluation cache."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nas.cache import CacheKey, EvaluationCache, NetworkId
from nas.cache.tables import encode_metrics, schema

KEY = CacheKey("sgd@1", "digits-5f2c", {"steps": 300, "image_size": 64}, "ordinal")
OTHER_KEY = CacheKey("sgd@1", "digits-5f2c", {"steps": 600, "image_size": 64}, "ordinal")


def unexpected_comparison(stored: str, mine: str) -> bool:
    raise AssertionError("equal digests are equal forms: nothing needs to be compared")


def same_letters(stored: str, mine: str) -> bool:
    """Forms are one network where they have the same letters."""
    return sorted(stored) == sorted(mine)


def stored_network(cache: EvaluationCache, form: str = "abc", key: str = "exact-1:k") -> NetworkId:
    return cache.network(key, form, lambda: form, same_letters)


def gives(*metrics: float) -> Any:
    """A training whose n-th observation has the n-th of these as its metric, and takes two seconds."""
    return lambda ordinal: ({"map": metrics[ordinal]}, 2.0)


def no_training(ordinal: int) -> tuple[Mapping[str, float], float]:
    raise AssertionError("trained again")


def mark_forgotten(cache: EvaluationCache, network: NetworkId, cache_key: CacheKey) -> int:
    """Mark a network's observations as earlier releases could: they stay stored, and count no more. How many."""
    table = schema().observations
    of_entry = (
        table.c.network == network.id,
        table.c.question == cache_key.digest,
        table.c.forgotten.is_(False),
    )
    statement = table.update().where(*of_entry).values(forgotten=True)
    return int(cache._database.write(lambda c: c.execute(statement).rowcount))


def store_cost(cache: EvaluationCache, structure: str, device: str, metrics: Mapping[str, float]) -> None:
    """Store a measured cost as earlier releases did."""
    row = {"id": f"{structure} {device}", "structure": structure, "device": device, "source": "measured"}
    statement = schema().costs.insert().values(**row, metrics=encode_metrics(metrics), recorded=time.time())
    cache._database.write(lambda c: c.execute(statement))
