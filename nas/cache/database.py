"""The database behind the evaluation cache: opened, its tables created or checked, and used by transactions."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nas.cache.earlier_entries import adopt_earlier_entries, has_earlier_entries
from nas.cache.records import CacheError
from nas.cache.tables import SCHEMA_VERSION, schema

if TYPE_CHECKING:
    import sqlalchemy as sa

T = TypeVar("T")

_MAX_ATTEMPTS = 6
_DAMAGE_ADVICE = "move it away, and a new one is made"


class Database:
    """An SQLite file (a path) or any database (an SQLAlchemy URL; ``sqlite://`` is one in memory).

    ``name`` is what messages call it, without a password; ``file`` is ``None`` unless it is an SQLite file. Raises
    ``CacheError``.
    """

    def __init__(self, where: str) -> None:
        self.file: Path | None = None
        self.pid = os.getpid()
        self.closed = threading.Event()
        self.schema = schema()
        self._connection_lock: AbstractContextManager[Any] = nullcontext()
        self._engine = self._connect(where)
        try:
            self._check_schema()
        except BaseException:
            self._engine.dispose()
            raise

    def read(self, transaction: Callable[[sa.Connection], T], attempts: int = _MAX_ATTEMPTS) -> T:
        """What a function returns that only reads. Raises ``CacheError``."""
        return self._transact(transaction, write=False, attempts=attempts)

    def write(self, transaction: Callable[[sa.Connection], T]) -> T:
        """What a function returns that writes, in one transaction; it may be called again. Raises ``CacheError``."""
        return self._transact(transaction, write=True, attempts=_MAX_ATTEMPTS)

    @property
    def is_forked(self) -> bool:
        """Whether this is a copy in a process that was forked from the one that opened it."""
        return os.getpid() != self.pid

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the file and its log; ``None`` where there is no file."""
        if self.file is None:
            return None
        size_bytes = 0
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                size_bytes += os.stat(f"{self.file}{end}").st_size
        return size_bytes

    def vacuum(self) -> None:
        """Shrink the file by what was removed, if it is a file."""
        if self.file is None:
            return

        def vacuum(c: sa.Connection) -> None:
            c.exec_driver_sql("VACUUM")
            c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()

        with suppress(CacheError):  # others use the file: what they write next fills the space
            self.read(vacuum, attempts=1)

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose(close=not self.is_forked)

    def _connect(self, where: str) -> sa.Engine:
        import sqlalchemy as sa

        is_url = "://" in where
        self.name = where.partition("://")[0] + "://..." if is_url else where  # a URL may hold a password
        try:
            url = sa.make_url(where) if is_url else sa.URL.create("sqlite", database=where)
            self.name = url.render_as_string(hide_password=True) if is_url else where
            if url.get_backend_name() != "sqlite":
                # READ COMMITTED: a claim must see what was committed while it waited for another's row
                return sa.create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")
            if url.database in (None, "", ":memory:"):
                self._connection_lock = threading.RLock()  # threads share the only connection there is
                shared = {"check_same_thread": False}
                engine = sa.create_engine(url, poolclass=sa.pool.StaticPool, connect_args=shared)
            else:
                self.file = Path(str(url.database))
                self.file.parent.mkdir(parents=True, exist_ok=True)
                engine = sa.create_engine(url, connect_args={"timeout": 20.0})
        except OSError as error:
            raise CacheError(f"cannot write the cache {self.name!r}: {error.strerror}; choose another place") from None
        except ImportError as error:
            raise CacheError(f"cannot open the cache {self.name!r}: {error}; install that driver") from None
        except (sa.exc.ArgumentError, ValueError) as error:
            raise CacheError(f"cannot open the cache {self.name!r}: {error}") from None

        # SQLite's transactions begin here and not in the driver: those that write take the lock at once, since one
        # that reads first and then finds another writing would have to be rolled back.
        @sa.event.listens_for(engine, "connect")
        def set_up(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA synchronous=NORMAL")

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            if connection.get_execution_options().get("nas_writes"):
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def _check_schema(self) -> None:
        """Create the tables where there are none, and bring earlier ones up to date.

        Raises ``CacheError`` where there are others.
        """
        version = self.read(self._stored_version)
        if version is None:
            if self.file is not None:
                self.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode=WAL"))
            version = self.write(self._create_tables)
        if version > SCHEMA_VERSION:
            raise CacheError(
                f"the cache {self.name} was made by a newer nas (its tables are of version {version}, this one knows"
                f" {SCHEMA_VERSION}); upgrade nas, or choose another cache"
            )
        if version < 1:
            raise CacheError(f"the cache {self.name} has tables of version {version}; this nas needs {SCHEMA_VERSION}")
        # Not only once: a search of an earlier release that is still running goes on writing entries of its own
        if version < SCHEMA_VERSION or self.read(lambda c: has_earlier_entries(c, self.schema)):
            self.write(self._bring_up_to_date)

    def _stored_version(self, c: sa.Connection) -> int | None:
        import sqlalchemy as sa

        table = self.schema.version
        names = sa.inspect(c).get_table_names()
        if table.name in names:
            row = c.execute(sa.select(table.c.version)).first()
            if row is not None and not isinstance(row.version, int):
                raise CacheError(f"the cache {self.name} is damaged: {_DAMAGE_ADVICE}")
            return None if row is None else int(row.version)
        if self.file is not None and names:
            raise CacheError(
                f"{self.name} is an SQLite file of another program (it has the table {names[0]!r:.80});"
                " choose another file for the cache"
            )
        return None

    def _bring_up_to_date(self, c: sa.Connection) -> None:
        """Entries and version in one transaction; of two processes that open a cache, one waits for the other."""
        import sqlalchemy as sa

        version = self.schema.version
        c.execute(sa.select(version.c.version).with_for_update()).all()
        adopt_earlier_entries(c, self.schema)
        c.execute(version.update().where(version.c.version < SCHEMA_VERSION).values(version=SCHEMA_VERSION))

    def _create_tables(self, c: sa.Connection) -> int:
        stored = self._stored_version(c)
        if stored is None:
            self.schema.metadata.create_all(c)
            c.execute(
                self.schema.version.insert().values(id=1, version=SCHEMA_VERSION)
            )  # last: from now on it is complete
        return SCHEMA_VERSION if stored is None else stored

    def _transact(self, transaction: Callable[[sa.Connection], T], *, write: bool, attempts: int) -> T:
        """Run a transaction, again where another process interfered."""
        from sqlalchemy import exc

        for attempt in range(1, attempts + 1):
            if self.closed.is_set():
                raise CacheError(f"the cache {self.name} is closed")
            if self.is_forked:
                raise CacheError(f"the cache {self.name} was opened in another process; open it in each")
            try:
                with self._connection_lock, self._engine.connect() as connection:
                    if not write:
                        return transaction(connection)
                    with connection.execution_options(nas_writes=True).begin():
                        return transaction(connection)
            except (exc.IntegrityError, exc.OperationalError, exc.ProgrammingError) as error:
                if attempt == attempts:
                    raise self._to_cache_error(error) from None
                time.sleep(0.01 * 2**attempt)
            except exc.SQLAlchemyError as error:
                raise self._to_cache_error(error) from None
        raise AssertionError("not reached")

    def _to_cache_error(self, error: Exception) -> CacheError:
        text = str(getattr(error, "orig", None) or error)
        if any(word in text for word in ("not a database", "malformed", "no such column", "no such table")):
            return CacheError(f"the cache {self.name} is damaged, or no cache of nas ({text}): {_DAMAGE_ADVICE}")
        if "locked" in text:
            return CacheError(f"the cache {self.name} is held by another process ({text}): end that one")
        return CacheError(f"cannot use the cache {self.name} ({text}): mend that, or choose another")
