"""The tables of the evaluation cache, the statements that are used most, and what is written into columns."""

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

SCHEMA_VERSION = 1
KEY_COLUMNS = ("evaluator", "data", "fidelity", "seeds")  # columns of a question
MAX_FORM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class CacheSchema:
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
    observations_in_use: sa.Select[Any]
    recorded: sa.Select[Any]


@functools.cache
def schema() -> CacheSchema:
    import sqlalchemy as sa

    metadata = sa.MetaData()

    def table(name: str, *parts: Any) -> sa.Table:
        return sa.Table(f"nas_cache_{name}", metadata, *parts)

    def column(name: str, kind: Any, nullable: bool = False) -> sa.Column[Any]:
        return sa.Column(name, kind, nullable=nullable)

    def key_column(name: str, kind: Any) -> sa.Column[Any]:
        return sa.Column(name, kind, primary_key=True, autoincrement=False)

    # Only digests of our own are keys: bounded, and no database takes one for another by its rules of comparing texts.
    digest = sa.String(40)
    version = table("version", key_column("id", sa.Integer), column("version", sa.Integer))
    networks = table(
        "networks",
        key_column("id", digest),
        column("key_hash", digest),
        column("variant", sa.Integer),
        column("key", sa.Text),
        sa.Column("used", sa.Double, nullable=False, index=True),
        column("form", sa.LargeBinary(2**24 - 1)),
        sa.UniqueConstraint("key_hash", "variant", name="nas_cache_one_variant"),
    )
    aliases = table("aliases", key_column("id", digest), sa.Column("network", digest, nullable=False, index=True))
    questions = table("questions", key_column("id", digest), *[column(name, sa.Text) for name in KEY_COLUMNS])
    observations = table(
        "observations",
        key_column("network", digest),
        key_column("question", digest),
        key_column("ordinal", sa.Integer),
        column("metrics", sa.Text),
        column("seconds", sa.Double),
        column("seed", sa.BigInteger, nullable=True),
        column("recorded", sa.Double),
        column("place", sa.Text),
        column("forgotten", sa.Boolean),
    )
    claims = table(
        "claims",
        key_column("network", digest),
        key_column("question", digest),
        key_column("ordinal", sa.Integer),
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
        key_column("id", digest),
        *[column(name, sa.Text) for name in ("structure", "device", "metrics", "source")],
        column("recorded", sa.Double),
    )
    o = observations.c
    of_entry = (o.network == sa.bindparam("network"), o.question == sa.bindparam("question"))
    observations_in_use = sa.select(o.ordinal, o.metrics, o.seconds, o.seed).where(*of_entry, o.forgotten.is_(False))
    return CacheSchema(
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
        observations_in_use=observations_in_use.order_by(o.ordinal),
        recorded=sa.select(o.ordinal).where(*of_entry, o.ordinal == sa.bindparam("ordinal")),
    )


def equals(table: sa.Table, values: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Conditions: the rows of a table that have these values."""
    return [table.c[name] == value for name, value in values.items()]


def count(result: sa.CursorResult[Any]) -> int:
    return int(result.rowcount)


# -- what columns hold ---------------------------------------------------------------------------------------------


def encode_metrics(metrics: Mapping[str, float]) -> str:
    # JSON has no infinities and no NaN; Python's own spelling of them is no JSON.
    return json.dumps({n: v if math.isfinite(v) else str(v) for n, v in metrics.items()}, sort_keys=True)


def decode_metrics(text: str) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        raise CacheError(f"the cache holds metrics that are none ({text!r:.80}): it is damaged; clear it") from None


def observation_of_row(row: sa.Row[Any]) -> Observation:
    try:
        return Observation(int(row.ordinal), decode_metrics(row.metrics), float(row.seconds), row.seed)
    except TypeError:
        raise CacheError("the cache holds an observation that is none: it is damaged; clear it") from None


def compress_form(form: str) -> bytes:
    try:
        data = form.encode()
    except (AttributeError, UnicodeEncodeError):
        raise CacheError(f"a network's form must be a text, not {form!r:.80}") from None
    small = zlib.compress(data)
    if len(data) > MAX_FORM_BYTES or len(small) >= 2**24:
        raise CacheError(f"a network's form of {len(data):,} bytes is more than the cache takes")
    return small


def decompress_form(small: bytes) -> str:
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(small, MAX_FORM_BYTES)  # a few bytes may unpack to any number
        if not unpack.eof:
            raise ValueError("cut short, or too long")
        return data.decode()
    except (TypeError, ValueError, zlib.error) as error:
        raise CacheError(f"the cache holds a form that cannot be read ({error}): it is damaged; clear it") from None
