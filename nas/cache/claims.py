"""Claims: which process trains which observation, seen by all others, and free again when it is done or dead."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas.cache.database import Database
from nas.cache.owner_process import machine_and_process, process_start_time
from nas.cache.records import CacheError, CacheKey, NetworkId, Observation, checked_observation
from nas.cache.tables import KEY_COLUMNS, count, encode_metrics, equals

if TYPE_CHECKING:
    import sqlalchemy as sa


class Claim:
    """The right to train one observation, kept alive until ``complete`` or ``release``; ``with claim:`` releases it."""

    def __init__(self, claims: ClaimTable, network: NetworkId, cache_key: CacheKey, ordinal: int, owner: str) -> None:
        self.network = network
        self.cache_key = cache_key
        self.ordinal = ordinal
        self._claims = claims
        self._owner = owner

    def complete(self, metrics: Mapping[str, float], seconds: float, seed: int | None = None) -> bool:
        """Record the training's result and free the claim.

        ``False`` where another process, which took this one for dead, recorded this ordinal first: its figures stand.
        Raises ``CacheError`` for metrics that are no named numbers; the claim is then still held.
        """
        return self._claims.record(self, self._owner, checked_observation(self.ordinal, metrics, seconds, seed))

    def release(self) -> None:
        """Free the claim without a result; does nothing after ``complete``."""
        self._claims.release(self, self._owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(CacheError) if error is not None else nullcontext():  # the first error is the one to report
            self.release()


class ClaimTable:
    """The claims of a cache, those held here kept alive by a thread. Its methods are those of ``EvaluationCache``."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._schema = database.schema
        self._lease_s = lease_s
        self._boot_id, self._host_and_process = machine_and_process()
        self._held: set[str] = set()  # the owners' names
        self._lock = threading.Lock()
        self._heartbeat_thread: threading.Thread | None = None

    def acquire(self, network: NetworkId, cache_key: CacheKey, ordinal: int) -> Claim | None:
        """A claim on an observation, taken over from a dead owner where one holds it; ``None`` as for ``claim``."""
        import sqlalchemy as sa

        s = self._schema
        entry = _observation_key(network, cache_key, ordinal)
        this = equals(s.claims, entry)
        owner = uuid.uuid4().hex
        owner_columns = {
            "owner": owner,
            "machine": self._boot_id,
            "pid": self._database.pid,
            "started": process_start_time(self._database.pid) or "",
            "lease_s": self._lease_s,
        }

        def acquire(c: sa.Connection) -> bool:
            now = time.time()
            row = c.execute(sa.select(s.claims).where(*this)).first()
            if row is None:
                c.execute(s.claims.insert().values(**entry, **owner_columns, since=now, heartbeat=now))
            elif row.owner == owner:
                return True  # the connection broke when this had been done
            elif self.is_alive(row):
                return False
            else:
                dead = s.claims.update().where(*this, s.claims.c.owner == row.owner)
                if count(c.execute(dead.values(**owner_columns, since=now, heartbeat=now))) != 1:
                    return False  # another process was quicker
            # Checked only now that nobody else can claim it: before, its owner might have recorded it in between.
            if c.execute(s.recorded, entry).first() is not None:
                c.execute(s.claims.delete().where(*this))
                return False
            return True

        if not self._database.write(acquire):
            return None
        with self._lock:
            self._held.add(owner)
            if self._heartbeat_thread is None:
                self._heartbeat_thread = threading.Thread(
                    target=self._heartbeat_loop, name="nas cache heartbeat", daemon=True
                )
                self._heartbeat_thread.start()
        return Claim(self, network, cache_key, ordinal, owner)

    def acquire_next(self, network: NetworkId, cache_key: CacheKey, repeats: int) -> Claim | None:
        """A claim on the first ordinal that is neither recorded nor in flight; ``None`` as for ``claim_next``."""
        import sqlalchemy as sa

        o, k = self._schema.observations, self._schema.claims
        entry = _observation_key(network, cache_key)
        observations_query = sa.select(o.c.ordinal, o.c.forgotten).where(*equals(o, entry))
        recorded = self._database.read(lambda c: c.execute(observations_query).all())
        claims = self._database.read(lambda c: c.execute(sa.select(k).where(*equals(k, entry))).all())
        in_flight = [row.ordinal for row in claims if self.is_alive(row)]
        if sum(not row.forgotten for row in recorded) + len(in_flight) >= repeats:
            return None
        unavailable = {*in_flight, *(row.ordinal for row in recorded)}
        return self.acquire(network, cache_key, next(n for n in range(len(unavailable) + 1) if n not in unavailable))

    def wait(self, network: NetworkId, cache_key: CacheKey, ordinal: int, poll_s: float) -> bool:
        """Wait for the end of another's claim; whether the observation is recorded."""
        import sqlalchemy as sa

        s = self._schema
        entry = _observation_key(network, cache_key, ordinal)
        this = sa.select(s.claims).where(*equals(s.claims, entry))
        while (row := self._database.read(lambda c: c.execute(this).first())) is not None and self.is_alive(row):
            time.sleep(poll_s)
        return self._database.read(lambda c: c.execute(s.recorded, entry).first()) is not None

    def record(self, claim: Claim, owner: str, observation: Observation) -> bool:
        """Store an observation and free its claim; whether it is the first of its ordinal."""
        import sqlalchemy as sa

        s = self._schema
        cache_key = claim.cache_key
        entry = _observation_key(claim.network, cache_key, claim.ordinal)
        key_columns = {
            name: getattr(cache_key, "fidelity_text" if name == "fidelity" else name) for name in KEY_COLUMNS
        }

        def record(c: sa.Connection) -> bool:
            if c.execute(sa.select(s.questions.c.id).where(s.questions.c.id == cache_key.digest)).first() is None:
                c.execute(s.questions.insert().values(id=cache_key.digest, **key_columns))
            new = c.execute(s.recorded, entry).first() is None
            if new:
                c.execute(
                    s.observations.insert().values(
                        **entry,
                        metrics=encode_metrics(observation.metrics),
                        seconds=observation.seconds,
                        seed=observation.seed,
                        recorded=time.time(),
                        place=self._host_and_process,
                        forgotten=False,
                    )
                )
            c.execute(s.networks.update().where(s.networks.c.id == claim.network.id).values(used=time.time()))
            self._delete(c, claim, owner)
            return new

        new = self._database.write(record)
        self._discard_held(owner)
        return new

    def release(self, claim: Claim, owner: str) -> None:
        """Free a claim without a result, if it is still held."""
        if self._discard_held(owner):
            self._database.write(lambda c: self._delete(c, claim, owner))

    def is_alive(self, claim: sa.Row[Any]) -> bool:
        """Whether the process that owns a stored claim still runs, as far as this one can see."""
        if claim.machine == self._boot_id:
            since = process_start_time(claim.pid)
            if since is None:
                return False
            if since and claim.started:  # a number may have gone to another process since
                return bool(since == claim.started)
        return bool(time.time() - claim.heartbeat <= claim.lease_s)

    @property
    def any_held(self) -> bool:
        """Whether any claim is held here."""
        return bool(self._held)

    def release_all(self, c: sa.Connection) -> None:
        """Free all claims that are held here."""
        c.execute(self._schema.claims.delete().where(self._owned_here()))

    def stop_heartbeat(self) -> None:
        """Wait for the heartbeat thread to end, once the database is closed."""
        if self._heartbeat_thread is not None and self._heartbeat_thread is not threading.current_thread():
            self._heartbeat_thread.join(timeout=5)

    def _delete(self, c: sa.Connection, claim: Claim, owner: str) -> None:
        own = {**_observation_key(claim.network, claim.cache_key, claim.ordinal), "owner": owner}
        c.execute(self._schema.claims.delete().where(*equals(self._schema.claims, own)))

    def _discard_held(self, owner: str) -> bool:
        with self._lock:
            was_held = owner in self._held
            self._held.discard(owner)
            return was_held

    def _owned_here(self) -> sa.ColumnElement[bool]:
        with self._lock:
            return self._schema.claims.c.owner.in_(sorted(self._held))

    def _heartbeat_loop(self) -> None:
        """Keep the claims alive, in a thread of its own."""
        while not self._database.closed.wait(self._lease_s / 4):
            if self._held:
                heartbeat_update = self._schema.claims.update().where(self._owned_here()).values(heartbeat=time.time())
                with suppress(CacheError):  # a server that is unreachable for a moment: the next heartbeat may arrive
                    self._database.write(lambda c: c.execute(heartbeat_update))  # noqa: B023


def _observation_key(network: NetworkId, cache_key: CacheKey, ordinal: int | None = None) -> dict[str, Any]:
    """The primary key of an observation and of its claim; without an ordinal, of all of a network under a cache key."""
    entry: dict[str, Any] = {"network": network.id, "question": cache_key.digest}
    return entry if ordinal is None else {**entry, "ordinal": ordinal}
