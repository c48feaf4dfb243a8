"""One commit of an index: a read transaction of the store, and its segments, memory-mapped."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BUILD_AGAIN, InputError, TimeLimitError
from ..files import bytes_in
from ..packed import Packed
from ..types import Ranking
from .deadline import time_limit
from .engine import Scored, Tuning, top_k
from .filtering import Filter
from .manifest import Leg, Manifest
from .recorded import check_types
from .segment_table import live_mask, segment_records
from .segments import open_segment
from .store import connect_reader, get_meta, store_errors
from .trust import is_trusted

ATTEMPTS = 10
OPENING_SECONDS = 10.0  # for an index of somebody else, whose store may be made to take for ever


class Snapshot:
    """Sees the same passages for as long as it exists.

    connection: in a read transaction; usable from several threads, one statement at a time.
    segments: open, increasing by key; live: for each a (P,) bool, False for tombstones.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        with store_errors(folder):
            self.connection = connect_reader(folder, manifest.index_id)
            weakref.finalize(self, self.connection.close)
            self.generation: int = get_meta(self.connection, "generation")
            records = segment_records(self.connection)
            self.segments = [open_segment(folder, record, manifest.legs) for record in records]
            self.live = [live_mask(self.connection, segment) for segment in self.segments]

    def search(
        self, leg: str, queries: Packed, k: int, where: Filter | None, tuning: Tuning
    ) -> list[Ranking]:
        """Return for each query the k best (id, score) of all segments, best first, equal scores
        by id."""
        masks = self.live if where is None else self.allowed(where)
        results: list[list[Scored]] = [[] for _ in range(len(queries))]
        for segment, mask in zip(self.segments, masks, strict=True):
            of_segment = segment.vectors[leg].search(queries, mask, k, tuning)
            for of_query, (rows, scores) in zip(results, of_segment, strict=True):
                of_query.append((segment.keys[rows], scores))
        return [self._merged(of_query, k) for of_query in results]

    def _merged(self, of_segments: list[Scored], k: int) -> Ranking:
        """Return one ranking from the (keys, scores) of each segment."""
        if not of_segments:
            return []
        keys = np.concatenate([keys for keys, _ in of_segments])
        scores = np.concatenate([scores for _, scores in of_segments])
        top = top_k(scores, k)
        ranking = zip(self.ids(keys[top]), scores[top].tolist(), strict=True)
        return sorted(ranking, key=lambda hit: (-hit[1], hit[0]))[:k]

    def allowed(self, where: Filter) -> list[np.ndarray]:
        """Return for each segment a (P,) bool: the live passages that satisfy `where`."""
        statement = f"SELECT key FROM passages WHERE {where.sql}"
        rows = self.connection.execute(statement, where.parameters).fetchall()
        keys = np.array(rows, dtype=np.int64).reshape(-1)
        return [np.isin(segment.keys, keys, assume_unique=True) for segment in self.segments]

    def check_filter(self, where: Filter) -> None:
        """Raise InputError if the filter names a key that no passage has, probably a typing
        mistake."""
        for name, path in where.keys.items():
            row = self.connection.execute(
                "SELECT 1 FROM passages WHERE json_type(metadata, ?) IS NOT NULL LIMIT 1", (path,)
            ).fetchone()
            if row is None and self.count():
                raise InputError(f"filter: no passage has a field {name!r}")

    def count(self) -> int:
        """Return the number of passages."""
        return self.connection.execute("SELECT count(*) FROM passages").fetchone()[0]

    def vectors(self, id: str, leg: str) -> np.ndarray | None:
        """Return (n, D) float32, the vectors of a passage as the leg stores them; None if there is
        no such passage."""
        row = self.connection.execute("SELECT key FROM passages WHERE id = ?", (id,)).fetchone()
        if row is None:
            return None
        key = row[0]
        for segment in self.segments:
            position = int(np.searchsorted(segment.keys, key))
            if position < len(segment.keys) and segment.keys[position] == key:
                return segment.vectors[leg].read(position, position + 1)[0]
        raise InputError(f"{self.folder} is damaged: no segment has the vectors of passage {id!r}")

    def ids(self, keys: np.ndarray) -> list[str]:
        """Return the ids of live passages, in the order of (N,) keys."""
        ids = dict(
            in_batches(self.connection, "SELECT key, id FROM passages", "key", keys.tolist())
        )
        check_types(ids.values(), [str] * len(ids), "the id of a passage")
        try:
            return [ids[key] for key in keys.tolist()]
        except KeyError as error:
            raise InputError(
                f"{self.folder} is damaged: store.sqlite does not know passage {error}, of which a "
                "segment has vectors"
            ) from None


def open_snapshot(folder: Path, manifest: Manifest) -> Snapshot:
    """Open the newest commit.

    A writer may remove a segment after the store was read and before the segment is opened; then
    there is a newer commit to open.
    """
    for _ in range(ATTEMPTS):
        try:
            if is_trusted(folder, manifest.index_id):
                return Snapshot(folder, manifest)
            with time_limit(OPENING_SECONDS):
                return Snapshot(folder, manifest)
        except FileNotFoundError as error:
            missing = error.filename
        except TimeLimitError:
            raise InputError(f"{folder} is damaged: its store cannot be opened in time") from None
    raise InputError(f"{missing} is missing: restore it, or {BUILD_AGAIN}")


def in_batches(
    connection: sqlite3.Connection, select: str, column: str, values: list
) -> Iterator[tuple]:
    """Yield the rows whose `column` is among `values`, however many, in no order.

    select: "SELECT ... FROM ...".
    """
    for first in range(0, len(values), 500):
        batch = values[first : first + 500]
        marks = ", ".join("?" * len(batch))
        yield from connection.execute(f"{select} WHERE {column} IN ({marks})", batch).fetchall()


def spread_rows(connection: sqlite3.Connection, count: int) -> list[tuple]:
    """Return at most `count` rows of passages, at even distances in the order of their keys."""
    first, last = connection.execute("SELECT min(key), max(key) FROM passages").fetchone()
    if first is None:
        return []
    rows = {}
    for number in range(count):
        row = connection.execute(
            "SELECT key, id, path, start_line, end_line, metadata, title, text FROM passages "
            "WHERE key >= ? ORDER BY key LIMIT 1",
            [first + (last - first) * number // count],
        ).fetchone()
        rows[row[0]] = row[1:]
    return list(rows.values())


def leg_info(snapshot: Snapshot, leg: Leg, path: Path) -> dict[str, Any]:
    """Return JSON that describes a leg of the index at `path`, and its size."""
    records = [segment.record for segment in snapshot.segments]
    vectors = sum(record.vector_counts[leg.name] for record in records)
    size = sum(bytes_in(path / record.folder / leg.name) for record in records)
    return {
        **leg.to_json(),
        "vectors": vectors,
        "bytes_per_vector": round(size / vectors, 1) if vectors else None,
        "engines": [segment.vectors[leg.name].facts() for segment in snapshot.segments],
    }
