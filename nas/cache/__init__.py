"""The evaluation cache: results of trainings, shared by workers, runs and machines.

An entry is a network and a cache key. The network is a functional key and the number of its variant: networks of one
key whose forms differ (a collision of keys) are kept apart, and one is only taken for another after its stored form was
compared. The cache key is all else that a result depends on. A result is observations, one a training, numbered from 0
by their ordinals; a failed training leaves none. Whoever trains holds a claim, so that others who need the same
observation wait for it.

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
