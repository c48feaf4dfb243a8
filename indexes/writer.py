"""Change an index: add, replace and delete passages, commit, compact."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError, NotFoundError
from ..files import make_folder
from ..packed import Packed
from ..types import Passage
from . import lexical
from .compaction import segments_to_merge
from .file_state import FileState
from .lock import WriterLock
from .manifest import Manifest
from .segment_table import (
    dead_count,
    live_mask,
    register_segment,
    segment_records,
    unregister_dead_segments,
    unregister_segment,
)
from .segments import FOLDER as SEGMENTS_FOLDER
from .segments import SegmentWriter, merge_segments, open_segment, remove_unnamed
from .snapshot import in_batches
from .store import connect_writer, get_meta, row_checksum, set_meta, store_errors, vacuum
from .validation import (
    Row,
    check_list,
    check_text,
    check_vectors,
    content_of,
    passage_row,
    row_passage,
)

NO_SOURCES: Mapping[str, str] = MappingProxyType({})


class Writer:
    """Changes an index; made by `IndexFolder.writer`. Changes take effect together, by `commit`.

    Changes go into an open transaction and a new segment, both on the disk, so that memory does not
    grow. Leaving the `with` block drops what was not committed. A call that raises InputError for
    its arguments has changed nothing. A call that fails halfway, for example on a full disk, drops
    all that was not committed, and the writer then refuses to go on.

    Example:
        >>> from tempfile import mkdtemp
        >>> from mbert_retrieval.indexes import IndexFolder
        >>> folder = IndexFolder.create(mkdtemp(), legs=[], lexical=True)
        >>> with folder.writer() as writer:
        ...     writer.add([Passage("a", "first"), Passage("b", "second")], {})
        ...     writer.delete(["b"])
        ...     writer.commit()
        >>> len(folder)
        1
    """

    def __init__(self, folder: Path, manifest: Manifest, committed: Callable[[], None]) -> None:
        """Acquire the lock and remove what a crashed writer left.

        Args:
            folder: The folder of the index.
            manifest: Its manifest.
            committed: Called after each commit and at the end.

        Raises:
            InputError: If another writer is open, or the folder cannot be written.
        """
        self._folder, self._manifest, self._committed = folder, manifest, committed
        self._segment: SegmentWriter | None = None
        self._failed = False
        self._lock = WriterLock(folder)
        connection = None
        try:
            with store_errors(folder):
                self._connection = connection = connect_writer(folder, manifest.index_id)
                named = {record.number for record in segment_records(self._connection)}
            # a copy may lack empty folders
            make_folder(folder / SEGMENTS_FOLDER, exist_ok=True)
            remove_unnamed(folder, named)
        except BaseException:
            if connection is not None:
                connection.close()
            self._lock.release()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(
        self,
        passages: Iterable[Passage],
        vectors: Mapping[str, Packed],
        sources: Mapping[str, str] = NO_SOURCES,
    ) -> None:
        """Add passages. A passage whose id is in the index already is replaced, in every leg.

        Args:
            passages: Passages with different ids.
            vectors: For each leg of the index, the vectors of the passages, in their order: values
                (N, D) floating-point, stored as float32. A dense leg takes one vector per passage.
            sources: By id, the `FileState.path` of what the passage was read from. The others are
                no source's, and stay until they are deleted by id.

        Raises:
            InputError: If passages or vectors are invalid, or two passages have the same id.
        """
        passages = list(passages)
        rows = [passage_row(each, sources.get(getattr(each, "id", ""))) for each in passages]
        ids = [passage.id for passage in passages]
        if len(set(ids)) < len(ids):
            duplicate = next(id for id in ids if ids.count(id) > 1)
            raise InputError(f"two passages have the id {duplicate!r}")
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

    def reuse(
        self, passages: Sequence[Passage], sources: Mapping[str, str] = NO_SOURCES
    ) -> list[Passage]:
        """Add those passages whose content has vectors in the index already, so that it need not
        be encoded: the vectors of the passage that they replace, or of a deleted one.

        Args:
            passages: Passages with different ids.
            sources: See `add`.

        Returns:
            The other passages, which are not added.
        """
        if not self._manifest.legs:
            return list(passages)
        rows = [passage_row(passage, sources.get(passage.id)) for passage in passages]
        with self._changing() as connection:
            select = "SELECT id, key, content_sha256 FROM passages"
            stored = {
                id: (key, content)
                for id, key, content in in_batches(connection, select, "id", [r[0] for r in rows])
            }
            contents = {row[0]: content_of(row) for row in rows}
            self._remove([key for id, (key, content) in stored.items() if contents[id] == content])
            free = self._free_keys(contents.values())
            keys, reused = [], []
            for position, row in enumerate(rows):
                if same := free[content_of(row)]:
                    keys.append(same.pop())
                    reused.append(position)
            self._remove(list(self._stored([rows[n][0] for n in reused]).values()))
            connection.executemany("DELETE FROM tombstones WHERE key = ?", [(k,) for k in keys])
            self._insert(keys, [passages[n] for n in reused], [rows[n] for n in reused])
        added = set(reused)
        return [passage for n, passage in enumerate(passages) if n not in added]

    def _free_keys(self, contents: Iterable[str]) -> dict[str, list[int]]:
        """Return, per SHA-256 of a content, the keys of deleted passages with its vectors."""
        free: dict[str, list[int]] = defaultdict(list)
        wanted = list(dict.fromkeys(contents))
        select = "SELECT content_sha256, key FROM tombstones"
        for content, key in in_batches(self._connection, select, "content_sha256", wanted):
            free[content].append(key)
        return free

    def passages_of(self, path: str) -> list[tuple[Passage, str]]:
        """Return the passages that were read from a file, including uncommitted changes, each with
        the SHA-256 of its content."""
        select = (
            "SELECT content_sha256, id, path, start_line, end_line, metadata, title, text "
            "FROM passages WHERE path = ? AND source = path"
        )
        with store_errors(self._folder):
            rows = self._connection.execute(select, (path,)).fetchall()
            return [(row_passage(*rest), content) for content, *rest in rows]

    def ids_of(self, source: str) -> list[str]:
        """Return the ids of the passages that were read from a file or a collection.

        Args:
            source: Its `FileState.path`.

        Returns:
            Ids, including those of uncommitted changes.
        """
        select = (
            "SELECT id FROM passages WHERE path = ?1 AND source = path UNION ALL "
            "SELECT id FROM passages WHERE path IS NULL AND source = ?1"
        )
        with store_errors(self._folder):
            return [id for (id,) in self._connection.execute(select, (source,))]

    def sources_of(self, ids: Iterable[str]) -> set[str]:
        """Return the `FileState.path` of the files and collections that passages were read from.

        Args:
            ids: Ids of passages; those that were added by themselves have no source.

        Returns:
            Paths.
        """
        select = "SELECT source FROM passages"
        with store_errors(self._folder):
            rows = in_batches(self._connection, select, "id", list(ids))
            return {source for (source,) in rows if source is not None}

    def delete(self, ids: Iterable[str]) -> None:
        """Delete passages, in every leg.

        Args:
            ids: Ids of passages; duplicates are ignored.

        Raises:
            NotFoundError: If there is no passage with one of these ids; nothing is deleted then.
        """
        wanted = list(dict.fromkeys(check_list(ids, "ids")))
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
        """Record the state of a source file whose passages were added."""
        check_text(state.path, "the path of a file")
        with self._changing() as connection:
            row = (*astuple(state)[:-1], int(state.complete))
            checksum = row_checksum(*row)
            connection.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, checksum))

    def forget_file(self, path: str) -> None:
        """Remove the state of a source file."""
        with self._changing() as connection:
            connection.execute("DELETE FROM files WHERE path = ?", (path,))

    def mark_incomplete(self, paths: Container[str] | None = None) -> None:
        """Let the next update read source files again.

        Args:
            paths: Their paths; None for all files.
        """
        with self._changing() as connection:
            select = "SELECT path, size, mtime_ns, sha256, skipped, 0 FROM files WHERE complete"
            states = [FileState.of_row(row) for row in connection.execute(select)]
        for state in states:
            if paths is None or state.path in paths:
                self.set_file_state(state)

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Replace `IndexFolder.settings`."""
        with self._changing() as connection:
            set_meta(connection, "settings", settings)

    def commit(self) -> None:
        """Make all changes since the last commit take effect. They then survive a crash."""
        if not self._connection.in_transaction and not self._failed:
            return
        with self._changing() as connection:
            if self._segment is not None:
                register_segment(connection, self._segment.finish(segment_records(connection)))
            dropped = unregister_dead_segments(connection)
            set_meta(connection, "generation", get_meta(connection, "generation") + 1)
            # a commit that fails may still turn out to be in the log after a crash, so its segment
            # stays: the next writer removes it unless it is live
            self._segment = None
            connection.execute("COMMIT")
        if dropped:
            self._remove_unnamed()
        self._committed()

    def compact(self, everything: bool = False) -> int:
        """Merge segments, without their deleted passages. Commits before and afterwards.

        Args:
            everything: Merge all segments into one, and compact the lexical index and the store as
                well. By default only some are merged: see `compaction.segments_to_merge`.

        Returns:
            The number of segments that were replaced.
        """
        self.commit()
        with self._changing() as connection:
            replaced = self._merge_segments(everything)
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
        """Drop what was not committed, and release the lock."""
        try:
            self._drop_changes()
            self._committed()
            with suppress(sqlite3.Error):  # fails while readers use the log: another time
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()
            self._lock.release()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, in a transaction. A failure drops everything uncommitted, and the
        writer then refuses to go on, so that half of a change is never committed."""
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
        """Return id -> key for those of `ids` that are in the index."""
        return dict(in_batches(self._connection, "SELECT id, key FROM passages", "id", ids))

    def _insert(
        self, keys: Sequence[int], passages: Sequence[Passage], rows: Sequence[Row]
    ) -> None:
        self._connection.executemany(
            "INSERT INTO passages (key, id, path, source, start_line, end_line, metadata, "
            "content_sha256, checksum, title, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        """Return `vectors` as float32, per leg. Raises InputError if they do not fit."""
        legs = {leg.name: leg.encoder for leg in self._manifest.legs}
        if extra := sorted(vectors.keys() - legs.keys()):
            raise InputError(
                f"this index has no {extra[0]} vectors, but the passages came with some"
            )
        if missing := [name for name in legs if name not in vectors]:
            encoder = legs[missing[0]]
            raise InputError(f"this index needs {missing[0]} vectors of encoder {encoder.name!r}")
        names = [f"passage {id!r}" for id in ids]
        return {name: check_vectors(vectors[name], legs[name], names) for name in legs}

    def _merge_segments(self, everything: bool) -> int:
        """Merge segments as `compact` describes, in the open transaction. Return how many."""
        connection, legs = self._connection, self._manifest.legs
        records = segment_records(connection)
        live = [record.passages - dead_count(connection, record) for record in records]
        runs = segments_to_merge([record.passages for record in records], live, everything)
        for run in runs:
            sources = []
            for record in records[run.start : run.stop]:
                segment = open_segment(self._folder, record, legs)
                sources.append((segment, live_mask(connection, segment)))
            number = get_meta(connection, "next_segment")
            merged = merge_segments(self._folder, number, legs, sources)
            for segment, _ in sources:
                unregister_segment(connection, segment.record)
            register_segment(connection, merged)
        return sum(map(len, runs))
