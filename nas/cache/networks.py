"""The stored networks of a cache: looked up by form, compared with others of their key, evicted beyond a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nas.cache.database import Database
from nas.cache.records import NetworkId, checked_text, texts_digest
from nas.cache.tables import compress_form, decompress_form

if TYPE_CHECKING:
    import sqlalchemy as sa

SameNetwork = Callable[[str, str], bool]


class NetworkTable:
    """The networks of a cache, at most ``limit`` of them.

    ``collisions`` counts the networks stored here whose key another network had.
    """

    def __init__(self, database: Database, limit: int | None) -> None:
        self.collisions = 0
        self.used: dict[str, float] = {}  # times of use that are not written yet
        self._database = database
        self._schema = database.schema
        self._limit = limit
        self._lock = threading.Lock()

    def network(self, key: str, digest: str, form: Callable[[], str], same_network: SameNetwork) -> NetworkId:
        """The stored network that this one is, as ``EvaluationCache.network`` describes it."""
        alias = texts_digest("form", checked_text("key", key), checked_text("digest", digest))
        row = self._database.read(lambda c: c.execute(self._schema.by_alias, {"alias": alias}).first())
        if row is not None:
            network_id, variant = row.id, row.variant
        else:
            network_id, variant = self._identify(key, alias, form(), same_network)
        if self._limit is not None:
            with self._lock:
                self.used[network_id] = time.time()
        return NetworkId(key, variant, network_id)

    def _identify(self, key: str, alias: str, form: str, same_network: SameNetwork) -> tuple[str, int]:
        """Find a new form among the key's variants, or store it as a new variant: id and number of the variant."""
        match, last = self._compare(key, -1, alias, form, same_network)
        while not self._store(key, last, alias, form, match):
            match, last = self._compare(key, last, alias, form, same_network)
        if match is not None:
            return match
        if last >= 0:
            with self._lock:
                self.collisions += 1
        return alias, last + 1

    def _compare(
        self, key: str, last: int, alias: str, form: str, same_network: SameNetwork
    ) -> tuple[tuple[str, int] | None, int]:
        """The variant after ``last`` that is the same network, and the last one compared."""
        import sqlalchemy as sa

        t = self._schema.networks
        later = sa.select(t).where(t.c.key_hash == texts_digest("key", key), t.c.variant > last).order_by(t.c.variant)
        for row in self._database.read(lambda c: c.execute(later).all()):
            last = row.variant
            # The id of a network is the alias of its own form: equal ones are equal forms.
            if row.id == alias or same_network(decompress_form(row.form), form):
                return (row.id, row.variant), last
        return None, last

    def _store(self, key: str, last: int, alias: str, form: str, match: tuple[str, int] | None) -> bool:
        """Store the form as an alias of ``match``, or as a new variant; ``False`` where ``last`` is not the last."""
        import sqlalchemy as sa

        t, aliases = self._schema.networks, self._schema.aliases
        row = {
            "id": alias,
            "key_hash": texts_digest("key", key),
            "variant": last + 1,
            "key": key,
            "form": compress_form(form),
        }
        later = sa.select(t.c.id).where(t.c.key_hash == row["key_hash"], t.c.variant > last)

        def store(c: sa.Connection) -> bool:
            if match is None:
                if c.execute(later).first():
                    return False  # another process stored one of this key: it must be compared first
                self.write_uses(c)
                self._evict(c)
                c.execute(t.insert().values(**row, used=time.time()))
            c.execute(aliases.delete().where(aliases.c.id == alias))  # there may be one of an evicted network
            c.execute(aliases.insert().values(id=alias, network=match[0] if match else alias))
            return True

        return self._database.write(store)

    def write_uses(self, c: sa.Connection) -> None:
        """Write the times of use. Done beside other writes: one at each look-up would cost more than that."""
        import sqlalchemy as sa

        with self._lock:
            used, self.used = self.used, {}
        if used:
            networks = self._schema.networks
            statement = networks.update().where(networks.c.id == sa.bindparam("name")).values(used=sa.bindparam("at"))
            c.execute(statement, [{"name": name, "at": at} for name, at in sorted(used.items())])

    def _evict(self, c: sa.Connection) -> None:
        """Remove networks until there is room for one more, but none in training."""
        import sqlalchemy as sa

        if self._limit is None:
            return
        s = self._schema
        surplus = (c.execute(sa.select(sa.func.count()).select_from(s.networks)).scalar() or 0) - self._limit + 1
        while surplus > 0:
            evicted = (
                sa.select(s.networks.c.id)
                .where(s.networks.c.id.not_in(sa.select(s.claims.c.network)))
                .order_by(s.networks.c.used, s.networks.c.id)
                .limit(min(surplus, 500))  # databases bound the number of parameters
            )
            ids = [row.id for row in c.execute(evicted)]
            if not ids:
                return
            c.execute(s.networks.delete().where(s.networks.c.id.in_(ids)))
            c.execute(s.aliases.delete().where(s.aliases.c.network.in_(ids)))
            c.execute(s.observations.delete().where(s.observations.c.network.in_(ids)))
            surplus -= len(ids)
