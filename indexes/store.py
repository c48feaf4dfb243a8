"""`store.sqlite`: the passages, the lexical index, and the one commit point of an index.

A commit writes a new immutable segment folder, forces it to the disk, and then ends one SQLite
transaction that inserts the passages (with their lexical entries), removes the old ones, marks
removed vectors as tombstones and registers the segment. That transaction is the whole commit: after
a crash the store says either all of it or nothing, and a segment folder that it does not name is
garbage that the next writer removes. So nothing else names live segments: a manifest renamed after
the transaction would be a second commit point, and a crash between the two would leave vectors and
passages of different commits.

The store is in write-ahead-log mode: a reader has one read transaction open and sees the commit
that was newest when it began, whatever a writer does meanwhile, and neither waits for the other.

A passage's `key` is used once, and again only for a passage of the same content, whose vectors are
the same. Segments have disjoint ranges of keys, and contain the vectors of every leg for each of
their keys; a key of a segment is a live passage or a tombstone. A tombstone records the hash of its
content, so that text that comes back or moves to other lines is not encoded again.

A passage's `source` is the path, in table `files`, of the file or collection that it was read from.
It is NULL for a passage that was added by itself; a sync with the sources leaves those alone.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..errors import BUILD_AGAIN, InputError
from . import text_patterns
from .deadline import cause_of, make_interruptible
from .recorded import stored_json
from .shared_connection import SharedConnection
from .tables import SCHEMA, check_schema
from .trust import is_trusted

Connection = TypeVar("Connection", bound=sqlite3.Connection)

FILE = "store.sqlite"
MAX_UNTRUSTED_BYTES = 64 * 2**20  # of one value in a store that somebody else made
META_TYPES: dict[str, type] = {
    "index_id": str,
    "settings": dict,
    "generation": int,
    "next_key": int,
    "next_segment": int,
}
VACUUM_FRACTION = 0.1  # of unused pages above which the store is rewritten


@contextmanager
def store_errors(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite into an InputError that names the file."""
    file = folder / FILE
    try:
        yield
    except sqlite3.OperationalError as error:
        hint = " (is the disk full?)" if _is_disk_error(error) else ""
        raise cause_of(error) or InputError(f"{file}: {error}{hint}") from None
    except sqlite3.DatabaseError as error:
        raise InputError(f"{file} is damaged ({error}): {BUILD_AGAIN}") from None


def create_store(folder: Path, index_id: str, settings: dict[str, Any], lexical: str) -> None:
    """Create an empty store. lexical: SQL that creates the tables of the lexical index, or ""."""
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        meta = {
            "index_id": index_id,
            "settings": settings,
            "generation": 0,
            "next_key": 1,
            "next_segment": 1,
        }
        connection.executescript("BEGIN;" + SCHEMA + lexical)
        for name, value in meta.items():
            set_meta(connection, name, value)
        connection.execute("COMMIT")
    finally:
        connection.close()


def connect_writer(folder: Path, index_id: str) -> sqlite3.Connection:
    """Return a connection for the one writer.

    Raises sqlite3.DatabaseError for a store of other tables or without a write-ahead log, and the
    errors of `check_index_id`: a writer removes the segments that its store does not name, so it
    must be the right store.
    """
    connection = _connect(folder, "mode=rw", sqlite3.Connection)
    try:
        check_schema(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":  # a writer and its own readers would wait for each other
            raise sqlite3.DatabaseError(f"its journal mode is {mode!r}, not 'wal'")
        check_index_id(connection, folder, index_id)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(folder: Path, index_id: str) -> sqlite3.Connection:
    """Return a connection that cannot write, in a read transaction that sees one commit.

    The file is opened for writing if permitted, only so that SQLite can remove its log when the
    last connection closes; not that of an index from somebody else. In a read-only folder, or on a
    full disk, the file is read as it is.

    Raises sqlite3.DatabaseError for a store of other tables, and the errors of `check_index_id`.
    """
    trusted = is_trusted(folder, index_id)
    log = folder / (FILE + "-wal")
    try:
        mode = "mode=rw" if trusted else "mode=ro"
        connection = _begin_reading(_connect(folder, mode, SharedConnection))
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode & 0xFF
        if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, *_DISK_ERRORS):
            raise
        if log.exists() and log.stat().st_size > 0:
            raise InputError(
                f"the index {folder} cannot be written here and its last writer was cut off before "
                "it finished: open it once where it can be written"
            ) from None
        connection = _begin_reading(_connect(folder, "immutable=1", SharedConnection))
        connection.execute("PRAGMA temp_store = MEMORY")
    try:
        if not trusted:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_UNTRUSTED_BYTES)
        check_index_id(connection, folder, index_id)
    except BaseException:
        connection.close()
        raise
    return connection


_DISK_ERRORS = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)


def _is_disk_error(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_ERRORS


def _connect(folder: Path, mode: str, kind: type[Connection]) -> Connection:
    connection: Connection = sqlite3.connect(
        f"{(folder.resolve() / FILE).as_uri()}?{mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=30,
        factory=kind,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _begin_reading(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        text_patterns.install(connection)
        make_interruptible(connection)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        check_schema(connection)  # the first statement that reads, so that the transaction begins
    except BaseException:
        connection.close()
        raise
    return connection


def check_index_id(connection: sqlite3.Connection, folder: Path, index_id: str) -> None:
    """Raise InputError if the store does not belong to the index whose manifest has `index_id`."""
    if get_meta(connection, "index_id") != index_id:
        raise InputError(f"{folder / FILE} is of another index than manifest.json beside it")


def newest_generation(folder: Path, index_id: str) -> int:
    """Return the number of the newest commit. Raises the errors of `check_index_id`."""
    connection = connect_reader(folder, index_id)
    try:
        return get_meta(connection, "generation")
    finally:
        connection.close()


def get_meta(connection: sqlite3.Connection, name: str) -> Any:
    """Return a value of table `meta`. Raises sqlite3.DatabaseError if it is missing or damaged."""
    row = connection.execute("SELECT * FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"table meta has no {name!r}")
    return stored_json(checked(row, "meta")[1], META_TYPES[name], f"table meta: {name!r}")


def set_meta(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Write a value (JSON) of table `meta`."""
    row = (name, json.dumps(value))
    connection.execute("REPLACE INTO meta VALUES (?, ?, ?)", (*row, row_checksum(*row)))


def vacuum(connection: sqlite3.Connection) -> None:
    """Return unused pages to the file system if they are a large part of the store."""
    (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if unused > VACUUM_FRACTION * pages:
        connection.execute("VACUUM")


def row_checksum(*columns: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a row's values; it detects changed bytes."""
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def checked(row: tuple, table: str) -> list:
    """Return the values of a row without its last one, the checksum.

    Raises sqlite3.DatabaseError if the checksum is wrong.
    """
    *values, checksum = row
    if not is_as_written(values, checksum):
        raise sqlite3.DatabaseError(f"table {table}: {values[0]!r} is not what was written")
    return values


def is_as_written(values: Sequence[Any], checksum: Any) -> bool:
    """Return whether the values of a row have this checksum."""
    try:
        return row_checksum(*values) == checksum
    except TypeError:  # bytes, which are never written
        return False
