"""The contents of a cache: summarised, exported as a table, and cleared, as ``EvaluationCache`` describes it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nas.cache.claims import ClaimTable
from nas.cache.database import Database
from nas.cache.records import CacheKeySummary, CacheSummary
from nas.cache.tables import KEY_COLUMNS, count, decode_metrics, equals

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa


def summarise(database: Database, claims: ClaimTable) -> CacheSummary:
    """Counts and times by cache key and in all."""
    import sqlalchemy as sa

    s = database.schema
    o = s.observations.c
    per_key = (
        sa.select(
            *[s.questions.c[name] for name in KEY_COLUMNS],
            sa.func.count(o.network.distinct()).label("networks"),
            sa.func.sum(sa.case((o.forgotten.is_(True), 0), else_=1)).label("observations"),
            sa.func.sum(sa.case((o.forgotten.is_(True), 1), else_=0)).label("forgotten"),
            sa.func.sum(o.seconds).label("seconds"),
        )
        .join_from(s.observations, s.questions, s.questions.c.id == o.question)
        .group_by(*[s.questions.c[name] for name in ("id", *KEY_COLUMNS)])
    )

    def number(c: sa.Connection, table: sa.Table, *where: Any) -> int:
        return int(c.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar() or 0)

    def read(c: sa.Connection) -> CacheSummary:
        rows = [
            CacheKeySummary(
                evaluator=r.evaluator,
                data=r.data,
                fidelity=r.fidelity,
                seeds=r.seeds,
                networks=int(r.networks),
                observations=int(r.observations),
                forgotten=int(r.forgotten),
                seconds=float(r.seconds),
            )
            for r in c.execute(per_key)
        ]
        rows.sort(key=lambda r: (r.evaluator, r.data, r.fidelity, r.seeds))
        return CacheSummary(
            where=database.name,
            questions=tuple(rows),
            networks=number(c, s.networks),
            collisions=number(c, s.networks, s.networks.c.variant > 0),
            observations=sum(r.observations for r in rows),
            forgotten=sum(r.forgotten for r in rows),
            seconds=sum(r.seconds for r in rows),
            in_flight=sum(claims.is_alive(row) for row in c.execute(sa.select(s.claims))),
            costs=number(c, s.costs),
            bytes=database.size_bytes,
        )

    return database.read(read)


def clear(database: Database, claims: ClaimTable, evaluator: str | None, older_than_s: float | None) -> int:
    """Remove observations, and what belongs to none any more; how many observations."""
    import sqlalchemy as sa

    s = database.schema
    now = time.time()

    def older_than(table: sa.Table) -> list[sa.ColumnElement[bool]]:
        return [] if older_than_s is None else [table.c.recorded < now - older_than_s]

    def remove(c: sa.Connection) -> int:
        conditions = older_than(s.observations)
        if evaluator is not None:
            of_evaluator = sa.select(s.questions.c.id).where(s.questions.c.evaluator == evaluator)
            conditions.append(s.observations.c.question.in_(of_evaluator))
        removed = count(c.execute(s.observations.delete().where(*conditions)))
        for claim in c.execute(sa.select(s.claims)).all():
            if not claims.is_alive(claim):
                this = {name: getattr(claim, name) for name in ("network", "question", "ordinal", "owner")}
                c.execute(s.claims.delete().where(*equals(s.claims, this)))
        for table, column in ((s.networks, "network"), (s.questions, "question")):
            used = [sa.select(t.c[column]).distinct() for t in (s.observations, s.claims)]
            c.execute(table.delete().where(*[table.c.id.not_in(names) for names in used]))
        c.execute(s.aliases.delete().where(s.aliases.c.network.not_in(sa.select(s.networks.c.id))))
        if evaluator is None:
            c.execute(s.costs.delete().where(*older_than(s.costs)))
        return removed

    removed = database.write(remove)
    database.vacuum()
    return removed


def export(database: Database) -> pd.DataFrame:
    """A row an observation, in the order of recording."""
    import pandas as pd
    import sqlalchemy as sa

    s = database.schema
    observation_columns = ("ordinal", "seed", "seconds", "recorded", "place", "forgotten")
    columns = [*[s.networks.c[n] for n in ("key", "variant")], *[s.questions.c[n] for n in KEY_COLUMNS]]
    exported = {column.name: column for column in (*columns, *[s.observations.c[n] for n in observation_columns])}
    everything = (
        sa.select(s.observations.c.metrics, *exported.values())
        .join_from(s.observations, s.questions, s.questions.c.id == s.observations.c.question)
        # A network may have been cleared while it was in training: its observation is shown without a key.
        .outerjoin(s.networks, s.networks.c.id == s.observations.c.network)
        .order_by(s.observations.c.recorded, s.observations.c.ordinal)
    )
    records = []
    for text, *values in database.read(lambda c: c.execute(everything).all()):
        metrics = {f"metric_{n}" if n in exported else n: v for n, v in decode_metrics(text).items()}
        records.append({**dict(zip(exported, values, strict=True)), **metrics})
    frame = pd.DataFrame(records, columns=None if records else list(exported))
    frame["recorded"] = pd.to_datetime(frame["recorded"], unit="s", utc=True)
    return frame.astype({"variant": "Int64", "seed": "Int64"})
