"""Files, URLs and databases that are no cache, a newer one, or a damaged one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nas.cache import CacheError, EvaluationCache
from nas.cache.tables import MAX_FORM_BYTES, decompress_form, schema
from tests.support.cached_networks import (
    KEY,
    gives,
    same_letters,
    stored_network,
)


def test_files_that_are_no_cache_are_left_alone_and_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("These are my notes. " * 300)
    foreign = tmp_path / "study.db"
    with closing(sqlite3.connect(foreign)) as raw, raw:
        raw.execute("CREATE TABLE trials (id INTEGER)")
    for path, reason in ((text, "not a database.*move it away"), (foreign, "another program.*trials.*another file")):
        before = path.read_bytes()
        with pytest.raises(CacheError, match=reason):
            EvaluationCache(path)
        assert path.read_bytes() == before
    with pytest.raises(CacheError, match="cannot"):
        EvaluationCache(tmp_path)
    with pytest.raises(CacheError, match="cannot write"):
        EvaluationCache(text / "cache.db")


@pytest.mark.parametrize(
    "url",
    [
        "nosuchdatabase://me:secret@host/name",
        "sqlite+nosuchdriver:///x",
        "://",
        "postgresql://me:secret@host:port/name",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(CacheError, match="cannot open the cache") as caught:
        EvaluationCache(url)
    assert "secret" not in str(caught.value)


def test_a_newer_caches_tables_are_not_touched(tmp_path: Path) -> None:
    EvaluationCache(tmp_path / "cache.db").close()
    for version, reason in ((99, "newer nas.*upgrade"), (0, "version 0"), ("one", "damaged")):
        with closing(sqlite3.connect(tmp_path / "cache.db")) as raw, raw:
            raw.execute("UPDATE nas_cache_version SET version = ?", [version])
        with pytest.raises(CacheError, match=reason):
            EvaluationCache(tmp_path / "cache.db")


def test_a_damaged_cache_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with EvaluationCache(path) as cache:
        one = stored_network(cache)
        cache.evaluate(one, KEY, gives(0.5))

    def lookup() -> None:
        with EvaluationCache(path) as cache:
            cache.lookup(one, KEY)
            cache.network("exact-1:k", "a form not met before", lambda: "abc", same_letters)

    for column, table, value in (
        ("metrics", "observations", "{"),
        ("metrics", "observations", "[1]"),
        ("metrics", "observations", b"\xff"),
        ("form", "networks", b"not compressed"),
        ("form", "networks", b""),
    ):
        with closing(sqlite3.connect(path)) as raw, raw:
            original = raw.execute(f"SELECT {column} FROM nas_cache_{table}").fetchone()  # noqa: S608
            raw.execute(f"UPDATE nas_cache_{table} SET {column} = ?", [value])  # noqa: S608
        with pytest.raises(CacheError, match="damaged"):
            lookup()
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(f"UPDATE nas_cache_{table} SET {column} = ?", original)  # noqa: S608
    lookup()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CacheError, match="damaged"):
        lookup()


def test_a_form_that_unpacks_to_more_than_memory_is_refused() -> None:
    import zlib

    packed = zlib.compress(b"0" * (MAX_FORM_BYTES + 1))
    assert len(packed) < 100_000
    with pytest.raises(CacheError, match="damaged"):
        decompress_form(packed)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql", "mariadb", "mssql", "oracle"])
def test_the_tables_can_be_made_in_other_databases(dialect: str) -> None:
    import sqlalchemy as sa
    from sqlalchemy.schema import CreateIndex, CreateTable

    tables = schema()
    statements = ""
    for table in tables.metadata.sorted_tables:
        statements += str(CreateTable(table).compile(dialect=sa.make_url(f"{dialect}://").get_dialect()()))
        for index in table.indexes:
            statements += str(CreateIndex(index).compile(dialect=sa.make_url(f"{dialect}://").get_dialect()()))
    assert statements.count("CREATE TABLE") == 7
    if dialect in ("mysql", "mariadb"):
        assert "MEDIUMBLOB" in statements.upper() or "BLOB(16777215)" in statements
        assert "DOUBLE" in statements
    if dialect == "postgresql":
        assert "DOUBLE PRECISION" in statements
    for statement in (tables.by_alias, tables.observations_in_use, tables.recorded):
        assert str(statement.compile(dialect=sa.make_url(f"{dialect}://").get_dialect()()))


def test_nothing_happens_at_import() -> None:
    loaded = (
        "import sys, nas.cache; print([m for m in ('sqlalchemy', 'pandas', 'sqlite3', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"
