"""Claims: who trains what, told to all who ask the same, and free again when its owner is done or dead."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas.cache.database import Database
from nas.cache.owner_process import here, started
from nas.cache.records import CacheError, NetworkId, Observation, Question, observed
from nas.cache.tables import QUESTION, count, having, metrics_text

if TYPE_CHECKING:
    import sqlalchemy as sa


class Claim:
    """The right to train one observation, kept alive until ``done`` or ``release``; ``with claim:`` releases it."""

    def __init__(self, claims: Claims, network: NetworkId, question: Question, ordinal: int, owner: str) -> None:
        self.network = network
        self.question = question
        self.ordinal = ordinal
        self._claims = claims
        self._owner = owner

    def done(self, metrics: Mapping[str, float], seconds: float, seed: int | None = None) -> bool:
        """Record what the training gave and free the claim.

        ``False`` where another process, which took this one for dead, recorded this ordinal first: its figures stand.
        Raises ``CacheError`` for metrics that are no named numbers; the claim is then still held.
        """
        return self._claims.record(self, self._owner, observed(self.ordinal, metrics, seconds, seed))

    def release(self) -> None:
        """Free the claim without a result; does nothing after ``done``."""
        self._claims.release(self, self._owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Claims:
    """The claims of a cache, those held here kept alive by a thread. Its methods are those of ``EvaluationCache``."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._schema = database.schema
        self._lease_s = lease_s
        self._machine, self._place = here()
        self._held: set[str] = set()  # the owners' names
        self._guard = threading.Lock()
        self._heart: threading.Thread | None = None

    def take(self, network: NetworkId, question: Question, ordinal: int) -> Claim | None:
        import sqlalchemy as sa

        s = self._schema
        entry = _entry(network, question, ordinal)
        this = having(s.claims, entry)
        owner = uuid.uuid4().hex
        mine = {
            "owner": owner,
            "machine": self._machine,
            "pid": self._database.pid,
            "started": started(self._database.pid) or "",
            "lease_s": self._lease_s,
        }

        def take(c: sa.Connection) -> bool:
            now = time.time()
            row = c.execute(sa.select(s.claims).where(*this)).first()
            if row is None:
                c.execute(s.claims.insert().values(**entry, **mine, since=now, heartbeat=now))
            elif row.owner == owner:
                return True  # the connection broke when this had been done
            elif self.lives(row):
                return False
            else:
                dead = s.claims.update().where(*this, s.claims.c.owner == row.owner)
                if count(c.execute(dead.values(**mine, since=now, heartbeat=now))) != 1:
                    return False  # another was quicker
            # Asked only now that nobody else can claim it: before, its owner might have recorded it in between.
            if c.execute(s.recorded, entry).first() is not None:
                c.execute(s.claims.delete().where(*this))
                return False
            return True

        if not self._database.write(take):
            return None
        with self._guard:
            self._held.add(owner)
            if self._heart is None:
                self._heart = threading.Thread(target=self._beat, name="nas cache heartbeat", daemon=True)
                self._heart.start()
        return Claim(self, network, question, ordinal, owner)

    def take_next(self, network: NetworkId, question: Question, most: int) -> Claim | None:
        import sqlalchemy as sa

        o, k = self._schema.observations, self._schema.claims
        entry = _entry(network, question)
        of_observations = sa.select(o.c.ordinal, o.c.forgotten).where(*having(o, entry))
        recorded = self._database.read(lambda c: c.execute(of_observations).all())
        claims = self._database.read(lambda c: c.execute(sa.select(k).where(*having(k, entry))).all())
        in_flight = [row.ordinal for row in claims if self.lives(row)]
        if sum(not row.forgotten for row in recorded) + len(in_flight) >= most:
            return None
        taken = {*in_flight, *(row.ordinal for row in recorded)}
        return self.take(network, question, next(n for n in range(len(taken) + 1) if n not in taken))

    def wait(self, network: NetworkId, question: Question, ordinal: int, poll_s: float) -> bool:
        import sqlalchemy as sa

        s = self._schema
        entry = _entry(network, question, ordinal)
        this = sa.select(s.claims).where(*having(s.claims, entry))
        while (row := self._database.read(lambda c: c.execute(this).first())) is not None and self.lives(row):
            time.sleep(poll_s)
        return self._database.read(lambda c: c.execute(s.recorded, entry).first()) is not None

    def record(self, claim: Claim, owner: str, observation: Observation) -> bool:
        """Store what a training gave and free its claim; whether it is the first of its ordinal."""
        import sqlalchemy as sa

        s = self._schema
        question = claim.question
        entry = _entry(claim.network, question, claim.ordinal)
        asked = {name: getattr(question, "fidelity_text" if name == "fidelity" else name) for name in QUESTION}

        def record(c: sa.Connection) -> bool:
            if c.execute(sa.select(s.questions.c.id).where(s.questions.c.id == question.digest)).first() is None:
                c.execute(s.questions.insert().values(id=question.digest, **asked))
            new = c.execute(s.recorded, entry).first() is None
            if new:
                c.execute(
                    s.observations.insert().values(
                        **entry,
                        metrics=metrics_text(observation.metrics),
                        seconds=observation.seconds,
                        seed=observation.seed,
                        recorded=time.time(),
                        place=self._place,
                        forgotten=False,
                    )
                )
            c.execute(s.networks.update().where(s.networks.c.id == claim.network.id).values(used=time.time()))
            self._free(c, claim, owner)
            return new

        new = self._database.write(record)
        self._let_go(owner)
        return new

    def release(self, claim: Claim, owner: str) -> None:
        if self._let_go(owner):
            self._database.write(lambda c: self._free(c, claim, owner))

    def lives(self, claim: sa.Row[Any]) -> bool:
        """Whether the owner of a stored claim is still at it, as far as can be told."""
        if claim.machine == self._machine:
            since = started(claim.pid)
            if since is None:
                return False
            if since and claim.started:  # a number may have gone to another process since
                return bool(since == claim.started)
        return bool(time.time() - claim.heartbeat <= claim.lease_s)

    @property
    def are_held(self) -> bool:
        return bool(self._held)

    def leave(self, c: sa.Connection) -> None:
        """Free all that are held."""
        c.execute(self._schema.claims.delete().where(self._mine()))

    def stop(self) -> None:
        """Wait for the heart to stand still, once the database is closed."""
        if self._heart is not None and self._heart is not threading.current_thread():
            self._heart.join(timeout=5)

    def _free(self, c: sa.Connection, claim: Claim, owner: str) -> None:
        own = {**_entry(claim.network, claim.question, claim.ordinal), "owner": owner}
        c.execute(self._schema.claims.delete().where(*having(self._schema.claims, own)))

    def _let_go(self, owner: str) -> bool:
        with self._guard:
            held = owner in self._held
            self._held.discard(owner)
            return held

    def _mine(self) -> sa.ColumnElement[bool]:
        with self._guard:
            return self._schema.claims.c.owner.in_(sorted(self._held))

    def _beat(self) -> None:
        """Keeps the claims alive, in a thread of its own."""
        while not self._database.closed.wait(self._lease_s / 4):
            if self._held:
                beat = self._schema.claims.update().where(self._mine()).values(heartbeat=time.time())
                with suppress(CacheError):  # a server that is away for a moment: the next beat may reach it
                    self._database.write(lambda c: c.execute(beat))  # noqa: B023


def _entry(network: NetworkId, question: Question, ordinal: int | None = None) -> dict[str, Any]:
    """The key of an observation and of its claim; without an ordinal, of all of a network under a question."""
    entry: dict[str, Any] = {"network": network.id, "question": question.digest}
    return entry if ordinal is None else {**entry, "ordinal": ordinal}
