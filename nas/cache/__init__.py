"""The evaluation cache: what trainings and measurements gave, shared by workers, runs and machines.

An entry is a network and a question. The network is a functional key and the number of its variant: networks of one
key whose forms differ (a collision of keys) are kept apart, and one is only taken for another after its stored form was
compared. The question is all else that an answer depends on. Answers are observations, one a training, numbered from 0;
a failed training leaves none. Whoever trains holds a claim, so that others who ask the same wait for it.

A local cache is an SQLite file: what was recorded survives the death of any process at any moment (a power cut may take
the last moments). SQLite's file must not lie on a network drive; machines share a cache through a database server.
"""

from __future__ import annotations

from nas.cache.claims import Claim
from nas.cache.evaluation_cache import DEFAULT_CACHE_PATH, EvaluationCache
from nas.cache.networks import SameNetwork
from nas.cache.records import (
    CachedResult,
    CacheError,
    CacheKey,
    CacheKeySummary,
    CacheSummary,
    HitKind,
    NetworkId,
    Observation,
)

__all__ = [  # noqa: RUF022 - the order of the documentation
    "DEFAULT_CACHE_PATH",
    "HitKind",
    "SameNetwork",
    "CacheError",
    "CacheKey",
    "NetworkId",
    "Observation",
    "CachedResult",
    "CacheKeySummary",
    "CacheSummary",
    "Claim",
    "EvaluationCache",
]
