"""Changes to an index, by the one process that holds its lock."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, NotFoundError
from ..packed import Packed
from ..types import Passage
from . import lexical
from .compaction import groups
from .lock import WriterLock
from .manifest import Manifest
from .segments import FOLDER as SEGMENTS_FOLDER
from .segments import (
    SegmentRecord,
    SegmentWriter,
    merge_segments,
    open_segment,
    remove_unnamed,
)
from .snapshot import in_batches, live_mask, segment_records
from .store import connect_writer, get_meta, row_checksum, set_meta, store_errors, vacuum
from .validation import (
    Row,
    check_text,
    check_vectors,
    content_of,
    passage_row,
    row_passage,
)


@dataclass(frozen=True)
class FileState:
    """A source file as it was when it was indexed. mtime_ns: nanoseconds; sha256: hex; skipped: why
    it gave no passages, "" when it was read."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    skipped: str = ""


class Writer:
    """Adds, replaces and deletes passages; `commit` makes it all count, together.

    Changes go into an open transaction and a new segment, both on the disk, so memory stays flat.
    Leaving the `with` block drops what was not committed. A call that raises InputError for what
    it was given has changed nothing.
    """

    def __init__(self, folder: Path, manifest: Manifest, committed: Callable[[], None]) -> None:
        """committed: called after each commit and at the end."""
        self._folder, self._manifest, self._committed = folder, manifest, committed
        self._segment: SegmentWriter | None = None
        self._failed = False
        self._lock = WriterLock(folder)
        try:
            with store_errors(folder):
                self._connection = connect_writer(folder, manifest.index_id)
                named = {record.number for record in segment_records(self._connection)}
            (folder / SEGMENTS_FOLDER).mkdir(exist_ok=True)  # copies may leave out empty folders
            remove_unnamed(folder, named)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(self, passages: Iterable[Passage], vectors: Mapping[str, Packed]) -> None:
        """Add passages; one whose id is there already is replaced, in every leg.

        vectors: leg -> for each passage its vectors, values (N, D) floating-point, stored as
            float32; of each leg that the index has.
        """
        passages = list(passages)
        rows = [passage_row(passage) for passage in passages]
        ids = [passage.id for passage in passages]
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise InputError(f"two passages have the id {twice!r}")
        vectors = self._checked(vectors, ids)
        if not rows:
            return
        with self._changing() as connection:
            self._remove(list(self._stored(ids).values()))
            first = get_meta(connection, "next_key")
            keys = range(first, first + len(rows))
            set_meta(connection, "next_key", keys.stop)
            self._insert(keys, passages, rows)
            if vectors:
                if self._segment is None:
                    number = get_meta(connection, "next_segment")
                    self._segment = SegmentWriter(self._folder, number, self._manifest.legs)
                self._segment.append(keys, vectors)

    def reuse(self, passages: Sequence[Passage]) -> list[Passage]:
        """Add those passages whose content has its vectors in the index already, of the passage
        that they replace or of a deleted one; the others are returned, nothing done with them."""
        if not self._manifest.legs:
            return list(passages)
        rows = [passage_row(passage) for passage in passages]
        with self._changing() as connection:
            select = "SELECT id, key, content_sha256 FROM passages"
            held = {
                id: (key, content)
                for id, key, content in in_batches(connection, select, "id", [r[0] for r in rows])
            }
            contents = {row[0]: content_of(row) for row in rows}
            self._remove([key for id, (key, content) in held.items() if contents[id] == content])
            free = self._free_keys(contents.values())
            keys, taken = [], []
            for place, row in enumerate(rows):
                if same := free[content_of(row)]:
                    keys.append(same.pop())
                    taken.append(place)
            self._remove(list(self._stored([rows[n][0] for n in taken]).values()))
            connection.executemany("DELETE FROM tombstones WHERE key = ?", [(k,) for k in keys])
            self._insert(keys, [passages[n] for n in taken], [rows[n] for n in taken])
        gone = set(taken)
        return [passage for n, passage in enumerate(passages) if n not in gone]

    def _free_keys(self, contents: Iterable[str]) -> dict[str, list[int]]:
        """sha256 of a content -> keys of deleted passages whose vectors are of it."""
        free: dict[str, list[int]] = defaultdict(list)
        wanted = list(dict.fromkeys(contents))
        select = "SELECT content_sha256, key FROM tombstones"
        for content, key in in_batches(self._connection, select, "content_sha256", wanted):
            free[content].append(key)
        return free

    def passages_of(self, path: str) -> list[tuple[Passage, str]]:
        """The passages of a source file, as changed so far, each with its content's sha256."""
        select = (
            "SELECT content_sha256, id, path, start_line, end_line, metadata, title, text "
            "FROM passages WHERE path = ?"
        )
        with store_errors(self._folder):
            rows = self._connection.execute(select, (path,)).fetchall()
            return [(row_passage(*rest), content) for content, *rest in rows]

    def ids_elsewhere(self, paths: set[str], ids: set[str] | None) -> list[str]:
        """The passages of other files than these, and those of no file whose id is not among `ids`;
        none of the latter where that is None."""
        with store_errors(self._folder):
            rows = self._connection.execute("SELECT id, path FROM passages").fetchall()
        return [
            id
            for id, path in rows
            if (path not in paths if path is not None else ids is not None and id not in ids)
        ]

    def delete(self, ids: Iterable[str]) -> None:
        """Remove passages from every leg. Raises NotFoundError when one is not."""
        wanted = list(dict.fromkeys(ids))
        for id in wanted:
            check_text(id, "the id to delete")
        with store_errors(self._folder):
            stored = self._stored(wanted)
        unknown = next((id for id in wanted if id not in stored), None)
        if unknown is not None:
            raise NotFoundError(f"no passage has the id {unknown!r}: nothing was deleted")
        if stored:
            with self._changing():
                self._remove(list(stored.values()))

    def set_file_state(self, state: FileState) -> None:
        """Remember how a source file was when its passages were added."""
        check_text(state.path, "the path of a file")
        with self._changing() as connection:
            row = (*astuple(state), row_checksum(*astuple(state)))
            connection.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget_file(self, path: str) -> None:
        with self._changing() as connection:
            connection.execute("DELETE FROM files WHERE path = ?", (path,))

    def forget_files(self) -> None:
        """All of them."""
        with self._changing() as connection:
            connection.execute("DELETE FROM files")

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Replace what `IndexFolder.settings` gives."""
        with self._changing() as connection:
            set_meta(connection, "settings", settings)

    def commit(self) -> None:
        """Make all changes since the last commit count at once; after it, they survive a crash."""
        if not self._connection.in_transaction and not self._failed:
            return
        with self._changing() as connection:
            if self._segment is not None:
                self._register(self._segment.finish(segment_records(connection)))
            dropped = self._drop_dead_segments()
            set_meta(connection, "generation", get_meta(connection, "generation") + 1)
            # a commit that fails may yet be found in the log after a crash, so its segment stays
            # for the next writer to judge
            self._segment = None
            connection.execute("COMMIT")
        if dropped:
            self._remove_unnamed()
        self._committed()

    def compact(self, everything: bool = False) -> int:
        """Write segments anew as fewer, without what is dead in them; how many were replaced.

        Commits what was changed before, and then this as a commit of its own. Which segments: see
        `compaction.groups`. everything: all of them become one; the lexical index is merged and
        the store gives unused space back as well.
        """
        self.commit()
        with self._changing() as connection:
            replaced = self._merge_groups(everything)
            if everything and self._manifest.lexical:
                lexical.optimize(connection)
            if not replaced and not everything:
                connection.execute("ROLLBACK")
                return 0
            set_meta(connection, "generation", get_meta(connection, "generation") + 1)
            connection.execute("COMMIT")
        self._remove_unnamed()
        self._committed()
        if everything:
            with store_errors(self._folder):
                vacuum(self._connection)
        return replaced

    def close(self) -> None:
        """Drop what was not committed and let the lock go."""
        try:
            self._drop_changes()
            self._committed()
            with suppress(sqlite3.Error):  # readers may hold the log: it is tidied another time
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()
            self._lock.release()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction. A failure half-way drops everything uncommitted, and
        the writer then refuses to go on, so that a part is never committed for the whole."""
        if self._failed:
            raise InputError("an earlier change failed and was dropped: open a new writer")
        try:
            with store_errors(self._folder):
                if not self._connection.in_transaction:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except BaseException as error:
            self._failed = True
            self._drop_changes()
            if isinstance(error, OSError):
                reason = error.strerror or error
                raise InputError(f"cannot write to {self._folder}: {reason}") from None
            raise

    def _drop_changes(self) -> None:
        if self._segment is not None:
            self._segment.discard()
            self._segment = None
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # closing the connection rolls back as well
                self._connection.execute("ROLLBACK")

    def _remove_unnamed(self) -> None:
        named = {record.number for record in segment_records(self._connection)}
        remove_unnamed(self._folder, named)

    def _stored(self, ids: list[str]) -> dict[str, int]:
        """id -> key of those of `ids` that are there."""
        return dict(in_batches(self._connection, "SELECT id, key FROM passages", "id", ids))

    def _insert(
        self, keys: Sequence[int], passages: Sequence[Passage], rows: Sequence[Row]
    ) -> None:
        self._connection.executemany(
            "INSERT INTO passages (key, id, path, start_line, end_line, metadata, "
            "content_sha256, checksum, title, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((key, *row) for key, row in zip(keys, rows, strict=True)),
        )
        if self._manifest.lexical:
            words = [passage.words for passage in passages]
            lexical.add(self._connection, list(zip(keys, words, strict=True)))

    def _remove(self, keys: list[int]) -> None:
        connection = self._connection
        if self._manifest.lexical:
            select = "SELECT key, id, text, title, path FROM passages"
            rows = in_batches(connection, select, "key", keys)
            lexical.remove(connection, ((key, Passage(*rest).words) for key, *rest in rows))
        one = [(key,) for key in keys]
        if self._manifest.legs:
            connection.executemany(
                "INSERT INTO tombstones SELECT key, content_sha256 FROM passages WHERE key = ?", one
            )
        connection.executemany("DELETE FROM passages WHERE key = ?", one)

    def _checked(self, vectors: Mapping[str, Packed], ids: list[str]) -> dict[str, Packed]:
        """`vectors` as the legs take them. Raises InputError when they are not."""
        legs = {leg.name: leg.encoder for leg in self._manifest.legs}
        if extra := sorted(vectors.keys() - legs.keys()):
            raise InputError(
                f"this index holds no {extra[0]} vectors, and the passages came with some"
            )
        if missing := [name for name in legs if name not in vectors]:
            encoder = legs[missing[0]]
            raise InputError(f"this index needs {missing[0]} vectors of encoder {encoder.name!r}")
        names = [f"passage {id!r}" for id in ids]
        return {name: check_vectors(vectors[name], legs[name], names) for name in legs}

    def _merge_groups(self, everything: bool) -> int:
        """Replace segments, as `compact` says, in the open transaction; how many."""
        connection, legs = self._connection, self._manifest.legs
        records = segment_records(connection)
        live = [record.passages - self._dead(record) for record in records]
        plan = groups([record.passages for record in records], live, everything)
        for group in plan:
            parts = []
            for record in records[group.start : group.stop]:
                segment = open_segment(self._folder, record, legs)
                parts.append((segment, live_mask(connection, segment)))
            number = get_meta(connection, "next_segment")
            merged = merge_segments(self._folder, number, legs, parts)
            for segment, _ in parts:
                self._unregister(segment.record)
            self._register(merged)
        return sum(map(len, plan))

    def _register(self, record: SegmentRecord) -> None:
        *columns, vectors, files = astuple(record)
        row = (*columns, json.dumps(vectors), json.dumps(files))
        row = (*row, row_checksum(*row))
        self._connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        set_meta(self._connection, "next_segment", record.number + 1)

    def _drop_dead_segments(self) -> bool:
        """Unregister segments with no live passage; whether there were any."""
        dropped = False
        for record in segment_records(self._connection):
            if self._dead(record) == record.passages:
                self._unregister(record)
                dropped = True
        return dropped

    def _dead(self, record: SegmentRecord) -> int:
        """How many of a segment's passages are tombstones."""
        select = "SELECT count(*) FROM tombstones WHERE key BETWEEN ? AND ?"
        span = (record.first_key, record.last_key)
        return self._connection.execute(select, span).fetchone()[0]

    def _unregister(self, record: SegmentRecord) -> None:
        """Forget a segment and its tombstones."""
        span = (record.first_key, record.last_key)
        self._connection.execute("DELETE FROM tombstones WHERE key BETWEEN ? AND ?", span)
        self._connection.execute("DELETE FROM segments WHERE number = ?", (record.number,))
