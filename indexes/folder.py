"""`IndexFolder`: an index on disk, as its readers see it.

my.index/
  manifest.json      what the index is; written once, last            (module `manifest`)
  store.sqlite       passages, BM25, live segments, tombstones        (module `store`)
  segments/NNNNNN/   vectors, immutable                               (module `segments`)
  writer.lock        who is writing                                   (module `lock`)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, NotFoundError
from ..packed import Packed
from ..types import Passage, Ranking
from . import lexical
from .confined import check_own_files
from .durable import bytes_in, sync_folder
from .engine import NO_TUNING
from .export import export
from .filtering import Filter, parse_where
from .lock import FILE as LOCK_FILE
from .lock import WriterLock
from .manifest import FILE as MANIFEST_FILE
from .manifest import (
    VERSION,
    Leg,
    Manifest,
    new_manifest,
    read_manifest,
    write_manifest,
)
from .ranking import best
from .segments import FOLDER as SEGMENTS_FOLDER
from .segments import KINDS
from .snapshot import Snapshot, in_batches, open_snapshot
from .store import FILE as STORE_FILE
from .store import create_store, get_meta, newest_generation, store_errors
from .validation import check_k, check_text, check_vectors, row_passage
from .verify import verify
from .writer import FileState, Writer


class IndexFolder:
    """Made by `create` or `open`. Sees the commit that was newest when it was opened or refreshed,
    and what is committed through its own `writer`. Searches may run in several threads."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._snapshot: Snapshot | None = open_snapshot(path, manifest)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        legs: Sequence[Leg],
        lexical: bool,
        settings: dict[str, Any] | None = None,
    ) -> IndexFolder:
        """Make an empty index in a folder that is not there or is empty.

        legs: its vectors, a late and a dense one at most; lexical: with BM25; settings: JSON,
        given back by `settings`. Raises InputError when these do not fit together.
        """
        path = Path(path)
        manifest = new_manifest(legs, lexical)
        for leg in legs:
            KINDS[leg.kind].check(leg)
        _prepare(path)
        lock = WriterLock(path)
        try:
            _remove_unfinished(path)
            (path / SEGMENTS_FOLDER).mkdir()
            with store_errors(path):
                create_store(path, manifest.index_id, settings or {}, _lexical_schema(lexical))
            write_manifest(path, manifest)
            sync_folder(path.absolute().parent)
        finally:
            lock.release()
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> IndexFolder:
        """Raises InputError when there is no index, or it is damaged, or of another
        format."""
        path = Path(path)
        _check_no_links(path)
        return cls(path, read_manifest(path))

    def refresh(self) -> None:
        """See the newest commit from now on."""
        self._snapshot = open_snapshot(self.path, self.manifest)

    def is_newest(self) -> bool:
        """Whether no commit came after the one that is seen here. Raises InputError when the index
        is gone or cannot be read."""
        _check_no_links(self.path)
        manifest, snapshot = read_manifest(self.path), self._current
        with store_errors(self.path):
            generation = newest_generation(self.path, manifest.index_id)
        return (manifest, generation) == (self.manifest, snapshot.generation)

    def pinned(self) -> IndexFolder:
        """The commit that is seen now, whatever this object sees later."""
        pinned = copy(self)
        pinned._snapshot = self._current
        return pinned

    def close(self) -> None:
        """Let the files go. A later use opens the newest commit."""
        self._snapshot = None

    def writer(self) -> Writer:
        """The one writer, for a `with` block. Raises InputError, naming the holder, when there is
        another."""
        _check_no_links(self.path)
        return Writer(self.path, self.manifest, committed=self.close)

    @property
    def legs(self) -> dict[str, Leg]:
        """Its vectors by the name of the leg, "late" or "dense"."""
        return {leg.name: leg for leg in self.manifest.legs}

    @property
    def lexical(self) -> bool:
        return self.manifest.lexical

    @property
    def settings(self) -> dict[str, Any]:
        snapshot = self._current
        with store_errors(self.path):
            return get_meta(snapshot.connection, "settings")

    @property
    def generation(self) -> int:
        """The number of the commit that is seen."""
        return self._current.generation

    def __len__(self) -> int:
        """The number of passages."""
        snapshot = self._current
        with store_errors(self.path):
            return snapshot.count()

    def search_vectors(
        self,
        queries: Packed,
        k: int,
        where: str | Filter | None = None,
        leg: str | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
    ) -> list[Ranking]:
        """For each query the k best (id, score), best first, equal scores by id; fewer than k only
        when there are fewer passages.

        queries: values (N, D) floating-point. Score: MaxSim; for dense vectors the inner product.
        where: a filter (module `filtering`); other passages are not scored.
        leg: whose vectors; may be left out when there is one.
        tuning: "nprobe" and "candidates", see `engine.Engine.search`.
        """
        searched = self._leg(leg)
        k = check_k(k)
        names = [f"query {n + 1}" for n in range(len(queries))]
        queries = check_vectors(queries, searched.encoder, names)
        snapshot = self._current
        with store_errors(self.path):
            parsed = self._filter(snapshot, where)
            masks = snapshot.live if parsed is None else snapshot.allowed(parsed)
            hits: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(len(queries))]
            for segment, mask in zip(snapshot.segments, masks, strict=True):
                found = segment.engines[searched.name].search(queries, mask, k, tuning)
                for parts, (places, scores) in zip(hits, found, strict=True):
                    parts.append((segment.keys[places], scores))
            return [_merged(snapshot, parts, k) for parts in hits]

    def search_lexical(
        self, texts: Sequence[str], k: int, where: str | Filter | None = None
    ) -> list[Ranking]:
        """For each text the k best (id, BM25 score) of the passages that hold any of its words."""
        if not self.lexical:
            raise InputError(f"{self.path} was built without a lexical part")
        k = check_k(k)
        snapshot = self._current
        for text in texts:
            check_text(text, "the query")
        with store_errors(self.path):
            parsed = self._filter(snapshot, where)
            return [lexical.search(snapshot.connection, text, k, parsed) for text in texts]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of `ids`, in that order. Raises NotFoundError when one is not."""
        for id in ids:
            check_text(id, "the id")
        select = "SELECT id, path, start_line, end_line, metadata, title, text FROM passages"
        snapshot = self._current
        with store_errors(self.path):
            rows = in_batches(snapshot.connection, select, "id", list(dict.fromkeys(ids)))
            found = {row[0]: row_passage(*row) for row in rows}
        unknown = next((id for id in ids if id not in found), None)
        if unknown is not None:
            raise NotFoundError(f"no passage has the id {unknown!r}")
        return [found[id] for id in ids]

    def passages_at(self, path: str) -> list[Passage]:
        """The passages of a file, in the order in which they stand there."""
        check_text(path, "the path")
        snapshot = self._current
        with store_errors(self.path):
            rows = snapshot.connection.execute(
                "SELECT id, path, start_line, end_line, metadata, title, text FROM passages "
                "WHERE path = ? ORDER BY start_line, end_line, key",
                (path,),
            )
            return [row_passage(*row) for row in rows]

    def values_of(self, key: str, most: int) -> dict[str, int]:
        """The most frequent strings that the metadata has under a key, and how many passages have
        each."""
        snapshot = self._current
        with store_errors(self.path):
            rows = snapshot.connection.execute(
                "SELECT json_extract(metadata, ?1) AS value, count(*) AS passages FROM passages "
                "WHERE json_type(metadata, ?1) = 'text' "
                "GROUP BY value ORDER BY passages DESC, value LIMIT ?2",
                (f'$."{key}"', most),
            )
            return dict(rows.fetchall())

    def vectors(self, id: str, leg: str | None = None) -> np.ndarray:
        """(n, D) float32: the vectors of a passage; of a lossy kind, as it remembers them.

        leg: which; may be left out when there is one. Raises NotFoundError."""
        check_text(id, "the id")
        snapshot, name = self._current, self._leg(leg).name
        with store_errors(self.path):
            found = snapshot.vectors(id, name)
        if found is None:
            raise NotFoundError(f"no passage has the id {id!r}")
        return found

    def content_hashes(self) -> dict[str, str]:
        """id -> sha256 hex of the passage's `content` in UTF-8."""
        snapshot = self._current
        with store_errors(self.path):
            select = "SELECT id, content_sha256 FROM passages ORDER BY key"
            return dict(snapshot.connection.execute(select))

    def file_states(self) -> dict[str, FileState]:
        """path -> what `Writer.set_file_state` was given."""
        snapshot = self._current
        with store_errors(self.path):
            rows = snapshot.connection.execute(
                "SELECT path, size, mtime_ns, sha256, skipped FROM files"
            )
            return {row[0]: FileState(*row) for row in rows}

    def info(self) -> dict[str, Any]:
        """JSON: what the index is and holds. bytes_per_vector: of the leg's files."""
        snapshot = self._current
        return {
            "path": str(self.path),
            "format_version": VERSION,
            "created": self.manifest.created,
            "created_by": self.manifest.created_by,
            "lexical": self.lexical,
            "legs": {leg.name: self._leg_info(snapshot, leg) for leg in self.manifest.legs},
            "passages": len(self),
            "files": len(self.file_states()),
            "segments": len(snapshot.segments),
            "tombstones": sum(int((~live).sum()) for live in snapshot.live),
            "commits": snapshot.generation,
            "bytes": bytes_in(self.path),
            "settings": self.settings,
        }

    def _leg_info(self, snapshot: Snapshot, leg: Leg) -> dict[str, Any]:
        vectors = sum(segment.record.vectors[leg.name] for segment in snapshot.segments)
        size = sum(
            bytes_in(self.path / segment.record.folder / leg.name) for segment in snapshot.segments
        )
        return {
            **asdict(leg),
            "vectors": vectors,
            "bytes_per_vector": round(size / vectors, 1) if vectors else None,
            "engines": [segment.engines[leg.name].facts() for segment in snapshot.segments],
        }

    def export(self, folder: str | Path, replace: bool = False) -> list[Path]:
        """Passages and vectors as parquet files; see `export.export`."""
        snapshot = self._current
        with store_errors(self.path):
            return export(snapshot, self.manifest.legs, Path(folder), replace)

    def verify(self) -> list[str]:
        """Problems found by reading every byte and following every reference; empty when whole.

        A problem counts when it is of the newest commit: a writer removes files of older ones.
        """
        while problems := verify(self.path, self.manifest, self._current):
            checked = self._current.generation
            self.refresh()
            if self._current.generation == checked:
                break
        return problems

    def _leg(self, name: str | None) -> Leg:
        legs = self.legs
        if not legs:
            raise InputError(f"{self.path} holds no vectors: it can only be searched lexically")
        if name is None and len(legs) > 1:
            raise InputError(f"{self.path} holds {' and '.join(legs)} vectors: say which to search")
        if name is not None and name not in legs:
            raise InputError(f"{self.path} holds no {name} vectors, but {', '.join(legs)}")
        return legs[name] if name is not None else next(iter(legs.values()))

    @property
    def _current(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            snapshot = self._snapshot = open_snapshot(self.path, self.manifest)
        return snapshot

    @staticmethod
    def _filter(snapshot: Snapshot, where: str | Filter | None) -> Filter | None:
        if where is None:
            return None
        parsed = where if isinstance(where, Filter) else parse_where(where)
        snapshot.check_filter(parsed)
        return parsed


def _merged(
    snapshot: Snapshot, parts: list[tuple[np.ndarray, np.ndarray]], k: int
) -> list[tuple[str, float]]:
    """One ranking out of the (keys, scores) of each segment."""
    if not parts:
        return []
    keys = np.concatenate([keys for keys, _ in parts])
    scores = np.concatenate([scores for _, scores in parts])
    top = best(scores, k)
    ranking = zip(snapshot.ids(keys[top]), scores[top].tolist(), strict=True)
    return sorted(ranking, key=lambda hit: (-hit[1], hit[0]))[:k]


def _lexical_schema(wanted: bool) -> str:
    return lexical.SCHEMA if wanted else ""


def _prepare(path: Path) -> None:
    """Make the folder. Raises InputError when something else than a cut-off `create` is in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {file.name for file in path.iterdir()}
    except OSError as error:
        raise InputError(f"cannot make the index {path}: {error.strerror}") from None
    _check_no_links(path)
    if MANIFEST_FILE in names:
        raise InputError(f"{path} is an index already: add to it, or remove it first")
    if foreign := names - _unfinished_names():
        raise InputError(f"{path} is not empty (it holds {min(foreign)!r}): name another folder")


def _check_no_links(path: Path) -> None:
    """Raises InputError where what the index reads, writes or removes is a link out of it."""
    files = {MANIFEST_FILE, *_unfinished_names()} - {SEGMENTS_FOLDER}
    check_own_files(path, files, [SEGMENTS_FOLDER])


def _unfinished_names() -> set[str]:
    stores = {STORE_FILE + suffix for suffix in ("", "-wal", "-shm", "-journal")}
    return stores | {SEGMENTS_FOLDER, LOCK_FILE, MANIFEST_FILE + ".new"}


def _remove_unfinished(path: Path) -> None:
    for name in _unfinished_names() - {LOCK_FILE}:
        file = path / name
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
