"""The tables of the evaluation cache, its most frequent statements, and how columns are encoded."""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.cache.records import CacheError, Observation

if TYPE_CHECKING:
    import sqlalchemy as sa

SCHEMA_VERSION = 2  # 2: an entry's evaluator is named without the release that trained it
KEY_COLUMNS = ("evaluator", "data", "fidelity", "seeds")  # of a cache key, in the table ``questions``
MAX_FORM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class CacheSchema:
    """The tables and the most frequent statements."""

    metadata: sa.MetaData
    version: sa.Table
    networks: sa.Table
    aliases: sa.Table
    questions: sa.Table
    observations: sa.Table
    claims: sa.Table
    costs: sa.Table
    by_alias: sa.Select[Any]
    observations_in_use: sa.Select[Any]
    recorded: sa.Select[Any]


@functools.cache
def schema() -> CacheSchema:
    """The tables as all releases know them: their names and columns are what old files hold."""
    import sqlalchemy as sa

    tables = _TableBuilder()
    version = tables.table("version", tables.key_column("id", sa.Integer), tables.column("version", sa.Integer))
    networks, aliases = _network_tables(tables)
    questions, observations = _observation_tables(tables)
    claims = _claims_table(tables)
    costs = _costs_table(tables)
    o = observations.c
    of_entry = (o.network == sa.bindparam("network"), o.question == sa.bindparam("question"))
    observations_in_use = sa.select(o.ordinal, o.metrics, o.seconds, o.seed).where(*of_entry, o.forgotten.is_(False))
    return CacheSchema(
        metadata=tables.metadata,
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
        observations_in_use=observations_in_use.order_by(o.ordinal),
        recorded=sa.select(o.ordinal).where(*of_entry, o.ordinal == sa.bindparam("ordinal")),
    )


class _TableBuilder:
    """Makes tables of one schema, with the names and constraints that all of them share."""

    def __init__(self) -> None:
        import sqlalchemy as sa

        self.metadata = sa.MetaData()
        # Only digests of our own are keys: bounded, and no database's rules of comparing texts confuse two of them.
        self.digest = sa.String(40)

    def table(self, name: str, *parts: Any) -> sa.Table:
        import sqlalchemy as sa

        return sa.Table(f"nas_cache_{name}", self.metadata, *parts)

    def column(self, name: str, kind: Any, nullable: bool = False, index: bool | None = None) -> sa.Column[Any]:
        import sqlalchemy as sa

        return sa.Column(name, kind, nullable=nullable, index=index)

    def key_column(self, name: str, kind: Any) -> sa.Column[Any]:
        import sqlalchemy as sa

        return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _network_tables(tables: _TableBuilder) -> tuple[sa.Table, sa.Table]:
    """Networks, and the aliases: digests of the forms that are known to be one of them."""
    import sqlalchemy as sa

    networks = tables.table(
        "networks",
        tables.key_column("id", tables.digest),
        tables.column("key_hash", tables.digest),
        tables.column("variant", sa.Integer),
        tables.column("key", sa.Text),
        tables.column("used", sa.Double, index=True),
        tables.column("form", sa.LargeBinary(2**24 - 1)),
        sa.UniqueConstraint("key_hash", "variant", name="nas_cache_one_variant"),
    )
    aliases = tables.table(
        "aliases", tables.key_column("id", tables.digest), tables.column("network", tables.digest, index=True)
    )
    return networks, aliases


def _observation_tables(tables: _TableBuilder) -> tuple[sa.Table, sa.Table]:
    """Cache keys, whose table is called questions, and the observations of networks under them."""
    import sqlalchemy as sa

    questions = tables.table(
        "questions", tables.key_column("id", tables.digest), *[tables.column(name, sa.Text) for name in KEY_COLUMNS]
    )
    observations = tables.table(
        "observations",
        tables.key_column("network", tables.digest),
        tables.key_column("question", tables.digest),
        tables.key_column("ordinal", sa.Integer),
        tables.column("metrics", sa.Text),
        tables.column("seconds", sa.Double),
        tables.column("seed", sa.BigInteger, nullable=True),
        tables.column("recorded", sa.Double),
        tables.column("place", sa.Text),
        tables.column("forgotten", sa.Boolean),
    )
    return questions, observations


def _claims_table(tables: _TableBuilder) -> sa.Table:
    import sqlalchemy as sa

    return tables.table(
        "claims",
        tables.key_column("network", tables.digest),
        tables.key_column("question", tables.digest),
        tables.key_column("ordinal", sa.Integer),
        tables.column("owner", sa.String(32)),
        tables.column("machine", sa.Text),
        tables.column("pid", sa.BigInteger),
        tables.column("started", sa.Text),
        tables.column("since", sa.Double),
        tables.column("heartbeat", sa.Double),
        tables.column("lease_s", sa.Double),
    )


def _costs_table(tables: _TableBuilder) -> sa.Table:
    """Measured costs, which earlier releases stored: counted and cleared, no longer written."""
    import sqlalchemy as sa

    return tables.table(
        "costs",
        tables.key_column("id", tables.digest),
        *[tables.column(name, sa.Text) for name in ("structure", "device", "metrics", "source")],
        tables.column("recorded", sa.Double),
    )


def equals(table: sa.Table, values: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Conditions: the rows of a table that have these values."""
    return [table.c[name] == value for name, value in values.items()]


def count(result: sa.CursorResult[Any]) -> int:
    """How many rows a statement changed."""
    return int(result.rowcount)


# -- how columns are encoded ---------------------------------------------------------------------------------------


def encode_metrics(metrics: Mapping[str, float]) -> str:
    """Metrics as JSON."""
    # JSON has no infinities and no NaN; Python's own spelling of them is no JSON.
    return json.dumps({n: v if math.isfinite(v) else str(v) for n, v in metrics.items()}, sort_keys=True)


def decode_metrics(text: str) -> dict[str, float]:
    """Metrics from JSON. Raises ``CacheError``."""
    try:
        return {str(name): float(value) for name, value in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        raise CacheError(f"the cache holds unreadable metrics ({text!r:.80}): it is damaged; clear it") from None


def observation_of_row(row: sa.Row[Any]) -> Observation:
    """The observation of a row of ``observations_in_use``. Raises ``CacheError``."""
    try:
        return Observation(int(row.ordinal), decode_metrics(row.metrics), float(row.seconds), row.seed)
    except TypeError:
        raise CacheError("the cache holds an unreadable observation: it is damaged; clear it") from None


def compress_form(form: str) -> bytes:
    """A network's form as it is stored. Raises ``CacheError`` where it is no text or too long."""
    try:
        data = form.encode()
    except (AttributeError, UnicodeEncodeError):
        raise CacheError(f"a network's form must be a text, not {form!r:.80}") from None
    small = zlib.compress(data)
    if len(data) > MAX_FORM_BYTES or len(small) >= 2**24:
        raise CacheError(f"a network's form of {len(data):,} bytes is more than the cache takes")
    return small


def decompress_form(small: bytes) -> str:
    """A network's form as it was. Raises ``CacheError`` where it is damaged."""
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(small, MAX_FORM_BYTES)  # a few bytes may unpack to any number
        if not unpack.eof:
            raise ValueError("cut short, or too long")
        return data.decode()
    except (TypeError, ValueError, zlib.error) as error:
        raise CacheError(f"the cache holds a form that cannot be read ({error}): it is damaged; clear it") from None
