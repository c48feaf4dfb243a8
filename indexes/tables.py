"""The tables of `store.sqlite`, and a check that a store has these and no other.

A store from somebody else could have a view in place of a table, whose query never ends, triggers
that change what is written, or virtual tables. Reading its schema runs none of that.
"""

from __future__ import annotations

import functools
import sqlite3

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE passages (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    path TEXT,
    source TEXT,
    start_line INTEGER,
    end_line INTEGER,
    metadata TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    checksum TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX passages_by_path ON passages (path) WHERE path IS NOT NULL;
CREATE INDEX records_by_source ON passages (source) WHERE path IS NULL AND source IS NOT NULL;
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,
    first_key INTEGER NOT NULL,
    last_key INTEGER NOT NULL,
    passages INTEGER NOT NULL,
    vectors TEXT NOT NULL,
    files TEXT NOT NULL,
    checksum TEXT NOT NULL
);
CREATE TABLE tombstones (key INTEGER PRIMARY KEY, content_sha256 TEXT NOT NULL);
CREATE INDEX tombstones_by_content ON tombstones (content_sha256);
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    skipped TEXT NOT NULL,
    complete INTEGER NOT NULL,
    checksum TEXT NOT NULL
);
"""
LEXICAL_SCHEMA = """
CREATE VIRTUAL TABLE lexical USING fts5 (
    content, content = '', tokenize = "porter unicode61 remove_diacritics 2"
);
CREATE VIRTUAL TABLE lexical_words USING fts5vocab (lexical, instance);
"""

SELECT = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
Tables = frozenset[tuple[str, str, str, str | None]]


def check_schema(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError unless the tables are those of a store, and nothing else."""
    with_lexical = _tables(SCHEMA + LEXICAL_SCHEMA)
    present = frozenset(connection.execute(f"{SELECT} LIMIT ?", (len(with_lexical) + 1,)))
    if present != with_lexical and present != _tables(SCHEMA):
        raise sqlite3.DatabaseError("its tables are not those of this format")


@functools.cache
def _tables(schema: str) -> Tables:
    new = sqlite3.connect(":memory:")
    try:
        new.executescript(schema)
        return frozenset(new.execute(SELECT))
    finally:
        new.close()
