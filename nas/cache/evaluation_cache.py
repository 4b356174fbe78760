"""The evaluation cache itself: results of trainings by network and cache key, looked up, claimed and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nas.cache import maintenance
from nas.cache.claims import Claim, ClaimTable
from nas.cache.database import Database
from nas.cache.networks import NetworkTable, SameNetwork
from nas.cache.records import (
    CachedResult,
    CacheError,
    CacheKey,
    CacheSummary,
    HitKind,
    NetworkId,
    checked_observation,
)
from nas.cache.tables import observation_of_row

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

DEFAULT_CACHE_PATH = Path("nas-runs", "cache.db")


class EvaluationCache:
    """The cache in an SQLite file (a path) or in any database (an SQLAlchemy URL; ``sqlite://`` is one in memory).

    Threads may share one; a process that was forked must open its own. ``limit`` bounds the number of networks: the
    least recently used ones are evicted with their observations; uses count where the cache was opened with a limit. A
    claim of another machine expires once its heartbeat is ``lease_s`` old; machines whose clocks differ by more than
    that may train a network twice, nothing worse. Raises ``CacheError``.
    """

    def __init__(
        self, where: str | Path = DEFAULT_CACHE_PATH, *, limit: int | None = None, lease_s: float = 60.0
    ) -> None:
        if limit is not None and limit < 1:
            raise CacheError(f"the cache's limit must be at least 1 network, not {limit}")
        if not lease_s > 0:
            raise CacheError(f"the cache's lease must be above 0 seconds, not {lease_s}")
        self.lease_s = lease_s
        self._database = Database(str(where))
        self._schema = self._database.schema
        self._networks = NetworkTable(self._database, limit)
        self._claims = ClaimTable(self._database, lease_s)

    @property
    def collisions(self) -> int:
        """How many networks this object stored as further variants of a key."""
        return self._networks.collisions

    def network(self, key: str, digest: str, form: Callable[[], str], same_network: SameNetwork) -> NetworkId:
        """The stored network that this one is, stored now where it is new.

        ``digest`` is that of the exact form: equal digests count as equal forms. Otherwise ``same_network`` decides
        whether a stored form and this one are the same network, once for each digest and stored form.
        """
        return self._networks.network(key, digest, form, same_network)

    # -- results ---------------------------------------------------------------------------------------------------

    def lookup(self, network: NetworkId, cache_key: CacheKey, repeats: int = 1) -> CachedResult:
        """What is recorded: ``full`` where there are ``repeats`` observations or more, else ``partial`` or ``miss``."""
        if repeats < 1:
            raise CacheError(f"a result takes at least 1 observation, not {repeats}")
        entry = {"network": network.id, "question": cache_key.digest}
        rows = self._database.read(lambda c: c.execute(self._schema.observations_in_use, entry).all())
        kind: HitKind = "full" if len(rows) >= repeats else "partial" if rows else "miss"
        return CachedResult(kind, tuple([observation_of_row(row) for row in rows]))

    def result_or_claim(
        self, network: NetworkId, cache_key: CacheKey, ordinal: int, *, poll_s: float = 0.2
    ) -> CachedResult | Claim:
        """The observation with this ordinal alone, or the right to train it.

        Waits while another process trains it: the result is then ``in_flight``, otherwise ``full``.
        """

        def recorded() -> CachedResult | None:
            observations = self.lookup(network, cache_key).observations
            with_ordinal = tuple([o for o in observations if o.ordinal == ordinal])
            return CachedResult("full", with_ordinal) if with_ordinal else None

        return _await_result_or_claim(
            recorded,
            lambda: self.claim(network, cache_key, ordinal),
            lambda: self.wait(network, cache_key, ordinal, poll_s),
        )

    def evaluate(
        self,
        network: NetworkId,
        cache_key: CacheKey,
        train: Callable[[int], tuple[Mapping[str, float], float]],
        repeats: int = 1,
        *,
        seed: Callable[[int], int] | None = None,
        poll_s: float = 0.2,
    ) -> CachedResult:
        """The result, trained once more where there are fewer than ``repeats`` observations, recorded or in flight.

        ``train`` is given the ordinal and returns metrics and seconds. What it raises is raised here and leaves no
        trace. With enough trainings in flight elsewhere, waits for them: ``in_flight``; should they fail, trains.
        """
        before = CachedResult("miss", ())

        def recorded() -> CachedResult | None:
            nonlocal before
            before = self.lookup(network, cache_key, repeats)
            return before if before.kind == "full" else None

        claim = _await_result_or_claim(
            recorded, lambda: self.claim_next(network, cache_key, repeats), lambda: time.sleep(poll_s)
        )
        if isinstance(claim, CachedResult):
            return claim
        with claim:
            own_seed = seed(claim.ordinal) if seed else None
            own = checked_observation(claim.ordinal, *train(claim.ordinal), own_seed)
            claim.complete(own.metrics, own.seconds, own.seed)
        stored = self.lookup(network, cache_key, repeats).observations
        if all(o.ordinal != own.ordinal for o in stored):  # cleared within this moment
            stored = (*stored, own)
        return CachedResult(before.kind, stored)

    # -- claims ----------------------------------------------------------------------------------------------------

    def claim(self, network: NetworkId, cache_key: CacheKey, ordinal: int) -> Claim | None:
        """The right to train this observation; ``None`` where it is recorded or another living process has it."""
        return self._claims.acquire(network, cache_key, ordinal)

    def claim_next(self, network: NetworkId, cache_key: CacheKey, repeats: int = 1) -> Claim | None:
        """A claim on the next observation; ``None`` where ``repeats`` are recorded or in flight, or another got it.

        Observations that an earlier release marked as forgotten do not count, and their ordinals are not used again.
        """
        return self._claims.acquire_next(network, cache_key, repeats)

    def wait(self, network: NetworkId, cache_key: CacheKey, ordinal: int, poll_s: float = 0.2) -> bool:
        """Wait while another trains this observation. Whether it is recorded; otherwise it can be claimed."""
        return self._claims.wait(network, cache_key, ordinal, poll_s)

    # -- housekeeping ----------------------------------------------------------------------------------------------

    def summary(self) -> CacheSummary:
        """What the cache holds, by cache key and in all."""
        return maintenance.summarise(self._database, self._claims)

    def clear(self, evaluator: str | None = None, older_than_s: float | None = None) -> int:
        """Remove observations, of one evaluator or recorded before that many seconds, else all; how many.

        Networks without observations are removed too, but for those in training; measured costs by their age, and
        with everything.
        """
        return maintenance.clear(self._database, self._claims, evaluator, older_than_s)

    def export(self) -> pd.DataFrame:
        """One row an observation: network key, variant, cache key, ordinal, seed, seconds, when and where, its metrics.

        A metric whose name is that of another column is called ``metric_...``.
        """
        return maintenance.export(self._database)

    def close(self) -> None:
        """Release the claims that are held, and close all connections. Closing again does nothing."""
        if self._database.closed.is_set():
            return

        def release_all(c: sa.Connection) -> None:
            self._networks.write_uses(c)
            self._claims.release_all(c)

        try:
            if (self._claims.any_held or self._networks.used) and not self._database.is_forked:
                self._database.write(release_all)
        finally:
            self._database.closed.set()
            self._claims.stop_heartbeat()
            self._database.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _await_result_or_claim(
    recorded: Callable[[], CachedResult | None], claim: Callable[[], Claim | None], wait: Callable[[], object]
) -> CachedResult | Claim:
    """What is recorded, or else a claim on it; waits as long as others hold all claims.

    A result that was waited for is ``in_flight``.
    """
    waited = False
    while True:
        result = recorded()
        if result is not None:
            return replace(result, kind="in_flight") if waited else result
        acquired = claim()
        if acquired is not None:
            return acquired
        waited = True
        wait()
