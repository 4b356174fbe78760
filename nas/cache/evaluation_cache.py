"""The evaluation cache itself: what networks were trained to, found again or trained now, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas.cache import maintenance as upkeep
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
    checked_metrics,
    checked_observation,
    checked_text,
    texts_digest,
)
from nas.cache.tables import count, decode_metrics, encode_metrics, observation_of_row

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

DEFAULT_CACHE_PATH = Path("nas-runs", "cache.db")


class EvaluationCache:
    """The cache in an SQLite file (a path) or in any database (an SQLAlchemy URL; ``sqlite://`` is one in memory).

    Threads may share one; a process that was forked must open its own. ``limit`` bounds the number of networks, the
    least recently used ones leave with their observations; uses count where the cache was opened with a limit. A claim
    whose owner cannot be seen is free once its heartbeat is ``lease_s`` old; machines whose clocks differ by more than
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

        ``digest`` is that of the exact form: an equal one is taken for an equal form without asking. Else ``same_network``
        is asked whether a stored form and this one are the same network, once for each digest and stored form.
        """
        return self._networks.network(key, digest, form, same_network)

    # -- answers ---------------------------------------------------------------------------------------------------

    def lookup(self, network: NetworkId, cache_key: CacheKey, repeats: int = 1) -> CachedResult:
        """What is known: ``full`` where there are at least ``repeats`` observations, else ``partial`` or ``miss``."""
        if repeats < 1:
            raise CacheError(f"an answer takes at least 1 observation, not {repeats}")
        entry = {"network": network.id, "question": cache_key.digest}
        rows = self._database.read(lambda c: c.execute(self._schema.observations_in_use, entry).all())
        kind: HitKind = "full" if len(rows) >= repeats else "partial" if rows else "miss"
        return CachedResult(kind, tuple([observation_of_row(row) for row in rows]))

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
        """The answer, trained once more where there are fewer than ``repeats`` observations, recorded or in flight.

        ``train`` is given the ordinal and returns metrics and seconds. What it raises is raised here and leaves no
        trace. With enough trainings in flight elsewhere, waits for them: ``in_flight``; should they fail, trains.
        """
        waited = False
        while True:
            answer = self.lookup(network, cache_key, repeats)
            if answer.kind == "full":
                return replace(answer, kind="in_flight") if waited else answer
            claim = self.claim_next(network, cache_key, repeats)
            if claim is not None:
                break
            waited = True
            time.sleep(poll_s)
        try:
            own_seed = seed(claim.ordinal) if seed else None
            own = checked_observation(claim.ordinal, *train(claim.ordinal), own_seed)
            claim.complete(own.metrics, own.seconds, own.seed)
        except BaseException:
            with suppress(CacheError):  # the first error is the one to report
                claim.release()
            raise
        stored = self.lookup(network, cache_key, repeats).observations
        if all(o.ordinal != own.ordinal for o in stored):  # cleared or forgotten within this moment
            stored = (*stored, own)
        return CachedResult(answer.kind, stored)

    def forget(self, network: NetworkId, cache_key: CacheKey) -> int:
        """Leave what is known out of every later answer: how many observations. They stay stored, ordinals go on."""
        t = self._schema.observations
        of_entry = (t.c.network == network.id, t.c.cache_key == cache_key.digest, t.c.forgotten.is_(False))
        return self._database.write(lambda c: count(c.execute(t.update().where(*of_entry).values(forgotten=True))))

    # -- claims ----------------------------------------------------------------------------------------------------

    def claim(self, network: NetworkId, cache_key: CacheKey, ordinal: int) -> Claim | None:
        """The right to train this observation; ``None`` where it is recorded or another, who lives, has it."""
        return self._claims.acquire(network, cache_key, ordinal)

    def claim_next(self, network: NetworkId, cache_key: CacheKey, repeats: int = 1) -> Claim | None:
        """A claim on the next observation; ``None`` where ``repeats`` are recorded or in flight, or another was quicker.

        Observations that were forgotten do not count, and their ordinals are not given again.
        """
        return self._claims.acquire_next(network, cache_key, repeats)

    def wait(self, network: NetworkId, cache_key: CacheKey, ordinal: int, poll_s: float = 0.2) -> bool:
        """Wait while another trains this observation. Whether it is recorded; else its claim is free to take."""
        return self._claims.wait(network, cache_key, ordinal, poll_s)

    # -- measured cost ---------------------------------------------------------------------------------------------

    def cost(
        self, structure: str, device: str, compute: Callable[[], Mapping[str, float]], *, source: str = "measured"
    ) -> dict[str, float]:
        """The cost of a graph's structure (its digest) on a device (name and version), measured where it is new.

        What ``compute`` raises is raised here, and nothing is stored. Of two that measure at once, the first counts.
        """
        import sqlalchemy as sa

        t = self._schema.costs
        name = texts_digest("cost", checked_text("structure", structure), checked_text("device", device))
        stored = sa.select(t.c.metrics).where(t.c.id == name)
        row = self._database.read(lambda c: c.execute(stored).first())
        if row is None:
            named = {"id": name, "structure": structure, "device": device, "source": checked_text("source", source)}
            new = t.insert().values(**named, metrics=encode_metrics(checked_metrics(compute())), recorded=time.time())

            def store(c: sa.Connection) -> sa.Row[Any]:
                if c.execute(stored).first() is None:
                    c.execute(new)
                return c.execute(stored).one()

            row = self._database.write(store)
        return decode_metrics(row.metrics)

    # -- housekeeping ----------------------------------------------------------------------------------------------

    def summary(self) -> CacheSummary:
        """What the cache holds, question by question and in all."""
        return upkeep.summarise(self._database, self._claims)

    def clear(self, evaluator: str | None = None, older_than_s: float | None = None) -> int:
        """Remove observations, of one evaluator or recorded before that many seconds, else all; how many.

        Networks without observations leave too, but for those in training. Costs leave by their age, and with all.
        """
        return upkeep.clear(self._database, self._claims, evaluator, older_than_s)

    def export(self) -> pd.DataFrame:
        """One row an observation: key, variant, the question, ordinal, seed, seconds, when and where, its metrics.

        A metric whose name is that of another column is called ``metric_...``.
        """
        return upkeep.export(self._database)

    def close(self) -> None:
        """Release what claims are left, and close all connections. Closing twice is closing once."""
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
