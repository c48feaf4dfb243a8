"""Verify an index: read every byte, follow every reference."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..files import sha256_of_file
from . import lexical
from .confined import unexpected_segments
from .manifest import Manifest
from .segments import FOLDER, Segment
from .snapshot import Snapshot
from .store import FILE, META_TYPES, checked, get_meta, is_as_written
from .tables import check_schema


def verify(folder: Path, manifest: Manifest, snapshot: Snapshot) -> list[str]:
    """Return one line per problem, naming the file; none if the index is intact."""
    problems: list[str] = []
    for segment in snapshot.segments:
        problems += _segment_problems(folder, segment)
    problems += [f"{file} is no folder" for file in unexpected_segments(folder / FOLDER)]
    store = folder / FILE
    try:
        problems += [f"{store}: {line}" for line in _store_problems(snapshot, manifest)]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        problems.append(f"{store} is damaged: {error}")
    return problems


def _segment_problems(folder: Path, segment: Segment) -> Iterator[str]:
    record = segment.record
    for name, expected in record.files.items():
        file = folder / record.folder / name
        try:
            if sha256_of_file(file) != expected["sha256"]:
                yield f"{file} is damaged: its checksum has changed since it was written"
        except OSError as error:
            yield f"{file} cannot be read: {error.strerror}"


def _store_problems(snapshot: Snapshot, manifest: Manifest) -> Iterator[str]:
    connection = snapshot.connection
    for (line,) in connection.execute("PRAGMA integrity_check(10)"):
        if line != "ok":
            yield line
    check_schema(connection)
    columns = "id, path, source, start_line, end_line, metadata, title, text"
    select = f"SELECT content_sha256, checksum, {columns} FROM passages"
    for content_sha256, checksum, *row in connection.execute(select):
        if not is_as_written([*row[:6], content_sha256, *row[6:]], checksum):
            yield f"passage {row[0]!r} is not what was written"
    for table in ("meta", "files"):
        for row in connection.execute(f"SELECT * FROM {table}"):
            checked(row, table)
    for name in META_TYPES:
        get_meta(connection, name)
    yield from _key_problems(snapshot, manifest)
    if manifest.lexical:
        yield from lexical.problems(connection)


def _key_problems(snapshot: Snapshot, manifest: Manifest) -> Iterator[str]:
    """Check that each passage and each tombstone has vectors in exactly one segment."""
    live = _keys(snapshot.connection, "passages")
    if live.size and live[-1] >= get_meta(snapshot.connection, "next_key"):
        yield "table meta: the next key is in use already"
    if not manifest.legs:
        return
    dead = _keys(snapshot.connection, "tombstones")
    stored = [segment.keys for segment in snapshot.segments]
    keys = np.concatenate([np.zeros(0, np.int64), *stored])
    if np.any(np.diff(keys) <= 0):
        yield "the keys of the segments do not increase"
    if np.intersect1d(live, dead).size:
        yield "a passage is marked as deleted"
    expected = np.union1d(live, dead)
    if missing := np.setdiff1d(expected, keys).size:
        yield f"{missing} passages have no vectors in any segment"
    if extra := np.setdiff1d(keys, expected).size:
        yield f"{extra} passages of the segments are unknown"


def _keys(connection: sqlite3.Connection, table: str) -> np.ndarray:
    rows = connection.execute(f"SELECT key FROM {table} ORDER BY key").fetchall()
    return np.array(rows, dtype=np.int64).reshape(-1)
