"""`IndexFolder`: an index on disk, as its readers see it. Its files: see module `layout`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, NotFoundError
from ..files import bytes_in, sync_folder
from ..packed import Packed
from ..types import Passage, Ranking
from . import lexical as lexical_index
from .engine import NO_TUNING, Tuning
from .file_state import FileState
from .filtering import Filter, parse_where
from .layout import check_no_links, prepare, remove_unfinished
from .lock import WriterLock
from .manifest import VERSION, Leg, Manifest, new_manifest, read_manifest, write_manifest
from .segments import ENGINE_MODULES
from .segments import FOLDER as SEGMENTS_FOLDER
from .snapshot import Snapshot, in_batches, leg_info, open_snapshot, spread_rows
from .store import create_store, get_meta, newest_generation, store_errors
from .tables import LEXICAL_SCHEMA
from .trust import check_trusted, forget_former, is_trusted, record_made
from .validation import check_k, check_list, check_text, check_vectors, row_passage
from .writer import Writer


class IndexFolder:
    """An index on disk; made by `create` or `open`.

    It sees the commit that was newest when it was opened or refreshed, and what is committed
    through its own `writer`. Searches may run in several threads.

    Args:
        path: The folder.
        manifest: The legs, and whether there is a lexical index.

    Example:
        >>> import numpy as np
        >>> from tempfile import mkdtemp
        >>> from mbert_retrieval import Packed, Passage
        >>> from mbert_retrieval.indexes import EncoderIdentity
        >>> leg = Leg(EncoderIdentity("toy", "00ff", "dense", 2), "flat")
        >>> folder = IndexFolder.create(mkdtemp(), legs=[leg], lexical=True)
        >>> with folder.writer() as writer:
        ...     passages = [Passage("a", "one thing"), Passage("b", "another")]
        ...     writer.add(passages, {"dense": Packed.from_rows(np.eye(2, dtype=np.float32))})
        ...     writer.commit()
        >>> folder.search_vectors(Packed.from_rows(np.array([[0.0, 1.0]])), k=1)
        [[('b', 1.0)]]
    """

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
        """Make an empty index.

        Args:
            path: A folder that does not exist or is empty.
            legs: The vectors to store: at most one late and one dense leg.
            lexical: Whether to index words too, for BM25.
            settings: Any JSON, returned by `settings`.

        Returns:
            The index, open.

        Raises:
            InputError: If the legs are invalid, or the folder is not empty or cannot be written.
        """
        path = Path(path)
        manifest = new_manifest(legs, lexical)
        for leg in legs:
            ENGINE_MODULES[leg.engine].check(leg)
        prepare(path)
        lock = WriterLock(path)
        try:
            remove_unfinished(path)
            (path / SEGMENTS_FOLDER).mkdir(exist_ok=True)
            with store_errors(path):
                schema = LEXICAL_SCHEMA if lexical else ""
                create_store(path, manifest.index_id, settings or {}, schema)
            record_made(path, manifest.index_id)
            write_manifest(path, manifest)
            forget_former(path, manifest.index_id)
            sync_folder(path.absolute().parent)
        finally:
            lock.release()
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> IndexFolder:
        """Open an index.

        Args:
            path: The folder of the index.

        Returns:
            The index at its newest commit.

        Raises:
            InputError: If there is none, it is damaged, or it has another format version.
        """
        path = Path(path)
        check_no_links(path)
        return cls(path, read_manifest(path))

    @property
    def is_trusted(self) -> bool:
        """Whether this user made the index on this machine, or trusts it (module `trust`)."""
        return is_trusted(self.path, self.manifest.index_id)

    def check_trusted(self, refused: str) -> None:
        """Raise UntrustedError unless the index is trusted. refused: what is then not done, such as
        "it is not changed"."""
        check_trusted(self.path, self.manifest.index_id, refused)

    def refresh(self) -> None:
        """See the newest commit from now on."""
        self._snapshot = open_snapshot(self.path, self.manifest)

    def is_newest(self) -> bool:
        """Return whether there is no commit after the one seen here. Raises InputError if the index
        is gone or cannot be read."""
        check_no_links(self.path)
        manifest, snapshot = read_manifest(self.path), self._current
        with store_errors(self.path):
            generation = newest_generation(self.path, manifest.index_id)
        return (manifest, generation) == (self.manifest, snapshot.generation)

    def pinned(self) -> IndexFolder:
        """Return an `IndexFolder` that goes on seeing the commit that this one sees now."""
        pinned = copy(self)
        pinned._snapshot = self._current
        return pinned

    def close(self) -> None:
        """Close the files. A later use opens the newest commit."""
        self._snapshot = None

    def writer(self) -> Writer:
        """Start writing.

        Returns:
            The writer, for a `with` block.

        Raises:
            InputError: If another process or thread is writing; the message names the process.
        """
        check_no_links(self.path)
        return Writer(self.path, self.manifest, committed=self.close)

    @property
    def legs(self) -> dict[str, Leg]:
        """The legs by name, "late" or "dense"."""
        return {leg.name: leg for leg in self.manifest.legs}

    @property
    def lexical(self) -> bool:
        """Whether words are indexed, for BM25."""
        return self.manifest.lexical

    @property
    def settings(self) -> dict[str, Any]:
        """The JSON given to `create` or `Writer.set_settings`."""
        snapshot = self._current
        with store_errors(self.path):
            settings: dict[str, Any] = get_meta(snapshot.connection, "settings")
        return settings

    @property
    def generation(self) -> int:
        """The number of the commit that is seen here, counted from 0."""
        return self._current.generation

    def __len__(self) -> int:
        """Return the number of passages."""
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
        """Search the vectors of a leg.

        Args:
            queries: Values (N, D) floating-point; each query has at least one vector.
            k: Results per query, at least 1.
            where: A filter (see module `filtering`); other passages are not scored.
            leg: "late" or "dense"; optional if there is only one.
            tuning: "nprobe" and "candidates", for more quality or more speed: see `engine.Tuning`.

        Returns:
            For each query the k best (id, score), best first, equal scores by id; fewer only if
            fewer passages satisfy `where`. The score is MaxSim (Khattab and Zaharia 2020), which
            for dense vectors is the inner product.

        Raises:
            TypeError: If an argument has the wrong type.
            InputError: If an argument is invalid, or the index has no such vectors.
        """
        searched, k, parsed_tuning = self._leg(leg), check_k(k), Tuning.parse(tuning)
        if not isinstance(queries, Packed):
            raise TypeError(f"queries must be a Packed, not {type(queries).__name__}")
        names = [f"query {n + 1}" for n in range(len(queries))]
        queries = check_vectors(queries, searched.encoder, names)
        snapshot = self._current
        with store_errors(self.path):
            parsed = self._filter(snapshot, where)
            return snapshot.search(searched.name, queries, k, parsed, parsed_tuning)

    def search_lexical(
        self, texts: Sequence[str], k: int, where: str | Filter | None = None
    ) -> list[Ranking]:
        """Search words with BM25 (Robertson and Zaragoza 2009).

        Args:
            texts: Queries.
            k: Results per query, at least 1.
            where: A filter (see module `filtering`).

        Returns:
            For each query the k best (id, score) of the passages with any of its words, best first,
            equal scores by id.

        Raises:
            InputError: If an argument is invalid, or the index has no lexical part.
        """
        if not self.lexical:
            raise InputError(f"{self.path} was built without a lexical part")
        k = check_k(k)
        snapshot = self._current
        for text in check_list(texts, "texts"):
            check_text(text, "the query")
        with store_errors(self.path):
            parsed = self._filter(snapshot, where)
            return [lexical_index.search(snapshot.connection, text, k, parsed) for text in texts]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """Return the passages with these ids.

        Args:
            ids: Ids of passages.

        Returns:
            One passage per id, in that order.

        Raises:
            NotFoundError: If there is no passage with one of them.
        """
        for id in check_list(ids, "ids"):
            check_text(id, "the id")
        select = "SELECT id, path, start_line, end_line, metadata, title, text FROM passages"
        snapshot = self._current
        with store_errors(self.path):
            rows = in_batches(snapshot.connection, select, "id", list(dict.fromkeys(ids)))
            passages = {row[0]: row_passage(*row) for row in rows}
        unknown = next((id for id in ids if id not in passages), None)
        if unknown is not None:
            raise NotFoundError(f"no passage has the id {unknown!r}")
        return [passages[id] for id in ids]

    def passages_at(self, path: str) -> list[Passage]:
        """Return the passages of a source file, in the order of its lines."""
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
        """Return the most frequent strings under a key of the metadata.

        Args:
            key: A key of the metadata.
            most: How many strings to return at most.

        Returns:
            String -> number of passages, most frequent first.
        """
        snapshot = self._current
        with store_errors(self.path):
            rows = snapshot.connection.execute(
                "SELECT json_extract(metadata, ?1) AS value, count(*) AS passages FROM passages "
                "WHERE json_type(metadata, ?1) = 'text' "
                "GROUP BY value ORDER BY passages DESC, value LIMIT ?2",
                (f'$."{key}"', most),
            )
            return dict(rows.fetchall())

    def sample(self, count: int) -> list[Passage]:
        """Return passages from all over the index, the same ones each time.

        Args:
            count: How many to return at most.

        Returns:
            Passages in the order in which they were added. The time does not depend on `len`.
        """
        snapshot = self._current
        with store_errors(self.path):
            return [row_passage(*row) for row in spread_rows(snapshot.connection, count)]

    def spelling(self, text: str, most: int = 3) -> dict[str, list[str]]:
        """Return the words of a query that no passage has, and words that are spelled like them.

        Args:
            text: A query.
            most: How many words to return for each at most.

        Returns:
            Word of the query -> words of the index, most similar first.
        """
        from .spelling import corrections

        check_text(text, "the query")
        if not self.lexical:
            return {}
        snapshot = self._current
        with store_errors(self.path):
            return corrections(snapshot.connection, text, most)

    def vectors(self, id: str, leg: str | None = None) -> np.ndarray:
        """Return the vectors of a passage.

        Args:
            id: The id of the passage.
            leg: "late" or "dense"; optional if there is only one.

        Returns:
            (n, D) float32, decompressed if necessary.

        Raises:
            NotFoundError: If there is no such passage.
        """
        check_text(id, "the id")
        snapshot, name = self._current, self._leg(leg).name
        with store_errors(self.path):
            vectors = snapshot.vectors(id, name)
        if vectors is None:
            raise NotFoundError(f"no passage has the id {id!r}")
        return vectors

    def content_hashes(self) -> dict[str, str]:
        """Return id -> SHA-256, in hexadecimal, of the passage's `content` in UTF-8."""
        snapshot = self._current
        with store_errors(self.path):
            select = "SELECT id, content_sha256 FROM passages ORDER BY key"
            return dict(snapshot.connection.execute(select).fetchall())

    def file_states(self) -> dict[str, FileState]:
        """Return path -> what `Writer.set_file_state` recorded."""
        snapshot = self._current
        with store_errors(self.path):
            rows = snapshot.connection.execute(
                "SELECT path, size, mtime_ns, sha256, skipped, complete FROM files"
            )
            return {row[0]: FileState.of_row(row) for row in rows}

    def info(self) -> dict[str, Any]:
        """Return JSON that describes the index, its legs and its size on disk in bytes."""
        snapshot = self._current
        return {
            "path": str(self.path),
            "format_version": VERSION,
            "created": self.manifest.created,
            "created_by": self.manifest.created_by,
            "lexical": self.lexical,
            "legs": {leg.name: leg_info(snapshot, leg, self.path) for leg in self.manifest.legs},
            "passages": len(self),
            "files": len(self.file_states()),
            "segments": len(snapshot.segments),
            "tombstones": sum(int((~live).sum()) for live in snapshot.live),
            "commits": snapshot.generation,
            "bytes": bytes_in(self.path),
            "settings": self.settings,
        }

    def export(self, folder: str | Path, replace: bool = False) -> list[Path]:
        """Write passages and vectors as Parquet files into `folder`; see `export.export`."""
        from .export import export

        snapshot = self._current
        with store_errors(self.path):
            return export(snapshot, self.manifest.legs, Path(folder), replace)

    def verify(self) -> list[str]:
        """Read every byte and follow every reference of the newest commit.

        Returns:
            One line per problem; none if the index is intact.
        """
        from .verify import verify

        while problems := verify(self.path, self.manifest, self._current):
            checked = self._current.generation
            self.refresh()
            if self._current.generation == checked:  # else a writer removed old files meanwhile
                break
        return problems

    def _leg(self, name: str | None) -> Leg:
        legs = self.legs
        if not legs:
            raise InputError(f"{self.path} has no vectors: it can only be searched lexically")
        if name is None and len(legs) > 1:
            raise InputError(f"{self.path} has {' and '.join(legs)} vectors: say which to search")
        if name is not None and name not in legs:
            raise InputError(f"{self.path} has no {name} vectors, but {', '.join(legs)}")
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
