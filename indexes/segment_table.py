"""The store's tables `segments` and `tombstones`: which segments are live, and what in them is."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import astuple

import numpy as np

from .recorded import check_types, stored_json
from .segments import Segment, SegmentRecord
from .store import checked, row_checksum, set_meta


def segment_records(connection: sqlite3.Connection) -> list[SegmentRecord]:
    """Return the live segments, increasing by key, so that the oldest passages come first."""
    records = []
    for row in connection.execute("SELECT * FROM segments ORDER BY first_key"):
        *numbers, counts, files = checked(row, "segments")
        what = f"table segments: {numbers[0]!r}"
        check_types(numbers, [int] * 4, what)
        counts, files = stored_json(counts, dict, what), stored_json(files, dict, what)
        check_types(counts.values(), [int] * len(counts), what)
        check_types(files.values(), [dict] * len(files), what)
        for facts in files.values():
            check_types([facts.get("bytes"), facts.get("sha256")], [int, str], what)
        number, first, last, passages = numbers
        if min(number, passages, last - first, *counts.values()) < 0:
            raise sqlite3.DatabaseError(f"{what} is not what was written")
        records.append(SegmentRecord(number, first, last, passages, counts, files))
    return records


def live_mask(connection: sqlite3.Connection, segment: Segment) -> np.ndarray:
    """Return (P,) bool: False for each passage of the segment that is a tombstone."""
    record = segment.record
    select = "SELECT key FROM tombstones WHERE key BETWEEN ? AND ? ORDER BY key"
    dead = connection.execute(select, (record.first_key, record.last_key)).fetchall()
    live = np.ones(record.passages, dtype=bool)
    if dead:
        keys = np.array(dead, dtype=np.int64).reshape(-1)
        positions = np.searchsorted(segment.keys, keys)
        if positions[-1] >= len(live) or np.any(segment.keys[positions] != keys):
            raise sqlite3.DatabaseError("table tombstones: a key is of no segment")
        live[positions] = False
    return live


def dead_count(connection: sqlite3.Connection, record: SegmentRecord) -> int:
    """Return how many passages of a segment are tombstones."""
    select = "SELECT count(*) FROM tombstones WHERE key BETWEEN ? AND ?"
    return connection.execute(select, (record.first_key, record.last_key)).fetchone()[0]


def register_segment(connection: sqlite3.Connection, record: SegmentRecord) -> None:
    """Make a segment live."""
    *columns, counts, files = astuple(record)
    row = (*columns, json.dumps(counts), json.dumps(files))
    row = (*row, row_checksum(*row))
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    set_meta(connection, "next_segment", record.number + 1)


def unregister_segment(connection: sqlite3.Connection, record: SegmentRecord) -> None:
    """Forget a segment and its tombstones."""
    span = (record.first_key, record.last_key)
    connection.execute("DELETE FROM tombstones WHERE key BETWEEN ? AND ?", span)
    connection.execute("DELETE FROM segments WHERE number = ?", (record.number,))


def unregister_dead_segments(connection: sqlite3.Connection) -> bool:
    """Forget segments without live passages. Return whether there were any."""
    dead = [
        record
        for record in segment_records(connection)
        if dead_count(connection, record) == record.passages
    ]
    for record in dead:
        unregister_segment(connection, record)
    return bool(dead)
