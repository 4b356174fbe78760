"""The evaluation cache: what trainings and measurements gave, shared by workers, runs and machines.

An entry is a network and a question. The network is a functional key and the number of its variant: networks of one
key whose forms differ (a collision of keys) are kept apart, and one is only taken for another after its stored form was
compared. The question is all else that an answer depends on. Answers are observations, one a training, numbered from 0;
a failed training leaves none. Whoever trains holds a claim, so that others who ask the same wait for it.

A local cache is an SQLite file: what was recorded survives the death of any process at any moment (a power cut may take
the last moments). SQLite's file must not lie on a network drive; machines share a cache through a database server.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

# full: answered from the cache; in_flight: by another's training that was waited for;
# partial: some observations, fewer than asked for; miss: none
Kind = Literal["full", "partial", "in_flight", "miss"]
Same = Callable[[str, str], bool]
T = TypeVar("T")

DEFAULT_CACHE = Path("nas-runs", "cache.db")

_VERSION = 1
_ATTEMPTS = 6
_LONGEST_TEXT = 10_000
_LONGEST_FORM = 64 * 1024 * 1024


class CacheError(ValueError):
    """A cache that cannot be opened, read or written, or something that it cannot hold."""


def _hash(*parts: str) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def _text(what: str, text: str) -> str:
    if not isinstance(text, str) or not text or len(text) > _LONGEST_TEXT or "\0" in text:
        raise CacheError(f"the {what} must be a text of 1 to {_LONGEST_TEXT} characters, not {text!r:.80}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CacheError(f"the {what} {text!r:.80} is no valid Unicode") from None
    return text


@dataclass(frozen=True)
class Question:
    """What is asked of a network: questions are equal where their ``digest`` is.

    ``evaluator`` and ``data`` name the training and the data with their versions or digests, ``fidelity`` is the scale
    (JSON-able: steps, image size), ``seeds`` says how an observation's seed follows from its ordinal. Raises
    ``CacheError`` for what is no text or not JSON-able.
    """

    evaluator: str = field(compare=False)
    data: str = field(compare=False)
    fidelity: Mapping[str, Any] = field(compare=False)
    seeds: str = field(compare=False)
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for what in ("evaluator", "data", "seeds"):
            _text(what, getattr(self, what))
        object.__setattr__(self, "fidelity", json.loads(self.fidelity_text))  # a copy that nobody else changes
        object.__setattr__(self, "digest", _hash("question", self.evaluator, self.data, self.fidelity_text, self.seeds))

    @property
    def fidelity_text(self) -> str:
        """The fidelity as JSON, the same for the same fidelity."""
        try:
            return json.dumps(dict(self.fidelity), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise CacheError(f"the fidelity {self.fidelity!r:.200} is not JSON-able: {error}") from None


@dataclass(frozen=True)
class NetworkId:
    """A stored network: the ``variant``-th of those whose functional key is ``key``. ``id`` follows from its form."""

    key: str
    variant: int
    id: str


@dataclass(frozen=True)
class Observation:
    """What one training gave, and how many seconds it took."""

    ordinal: int
    metrics: Mapping[str, float]
    seconds: float
    seed: int | None = None


@dataclass(frozen=True)
class Answer:
    """What is known of a network under a question: its observations in order, forgotten ones left out."""

    kind: Kind
    observations: tuple[Observation, ...]

    @property
    def count(self) -> int:
        return len(self.observations)

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the observations that have it."""
        return {name: _mean(values) for name, values in self._values().items()}

    @property
    def std(self) -> dict[str, float]:
        """The sample standard deviation of each metric; none for a metric observed only once."""
        return {name: _std(values) for name, values in self._values().items() if len(values) > 1}

    @property
    def seconds(self) -> float:
        """The mean time of one training, 0 where nothing is known."""
        return _mean([o.seconds for o in self.observations]) if self.observations else 0.0

    def _values(self) -> dict[str, list[float]]:
        values: dict[str, list[float]] = {}
        for observation in self.observations:
            for name, value in observation.metrics.items():
                values.setdefault(name, []).append(value)
        return values


@dataclass(frozen=True)
class QuestionSummary:
    """What is stored for one question. ``seconds`` is the time of all its trainings, forgotten ones included."""

    evaluator: str
    data: str
    fidelity: str
    seeds: str
    networks: int
    observations: int
    forgotten: int
    seconds: float


@dataclass(frozen=True)
class CacheSummary:
    """What a cache holds. ``bytes`` is ``None`` where it is no local file; ``collisions`` are variants beyond the first
    of a key, ``in_flight`` the claims whose owners live."""

    where: str
    questions: tuple[QuestionSummary, ...]
    networks: int
    collisions: int
    observations: int
    forgotten: int
    seconds: float
    in_flight: int
    costs: int
    bytes: int | None


class Claim:
    """The right to train one observation, kept alive until ``done`` or ``release``; ``with claim:`` releases it."""

    def __init__(
        self, cache: EvaluationCache, network: NetworkId, question: Question, ordinal: int, owner: str
    ) -> None:
        self.network = network
        self.question = question
        self.ordinal = ordinal
        self._cache = cache
        self._owner = owner

    def done(self, metrics: Mapping[str, float], seconds: float, seed: int | None = None) -> bool:
        """Record what the training gave and free the claim.

        ``False`` where another process, which took this one for dead, recorded this ordinal first: its figures stand.
        Raises ``CacheError`` for metrics that are no named numbers; the claim is then still held.
        """
        return self._cache._record(self, Observation(self.ordinal, _checked(metrics), _seconds(seconds), _seed(seed)))

    def release(self) -> None:
        """Free the claim without a result; does nothing after ``done``."""
        self._cache._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class EvaluationCache:
    """The cache in an SQLite file (a path) or in any database (an SQLAlchemy URL; ``sqlite://`` is one in memory).

    Threads may share one; a process that was forked must open its own. ``limit`` bounds the number of networks, the
    least recently used ones leave with their observations; uses count where the cache was opened with a limit. A claim
    whose owner cannot be seen is free once its heartbeat is ``lease_s`` old; machines whose clocks differ by more than
    that may train a network twice, nothing worse. Raises ``CacheError``.
    """

    def __init__(self, where: str | Path = DEFAULT_CACHE, *, limit: int | None = None, lease_s: float = 60.0) -> None:
        if limit is not None and limit < 1:
            raise CacheError(f"the cache's limit must be at least 1 network, not {limit}")
        if not lease_s > 0:
            raise CacheError(f"the cache's lease must be above 0 seconds, not {lease_s}")
        self.lease_s = lease_s
        self.collisions = 0
        self._limit = limit
        self._pid = os.getpid()
        self._machine, self._place = _here()
        self._held: set[str] = set()  # the owners' names of the claims that are held
        self._used: dict[str, float] = {}
        self._guard = threading.Lock()
        self._heart: threading.Thread | None = None
        self._closed = threading.Event()
        self._file: Path | None = None
        self._turn: AbstractContextManager[Any] = nullcontext()
        self._engine = self._connect(str(where))
        self._schema = _schema()
        try:
            self._open()
        except BaseException:
            self._engine.dispose()
            raise

    # -- networks --------------------------------------------------------------------------------------------------

    def network(self, key: str, digest: str, form: Callable[[], str], same: Same) -> NetworkId:
        """The stored network that this one is, stored now where it is new.

        ``digest`` is that of the exact form: an equal one is taken for an equal form without asking. Else ``same``
        is asked whether a stored form and this one are the same network, once for each digest and stored form.
        """
        alias = _hash("form", _text("key", key), _text("digest", digest))
        found = self._read(lambda c: c.execute(self._schema.by_alias, {"alias": alias}).first())
        name, variant = (found.id, found.variant) if found is not None else self._identify(key, alias, form(), same)
        if self._limit is not None:
            with self._guard:
                self._used[name] = time.time()
        return NetworkId(key, variant, name)

    def _identify(self, key: str, alias: str, form: str, same: Same) -> tuple[str, int]:
        """Find a form that was not met before among the key's variants, or store it as a new one."""
        match, last = self._compare(key, -1, alias, form, same)
        while not self._store(key, last, alias, form, match):
            match, last = self._compare(key, last, alias, form, same)
        if match is not None:
            return match
        if last >= 0:
            with self._guard:
                self.collisions += 1
        return alias, last + 1

    def _compare(self, key: str, last: int, alias: str, form: str, same: Same) -> tuple[tuple[str, int] | None, int]:
        """The variant after ``last`` that is the same network, and the last one looked at."""
        import sqlalchemy as sa

        t = self._schema.networks
        later = sa.select(t).where(t.c.key_hash == _hash("key", key), t.c.variant > last).order_by(t.c.variant)
        for row in self._read(lambda c: c.execute(later).all()):
            last = row.variant
            # The id of a network is the alias of its own form: equal ones are equal forms.
            if row.id == alias or same(_unpacked(row.form), form):
                return (row.id, row.variant), last
        return None, last

    def _store(self, key: str, last: int, alias: str, form: str, match: tuple[str, int] | None) -> bool:
        """Remember the form as one of ``match``, else as a new variant; ``False`` where ``last`` is not the last."""
        import sqlalchemy as sa

        t, aliases = self._schema.networks, self._schema.aliases
        row = {"id": alias, "key_hash": _hash("key", key), "variant": last + 1, "key": key, "form": _packed(form)}
        later = sa.select(t.c.id).where(t.c.key_hash == row["key_hash"], t.c.variant > last)

        def store(c: sa.Connection) -> bool:
            if match is None:
                if c.execute(later).first():
                    return False  # another process stored one of this key: it is to be compared first
                self._save_uses(c)
                self._make_room(c)
                c.execute(t.insert().values(**row, used=time.time()))
            c.execute(aliases.delete().where(aliases.c.id == alias))  # there may be one of a network that has left
            c.execute(aliases.insert().values(id=alias, network=match[0] if match else alias))
            return True

        return self._write(store)

    def _save_uses(self, c: sa.Connection) -> None:
        """Uses are written beside something else that is: one written at each look-up would cost more than that."""
        import sqlalchemy as sa

        with self._guard:
            used, self._used = self._used, {}
        if used:
            networks = self._schema.networks
            statement = networks.update().where(networks.c.id == sa.bindparam("name")).values(used=sa.bindparam("at"))
            c.execute(statement, [{"name": name, "at": at} for name, at in sorted(used.items())])

    def _make_room(self, c: sa.Connection) -> None:
        """Let networks leave until there is room for one more, but none in training."""
        import sqlalchemy as sa

        if self._limit is None:
            return
        s = self._schema
        excess = (c.execute(sa.select(sa.func.count()).select_from(s.networks)).scalar() or 0) - self._limit + 1
        while excess > 0:
            leaving = (
                sa.select(s.networks.c.id)
                .where(s.networks.c.id.not_in(sa.select(s.claims.c.network)))
                .order_by(s.networks.c.used, s.networks.c.id)
                .limit(min(excess, 500))  # databases bound the number of parameters
            )
            names = [row.id for row in c.execute(leaving)]
            if not names:
                return
            c.execute(s.networks.delete().where(s.networks.c.id.in_(names)))
            c.execute(s.aliases.delete().where(s.aliases.c.network.in_(names)))
            c.execute(s.observations.delete().where(s.observations.c.network.in_(names)))
            excess -= len(names)

    # -- answers ---------------------------------------------------------------------------------------------------

    def ask(self, network: NetworkId, question: Question, most: int = 1) -> Answer:
        """What is known: ``full`` where there are at least ``most`` observations, else ``partial`` or ``miss``."""
        if most < 1:
            raise CacheError(f"an answer takes at least 1 observation, not {most}")
        entry = {"network": network.id, "question": question.digest}
        rows = self._read(lambda c: c.execute(self._schema.live, entry).all())
        kind: Kind = "full" if len(rows) >= most else "partial" if rows else "miss"
        return Answer(kind, tuple([_observation(row) for row in rows]))

    def evaluate(
        self,
        network: NetworkId,
        question: Question,
        train: Callable[[int], tuple[Mapping[str, float], float]],
        most: int = 1,
        *,
        seed: Callable[[int], int] | None = None,
        poll_s: float = 0.2,
    ) -> Answer:
        """The answer, trained once more where there are fewer than ``most`` observations, recorded or in flight.

        ``train`` is given the ordinal and returns metrics and seconds. What it raises is raised here and leaves no
        trace. With enough trainings in flight elsewhere, waits for them: ``in_flight``; should they fail, trains.
        """
        waited = False
        while True:
            answer = self.ask(network, question, most)
            if answer.kind == "full":
                return replace(answer, kind="in_flight") if waited else answer
            claim = self.claim_next(network, question, most)
            if claim is not None:
                break
            waited = True
            time.sleep(poll_s)
        try:
            own_seed = seed(claim.ordinal) if seed else None
            metrics, seconds = train(claim.ordinal)
            own = Observation(claim.ordinal, _checked(metrics), _seconds(seconds), own_seed)
            claim.done(own.metrics, own.seconds, own.seed)
        except BaseException:
            with suppress(CacheError):  # the first error is the one to report
                claim.release()
            raise
        known = self.ask(network, question, most).observations
        if all(o.ordinal != own.ordinal for o in known):  # cleared or forgotten within this moment
            known = (*known, own)
        return Answer(answer.kind, known)

    def forget(self, network: NetworkId, question: Question) -> int:
        """Leave what is known out of every later answer: how many observations. They stay stored, ordinals go on."""
        t = self._schema.observations
        of_entry = (t.c.network == network.id, t.c.question == question.digest, t.c.forgotten.is_(False))
        return self._write(lambda c: _count(c.execute(t.update().where(*of_entry).values(forgotten=True))))

    def _record(self, claim: Claim, observation: Observation) -> bool:
        import sqlalchemy as sa

        s = self._schema
        question = claim.question
        entry = {"network": claim.network.id, "question": question.digest, "ordinal": claim.ordinal}

        def record(c: sa.Connection) -> bool:
            if c.execute(sa.select(s.questions.c.id).where(s.questions.c.id == question.digest)).first() is None:
                asked = {"evaluator": question.evaluator, "data": question.data, "seeds": question.seeds}
                c.execute(s.questions.insert().values(id=question.digest, fidelity=question.fidelity_text, **asked))
            new = c.execute(s.recorded, entry).first() is None
            if new:
                c.execute(
                    s.observations.insert().values(
                        **entry,
                        metrics=_metrics_text(observation.metrics),
                        seconds=observation.seconds,
                        seed=observation.seed,
                        recorded=time.time(),
                        place=self._place,
                        forgotten=False,
                    )
                )
            c.execute(s.networks.update().where(s.networks.c.id == claim.network.id).values(used=time.time()))
            self._free(c, claim)
            return new

        new = self._write(record)
        self._let_go(claim)
        return new

    # -- claims ----------------------------------------------------------------------------------------------------

    def claim(self, network: NetworkId, question: Question, ordinal: int) -> Claim | None:
        """The right to train this observation; ``None`` where it is recorded or another, who lives, has it."""
        import sqlalchemy as sa

        s = self._schema
        entry = {"network": network.id, "question": question.digest, "ordinal": ordinal}
        this = [s.claims.c[name] == value for name, value in entry.items()]
        owner = uuid.uuid4().hex
        mine = {
            "owner": owner,
            "machine": self._machine,
            "pid": self._pid,
            "started": _started(self._pid) or "",
            "lease_s": self.lease_s,
        }

        def take(c: sa.Connection) -> bool:
            now = time.time()
            row = c.execute(sa.select(s.claims).where(*this)).first()
            if row is None:
                c.execute(s.claims.insert().values(**entry, **mine, since=now, heartbeat=now))
            elif row.owner == owner:
                return True  # the connection broke when this had been done
            elif self._lives(row):
                return False
            else:
                dead = s.claims.update().where(*this, s.claims.c.owner == row.owner)
                if _count(c.execute(dead.values(**mine, since=now, heartbeat=now))) != 1:
                    return False  # another was quicker
            # Asked only now that nobody else can claim it: before, its owner might have recorded it in between.
            if c.execute(s.recorded, entry).first() is not None:
                c.execute(s.claims.delete().where(*this))
                return False
            return True

        if not self._write(take):
            return None
        with self._guard:
            self._held.add(owner)
            if self._heart is None:
                self._heart = threading.Thread(target=self._beat, name="nas cache heartbeat", daemon=True)
                self._heart.start()
        return Claim(self, network, question, ordinal, owner)

    def claim_next(self, network: NetworkId, question: Question, most: int = 1) -> Claim | None:
        """A claim on the next observation; ``None`` where ``most`` are recorded or in flight, or another was quicker.

        Observations that were forgotten do not count, and their ordinals are not given again.
        """
        import sqlalchemy as sa

        o, k = self._schema.observations, self._schema.claims
        of_entry = (o.c.network == network.id, o.c.question == question.digest)
        recorded = self._read(lambda c: c.execute(sa.select(o.c.ordinal, o.c.forgotten).where(*of_entry)).all())
        of_entry = (k.c.network == network.id, k.c.question == question.digest)
        claims = self._read(lambda c: c.execute(sa.select(k).where(*of_entry)).all())
        in_flight = [row.ordinal for row in claims if self._lives(row)]
        if sum(not row.forgotten for row in recorded) + len(in_flight) >= most:
            return None
        taken = {*in_flight, *(row.ordinal for row in recorded)}
        return self.claim(network, question, next(n for n in range(len(taken) + 1) if n not in taken))

    def wait(self, network: NetworkId, question: Question, ordinal: int, poll_s: float = 0.2) -> bool:
        """Wait while another trains this observation. Whether it is recorded; else its claim is free to take."""
        import sqlalchemy as sa

        s = self._schema
        entry = {"network": network.id, "question": question.digest, "ordinal": ordinal}
        this = sa.select(s.claims).where(*[s.claims.c[name] == value for name, value in entry.items()])
        while (row := self._read(lambda c: c.execute(this).first())) is not None and self._lives(row):
            time.sleep(poll_s)
        return self._read(lambda c: c.execute(s.recorded, entry).first()) is not None

    def _lives(self, claim: sa.Row[Any]) -> bool:
        if claim.machine == self._machine:
            started = _started(claim.pid)
            if started is None:
                return False
            if started and claim.started:  # a number may have gone to another process since
                return bool(started == claim.started)
        return bool(time.time() - claim.heartbeat <= claim.lease_s)

    def _free(self, c: sa.Connection, claim: Claim) -> None:
        t = self._schema.claims
        of_entry = (t.c.network == claim.network.id, t.c.question == claim.question.digest)
        c.execute(t.delete().where(*of_entry, t.c.ordinal == claim.ordinal, t.c.owner == claim._owner))

    def _release(self, claim: Claim) -> None:
        if self._let_go(claim):
            self._write(lambda c: self._free(c, claim))

    def _let_go(self, claim: Claim) -> bool:
        with self._guard:
            held = claim._owner in self._held
            self._held.discard(claim._owner)
            return held

    def _mine(self) -> sa.ColumnElement[bool]:
        with self._guard:
            return self._schema.claims.c.owner.in_(sorted(self._held))

    def _beat(self) -> None:
        """Keeps the claims alive, in a thread of its own."""
        while not self._closed.wait(self.lease_s / 4):
            if self._held:
                beat = self._schema.claims.update().where(self._mine()).values(heartbeat=time.time())
                with suppress(CacheError):  # a server that is away for a moment: the next beat may reach it
                    self._write(lambda c: c.execute(beat))  # noqa: B023

    # -- measured cost ---------------------------------------------------------------------------------------------

    def cost(
        self, structure: str, device: str, compute: Callable[[], Mapping[str, float]], *, source: str = "measured"
    ) -> dict[str, float]:
        """The cost of a graph's structure (its digest) on a device (name and version), measured where it is new.

        What ``compute`` raises is raised here, and nothing is stored. Of two that measure at once, the first counts.
        """
        import sqlalchemy as sa

        t = self._schema.costs
        name = _hash("cost", _text("structure", structure), _text("device", device))
        known = sa.select(t.c.metrics).where(t.c.id == name)
        row = self._read(lambda c: c.execute(known).first())
        if row is None:
            named = {"id": name, "structure": structure, "device": device, "source": _text("source", source)}
            new = t.insert().values(**named, metrics=_metrics_text(_checked(compute())), recorded=time.time())

            def store(c: sa.Connection) -> sa.Row[Any]:
                if c.execute(known).first() is None:
                    c.execute(new)
                return c.execute(known).one()

            row = self._write(store)
        return _metrics(row.metrics)

    # -- housekeeping ----------------------------------------------------------------------------------------------

    def summary(self) -> CacheSummary:
        """What the cache holds, question by question and in all."""
        import sqlalchemy as sa

        s = self._schema
        o = s.observations.c
        per_question = (
            sa.select(
                *[s.questions.c[name] for name in ("evaluator", "data", "fidelity", "seeds")],
                sa.func.count(o.network.distinct()).label("networks"),
                sa.func.sum(sa.case((o.forgotten.is_(True), 0), else_=1)).label("observations"),
                sa.func.sum(sa.case((o.forgotten.is_(True), 1), else_=0)).label("forgotten"),
                sa.func.sum(o.seconds).label("seconds"),
            )
            .join_from(s.observations, s.questions, s.questions.c.id == o.question)
            .group_by(*[s.questions.c[name] for name in ("id", "evaluator", "data", "fidelity", "seeds")])
        )

        def count(c: sa.Connection, table: sa.Table, *where: Any) -> int:
            return int(c.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar() or 0)

        def read(c: sa.Connection) -> CacheSummary:
            rows = [
                QuestionSummary(
                    evaluator=r.evaluator,
                    data=r.data,
                    fidelity=r.fidelity,
                    seeds=r.seeds,
                    networks=int(r.networks),
                    observations=int(r.observations),
                    forgotten=int(r.forgotten),
                    seconds=float(r.seconds),
                )
                for r in c.execute(per_question)
            ]
            rows.sort(key=lambda r: (r.evaluator, r.data, r.fidelity, r.seeds))
            return CacheSummary(
                where=self._name,
                questions=tuple(rows),
                networks=count(c, s.networks),
                collisions=count(c, s.networks, s.networks.c.variant > 0),
                observations=sum(r.observations for r in rows),
                forgotten=sum(r.forgotten for r in rows),
                seconds=sum(r.seconds for r in rows),
                in_flight=sum(self._lives(row) for row in c.execute(sa.select(s.claims))),
                costs=count(c, s.costs),
                bytes=self._size(),
            )

        return self._read(read)

    def _size(self) -> int | None:
        if self._file is None:
            return None
        size = 0
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                size += os.stat(f"{self._file}{end}").st_size
        return size

    def clear(self, evaluator: str | None = None, older_than_s: float | None = None) -> int:
        """Remove observations, of one evaluator or recorded before that many seconds, else all; how many.

        Networks without observations leave too, but for those in training. Costs leave by their age, and with all.
        """
        import sqlalchemy as sa

        s = self._schema
        before = math.inf if older_than_s is None else time.time() - older_than_s

        def remove(c: sa.Connection) -> int:
            leaving = [s.observations.c.recorded < before] if older_than_s is not None else []
            if evaluator is not None:
                of_evaluator = sa.select(s.questions.c.id).where(s.questions.c.evaluator == evaluator)
                leaving.append(s.observations.c.question.in_(of_evaluator))
            removed = _count(c.execute(s.observations.delete().where(*leaving)))
            for claim in c.execute(sa.select(s.claims)).all():
                if not self._lives(claim):
                    this = [s.claims.c[n] == getattr(claim, n) for n in ("network", "question", "ordinal", "owner")]
                    c.execute(s.claims.delete().where(*this))
            for table, column in ((s.networks, "network"), (s.questions, "question")):
                used = [sa.select(t.c[column]).distinct() for t in (s.observations, s.claims)]
                c.execute(table.delete().where(*[table.c.id.not_in(names) for names in used]))
            c.execute(s.aliases.delete().where(s.aliases.c.network.not_in(sa.select(s.networks.c.id))))
            if evaluator is None:
                c.execute(s.costs.delete().where(*([s.costs.c.recorded < before] if older_than_s is not None else [])))
            return removed

        removed = self._write(remove)
        if self._file is not None:

            def shrink(c: sa.Connection) -> None:
                c.exec_driver_sql("VACUUM")
                c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()

            with suppress(CacheError):  # others are at work: what they write next uses the space
                self._transact(shrink, write=False, attempts=1)
        return removed

    def export(self) -> pd.DataFrame:
        """One row an observation: key, variant, the question, ordinal, seed, seconds, when and where, its metrics.

        A metric whose name is that of another column is called ``metric_...``.
        """
        import pandas as pd
        import sqlalchemy as sa

        s = self._schema
        shown = {
            "key": s.networks.c.key,
            "variant": s.networks.c.variant,
            **{name: s.questions.c[name] for name in ("evaluator", "data", "fidelity", "seeds")},
            **{
                name: s.observations.c[name]
                for name in ("ordinal", "seed", "seconds", "recorded", "place", "forgotten")
            },
        }
        everything = (
            sa.select(s.observations.c.metrics, *shown.values())
            .join_from(s.observations, s.questions, s.questions.c.id == s.observations.c.question)
            # A network may have been cleared while it was in training: its observation is shown without a key.
            .outerjoin(s.networks, s.networks.c.id == s.observations.c.network)
            .order_by(s.observations.c.recorded, s.observations.c.ordinal)
        )
        records = []
        for text, *values in self._read(lambda c: c.execute(everything).all()):
            metrics = {f"metric_{n}" if n in shown else n: v for n, v in _metrics(text).items()}
            records.append({**dict(zip(shown, values, strict=True)), **metrics})
        frame = pd.DataFrame(records, columns=None if records else list(shown))
        frame["recorded"] = pd.to_datetime(frame["recorded"], unit="s", utc=True)
        return frame.astype({"variant": "Int64", "seed": "Int64"})

    def close(self) -> None:
        """Release what claims are left, and close all connections. Closing twice is closing once."""
        if self._closed.is_set():
            return
        claims = self._schema.claims

        def leave(c: sa.Connection) -> None:
            self._save_uses(c)
            c.execute(claims.delete().where(self._mine()))

        try:
            if (self._held or self._used) and os.getpid() == self._pid:
                self._write(leave)
        finally:
            self._closed.set()
            if self._heart is not None and self._heart is not threading.current_thread():
                self._heart.join(timeout=5)
            self._engine.dispose(close=os.getpid() == self._pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the database ----------------------------------------------------------------------------------------------

    def _connect(self, where: str) -> sa.Engine:
        import sqlalchemy as sa

        is_url = "://" in where
        self._name = where.partition("://")[0] + "://..." if is_url else where  # a URL may hold a password
        try:
            url = sa.make_url(where) if is_url else sa.URL.create("sqlite", database=where)
            self._name = url.render_as_string(hide_password=True) if is_url else where
            if url.get_backend_name() != "sqlite":
                # READ COMMITTED: ``claim`` must see what was committed while it waited for another's row
                return sa.create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")
            if url.database in (None, "", ":memory:"):
                self._turn = threading.RLock()  # threads share the only connection there is
                shared = {"check_same_thread": False}
                engine = sa.create_engine(url, poolclass=sa.pool.StaticPool, connect_args=shared)
            else:
                self._file = Path(str(url.database))
                self._file.parent.mkdir(parents=True, exist_ok=True)
                engine = sa.create_engine(url, connect_args={"timeout": 20.0})
        except OSError as error:
            raise CacheError(f"cannot write the cache {self._name!r}: {error.strerror}; choose another place") from None
        except ImportError as error:
            raise CacheError(f"cannot open the cache {self._name!r}: {error}; install that driver") from None
        except (sa.exc.ArgumentError, ValueError) as error:
            raise CacheError(f"cannot open the cache {self._name!r}: {error}") from None

        # SQLite's transactions begin here and not in the driver: those that write take the lock at once, since one
        # that reads first and then finds another writing would have to be given up.
        @sa.event.listens_for(engine, "connect")
        def set_up(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA synchronous=NORMAL")

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            if connection.get_execution_options().get("nas_writes"):
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def _open(self) -> None:
        """Make the tables where there are none. Raises ``CacheError`` where there are others."""
        version = self._read(self._version)
        if version is None:
            if self._file is not None:
                self._read(lambda c: c.exec_driver_sql("PRAGMA journal_mode=WAL"))
            version = self._write(self._create)
        if version > _VERSION:
            raise CacheError(
                f"the cache {self._name} was made by a newer nas (its tables are of version {version}, this one knows"
                f" {_VERSION}); upgrade nas, or choose another cache"
            )
        if version < _VERSION:
            raise CacheError(f"the cache {self._name} has tables of version {version}; this nas needs {_VERSION}")

    def _version(self, c: sa.Connection) -> int | None:
        import sqlalchemy as sa

        table = self._schema.version
        names = sa.inspect(c).get_table_names()
        if table.name in names:
            row = c.execute(sa.select(table.c.version)).first()
            if row is not None and not isinstance(row.version, int):
                raise CacheError(f"the cache {self._name} is damaged: {self._advice}")
            return None if row is None else int(row.version)
        if self._file is not None and names:
            raise CacheError(
                f"{self._name} is an SQLite file of another program (it has the table {names[0]!r:.80});"
                " choose another file for the cache"
            )
        return None

    def _create(self, c: sa.Connection) -> int:
        known = self._version(c)
        if known is None:
            self._schema.metadata.create_all(c)
            c.execute(self._schema.version.insert().values(id=1, version=_VERSION))  # last: from now on it is complete
        return _VERSION if known is None else known

    _advice = "move it away, and a new one is made"

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return self._transact(work, write=False, attempts=_ATTEMPTS)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        return self._transact(work, write=True, attempts=_ATTEMPTS)

    def _transact(self, work: Callable[[sa.Connection], T], *, write: bool, attempts: int) -> T:
        """Do the work in one transaction, again where another process came in between."""
        from sqlalchemy import exc

        for attempt in range(1, attempts + 1):
            if self._closed.is_set():
                raise CacheError(f"the cache {self._name} is closed")
            if os.getpid() != self._pid:
                raise CacheError(f"the cache {self._name} was opened in another process; open it in each")
            try:
                with self._turn, self._engine.connect() as connection:
                    if not write:
                        return work(connection)
                    with connection.execution_options(nas_writes=True).begin():
                        return work(connection)
            except (exc.IntegrityError, exc.OperationalError, exc.ProgrammingError) as error:
                if attempt == attempts:
                    raise self._explained(error) from None
                time.sleep(0.01 * 2**attempt)
            except exc.SQLAlchemyError as error:
                raise self._explained(error) from None
        raise AssertionError("not reached")

    def _explained(self, error: Exception) -> CacheError:
        text = str(getattr(error, "orig", None) or error)
        if any(word in text for word in ("not a database", "malformed", "no such column", "no such table")):
            return CacheError(f"the cache {self._name} is damaged or none of nas ({text}): {self._advice}")
        if "locked" in text:
            return CacheError(f"the cache {self._name} is held by another process ({text}): end that one")
        return CacheError(f"cannot use the cache {self._name} ({text}): mend that, or choose another")


# -- tables --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Schema:
    """The tables, and the statements that are used most, made once."""

    metadata: sa.MetaData
    version: sa.Table
    networks: sa.Table
    aliases: sa.Table
    questions: sa.Table
    observations: sa.Table
    claims: sa.Table
    costs: sa.Table
    by_alias: sa.Select[Any]
    live: sa.Select[Any]
    recorded: sa.Select[Any]


@functools.cache
def _schema() -> _Schema:
    import sqlalchemy as sa

    metadata = sa.MetaData()

    def table(name: str, *parts: Any) -> sa.Table:
        return sa.Table(f"nas_cache_{name}", metadata, *parts)

    def column(name: str, kind: Any, nullable: bool = False) -> sa.Column[Any]:
        return sa.Column(name, kind, nullable=nullable)

    def keyed(name: str, kind: Any) -> sa.Column[Any]:
        return sa.Column(name, kind, primary_key=True, autoincrement=False)

    # Only digests of our own are keys: bounded, and no database takes one for another by its rules of comparing texts.
    digest = sa.String(40)
    version = table("version", keyed("id", sa.Integer), column("version", sa.Integer))
    networks = table(
        "networks",
        keyed("id", digest),
        column("key_hash", digest),
        column("variant", sa.Integer),
        column("key", sa.Text),
        sa.Column("used", sa.Double, nullable=False, index=True),
        column("form", sa.LargeBinary(2**24 - 1)),
        sa.UniqueConstraint("key_hash", "variant", name="nas_cache_one_variant"),
    )
    aliases = table("aliases", keyed("id", digest), sa.Column("network", digest, nullable=False, index=True))
    questions = table(
        "questions",
        keyed("id", digest),
        *[column(name, sa.Text) for name in ("evaluator", "data", "fidelity", "seeds")],
    )
    observations = table(
        "observations",
        keyed("network", digest),
        keyed("question", digest),
        keyed("ordinal", sa.Integer),
        column("metrics", sa.Text),
        column("seconds", sa.Double),
        column("seed", sa.BigInteger, nullable=True),
        column("recorded", sa.Double),
        column("place", sa.Text),
        column("forgotten", sa.Boolean),
    )
    claims = table(
        "claims",
        keyed("network", digest),
        keyed("question", digest),
        keyed("ordinal", sa.Integer),
        column("owner", sa.String(32)),
        column("machine", sa.Text),
        column("pid", sa.BigInteger),
        column("started", sa.Text),
        column("since", sa.Double),
        column("heartbeat", sa.Double),
        column("lease_s", sa.Double),
    )
    costs = table(
        "costs",
        keyed("id", digest),
        *[column(name, sa.Text) for name in ("structure", "device", "metrics", "source")],
        column("recorded", sa.Double),
    )
    o = observations.c
    of_entry = (o.network == sa.bindparam("network"), o.question == sa.bindparam("question"))
    live = sa.select(o.ordinal, o.metrics, o.seconds, o.seed).where(*of_entry, o.forgotten.is_(False))
    return _Schema(
        metadata=metadata,
        version=version,
        networks=networks,
        aliases=aliases,
        questions=questions,
        observations=observations,
        claims=claims,
        costs=costs,
        by_alias=sa.select(networks.c.id, networks.c.variant)
        .join_from(aliases, networks, networks.c.id == aliases.c.network)
        .where(aliases.c.id == sa.bindparam("alias")),
        live=live.order_by(o.ordinal),
        recorded=sa.select(o.ordinal).where(*of_entry, o.ordinal == sa.bindparam("ordinal")),
    )


def _count(result: sa.CursorResult[Any]) -> int:
    return int(result.rowcount)


# -- values --------------------------------------------------------------------------------------------------------


def _mean(values: list[float]) -> float:
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values)  # infinite, or not a number
    return math.fsum([v / len(values) for v in values])


def _std(values: list[float]) -> float:
    mean = _mean(values)
    if not math.isfinite(mean):
        return math.nan
    return math.hypot(*[v - mean for v in values]) / math.sqrt(len(values) - 1)


def _checked(metrics: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(metrics, Mapping) or not metrics:
        raise CacheError(f"metrics are numbers by name, at least one, not {metrics!r:.80}")
    checked: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise CacheError(f"the metric {name!r:.80} must be a number, not {value!r:.80}")
        try:
            checked[_text("metric's name", name)] = float(value)
        except OverflowError:
            raise CacheError(f"the metric {name!r:.80} is larger than any float") from None
    return checked


def _seconds(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 <= float(seconds) < math.inf:
        raise CacheError(f"a training takes a finite number of seconds, 0 or more, not {seconds!r:.80}")
    return float(seconds)


def _seed(seed: int | None) -> int | None:
    if seed is not None and (not isinstance(seed, int) or not -(2**63) <= seed < 2**63):
        raise CacheError(f"a seed is a whole number of 64 bits, not {seed!r:.80}")
    return seed


def _metrics_text(metrics: Mapping[str, float]) -> str:
    # JSON has no infinities and no NaN; Python's own spelling of them is no JSON.
    return json.dumps({n: v if math.isfinite(v) else str(v) for n, v in metrics.items()}, sort_keys=True)


def _metrics(text: str) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        raise CacheError(f"the cache holds metrics that are none ({text!r:.80}): it is damaged; clear it") from None


def _observation(row: sa.Row[Any]) -> Observation:
    try:
        return Observation(int(row.ordinal), _metrics(row.metrics), float(row.seconds), row.seed)
    except TypeError:
        raise CacheError("the cache holds an observation that is none: it is damaged; clear it") from None


def _packed(form: str) -> bytes:
    try:
        data = form.encode()
    except (AttributeError, UnicodeEncodeError):
        raise CacheError(f"a network's form must be a text, not {form!r:.80}") from None
    packed = zlib.compress(data)
    if len(data) > _LONGEST_FORM or len(packed) >= 2**24:
        raise CacheError(f"a network's form of {len(data):,} bytes is more than the cache takes")
    return packed


def _unpacked(packed: bytes) -> str:
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(packed, _LONGEST_FORM)  # a few bytes may unpack to any number
        if not unpack.eof:
            raise ValueError("cut short, or too long")
        return data.decode()
    except (TypeError, ValueError, zlib.error) as error:
        raise CacheError(f"the cache holds a form that cannot be read ({error}): it is damaged; clear it") from None


# -- processes -----------------------------------------------------------------------------------------------------


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _here() -> tuple[str, str]:
    """This machine since it was last started, as far as process numbers mean the same; and host and process."""
    import platform

    host = platform.node() or "unknown"
    boot = _first_line("/proc/sys/kernel/random/boot_id") or f"{uuid.getnode():x}"
    try:
        numbers = os.readlink("/proc/self/ns/pid")  # containers on one machine number processes each for themselves
    except OSError:
        numbers = ""
    return f"{host} {boot} {numbers}", f"{host}/{os.getpid()}"


def _started(pid: int) -> str | None:
    """When a process of this machine was started, empty where that cannot be told, ``None`` where there is none."""
    if os.name != "posix":  # elsewhere ``os.kill`` does not merely look
        return ""
    try:
        if pid < 1:
            return None
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass  # it is another user's
    # The name, in brackets, may hold anything; state is the first field after it, the start the twentieth.
    fields = _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return ""
    return None if fields[0] in "ZX" else fields[19]
