"""One commit of an index, held open: a read transaction of the store and its segments, mapped."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from .filtering import Filter
from .manifest import Manifest
from .segments import Segment, SegmentRecord, open_segment
from .store import check_index_id, checked, connect_reader, get_meta, store_errors

ATTEMPTS = 10


class Snapshot:
    """Sees the same passages for as long as it lives.

    connection: in a read transaction; usable from several threads, one statement at a time.
    segments: open, rising by key; live: for each a (P,) bool, False where the passage is a
        tombstone.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        with store_errors(folder):
            self.connection = connect_reader(folder)
            weakref.finalize(self, self.connection.close)
            check_index_id(self.connection, folder, manifest.index_id)
            self.generation: int = get_meta(self.connection, "generation")
            records = segment_records(self.connection)
            self.segments = [open_segment(folder, record, manifest.legs) for record in records]
            self.live = [live_mask(self.connection, segment) for segment in self.segments]

    def allowed(self, where: Filter) -> list[np.ndarray]:
        """For each segment a (P,) bool: the live passages that satisfy `where`."""
        keys = self._keys(where)
        return [np.isin(segment.keys, keys, assume_unique=True) for segment in self.segments]

    def _keys(self, where: Filter) -> np.ndarray:
        statement = f"SELECT key FROM passages WHERE {where.sql}"
        rows = self.connection.execute(statement, where.parameters).fetchall()
        return np.array(rows, dtype=np.int64).reshape(-1)

    def check_filter(self, where: Filter) -> None:
        """Raises InputError when the filter names a key that no passage has: a typing mistake."""
        for name, path in where.keys.items():
            found = self.connection.execute(
                "SELECT 1 FROM passages WHERE json_type(metadata, ?) IS NOT NULL LIMIT 1", (path,)
            ).fetchone()
            if not found and self.count():
                raise InputError(f"filter: no passage has a field {name!r}")

    def count(self) -> int:
        return self.connection.execute("SELECT count(*) FROM passages").fetchone()[0]

    def vectors(self, id: str, leg: str) -> np.ndarray | None:
        """(n, D) float32: a passage's vectors as the leg keeps them; None when `id` is not
        there."""
        row = self.connection.execute("SELECT key FROM passages WHERE id = ?", (id,)).fetchone()
        if row is None:
            return None
        for segment in self.segments:
            place = int(np.searchsorted(segment.keys, row[0]))
            if place < len(segment.keys) and segment.keys[place] == row[0]:
                return segment.engines[leg].read(place, place + 1)[0]
        raise InputError(f"{self.folder} is damaged: no segment has the vectors of passage {id!r}")

    def ids(self, keys: np.ndarray) -> list[str]:
        """The ids of live passages, in the order of (N,) keys."""
        found = dict(
            in_batches(self.connection, "SELECT key, id FROM passages", "key", keys.tolist())
        )
        try:
            return [found[key] for key in keys.tolist()]
        except KeyError as error:
            raise InputError(
                f"{self.folder} is damaged: store.sqlite does not know passage {error}, of which a "
                "segment has vectors"
            ) from None


def open_snapshot(folder: Path, manifest: Manifest) -> Snapshot:
    """The newest commit. A writer may drop a segment between the moment when the store is read and
    the moment when the segment is opened; then there is a newer commit to open."""
    for _ in range(ATTEMPTS):
        try:
            return Snapshot(folder, manifest)
        except FileNotFoundError as error:
            missing = error.filename
    raise InputError(f"{missing} is missing: restore it, or build the index again")


def segment_records(connection: sqlite3.Connection) -> list[SegmentRecord]:
    """The live segments, rising by key, so the oldest passages first."""
    found = []
    for row in connection.execute("SELECT * FROM segments ORDER BY first_key"):
        number, first, last, passages, vectors, files = checked(row, "segments")
        record = SegmentRecord(
            number, first, last, passages, json.loads(vectors), json.loads(files)
        )
        found.append(record)
    return found


def live_mask(connection: sqlite3.Connection, segment: Segment) -> np.ndarray:
    """(P,) bool: False where the segment's passage is a tombstone."""
    record = segment.record
    select = "SELECT key FROM tombstones WHERE key BETWEEN ? AND ?"
    dead = connection.execute(select, (record.first_key, record.last_key)).fetchall()
    live = np.ones(record.passages, dtype=bool)
    if dead:
        live[np.searchsorted(segment.keys, np.array(dead, dtype=np.int64).reshape(-1))] = False
    return live


def in_batches(
    connection: sqlite3.Connection, select: str, column: str, values: list
) -> Iterator[tuple]:
    """Rows whose `column` is among `values`, however many, in no order. select: SELECT and FROM."""
    for first in range(0, len(values), 500):
        batch = values[first : first + 500]
        marks = ", ".join("?" * len(batch))
        yield from connection.execute(f"{select} WHERE {column} IN ({marks})", batch)
