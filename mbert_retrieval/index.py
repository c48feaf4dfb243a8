"""`Index`: an index folder together with its encoders. Texts in, hits out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import InputError
from .indexes.engine import NO_TUNING
from .indexes.filtering import Filter
from .indexes.folder import IndexFolder
from .indexes.manifest import FILE as MANIFEST_FILE
from .indexes.manifest import Leg
from .indexes.validation import check_text
from .protocols import DocumentEncoder
from .search.encoders import Encoders, Engines, IndexEncoders, as_list, join_names, make_legs
from .search.options import SearchOptions, check_query, check_texts
from .search.result import SearchResult
from .search.run import legs_of, search
from .sync.passages import Changes, Progress, write_passages
from .types import Mode, Passage


class Index:
    """An index on disk and the encoders that made it. `build`, `create` or `open` makes one.

    Searches may run in several threads; one process at a time can write. Everything is committed
    together: an interruption at any time leaves the index as it was at the last commit.

    Args:
        folder: The storage (`indexes.IndexFolder`), for tools that need no encoder.
        encoders: The encoders by leg (`search.encoders.IndexEncoders`).

    Example:
        >>> import tempfile
        >>> from mbert_retrieval import Index, Passage, load_encoder
        >>> path = tempfile.mkdtemp() + "/my.index"
        >>> passages = [
        ...     Passage(id="1", text="def parse_date(text): return date.fromisoformat(text)"),
        ...     Passage(id="2", text="def retry(call): ..."),
        ... ]
        >>> index = Index.build(path, passages, load_encoder("nano"))
        >>> for hit in index.search("where are dates parsed", k=1):
        ...     print(hit.rank, hit.passage.id)
        1 1
    """

    def __init__(self, folder: IndexFolder, encoders: IndexEncoders | None = None) -> None:
        if not isinstance(folder, IndexFolder):
            raise TypeError("Index takes an IndexFolder: Index.open(path) opens an index")
        self.folder = folder
        self.encoders = encoders or IndexEncoders(folder)

    @classmethod
    def build(
        cls,
        path: str | Path,
        passages: Iterable[Passage],
        encoder: Encoders,
        *,
        engine: Engines = None,
        engine_settings: Mapping[str, Any] | None = None,
        lexical: bool = True,
        progress: Progress | None = None,
    ) -> Index:
        """Make the index at `path` hold exactly `passages`.

        An index that exists, made by the same encoders, is brought up to date: only new and
        changed passages are encoded, so an interrupted build continues where it stopped.

        Args:
            path: Folder of the index.
            passages: Any number of passages; they are read as they are encoded.
            encoder: See `create`.
            engine: See `create`.
            engine_settings: See `create`.
            lexical: See `create`.
            progress: Called with the number of passages done.

        Returns:
            The index.

        Raises:
            InputError: As `create` and `sync`.
        """
        passages = iter(passages)
        head = list(islice(passages, 1))  # a source that fails at once leaves no folder behind
        index = cls.create(
            path, encoder, engine=engine, engine_settings=engine_settings, lexical=lexical
        )
        index.sync(chain(head, passages), progress)
        return index

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoders,
        *,
        engine: Engines = None,
        engine_settings: Mapping[str, Any] | None = None,
        lexical: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> Index:
        """Open the index at `path` if it was made like this, else create an empty one.

        Args:
            path: Folder of the index.
            encoder: One encoder, or a late-interaction and a dense one; None for BM25 alone.
            engine: The engine, "plaid", "faiss" or "flat", for all vectors or by leg
                (`{"late": "plaid"}`). Default: plaid for late interaction, faiss for dense.
            engine_settings: "nbits" and "centroids" of plaid, "factory" of faiss. Default: chosen
                by the size of the collection.
            lexical: With BM25.
            settings: JSON stored with a new index.

        Returns:
            The index.

        Raises:
            InputError: There is an index of other encoders, engines or settings, or the arguments
                do not fit together.
            TypeError: `encoder` is no encoder.
        """
        if not (settings is None or isinstance(settings, dict)):
            raise TypeError(f"settings must be a dictionary, not {type(settings).__name__}")
        encoders = as_list(encoder)
        legs = make_legs(encoders, engine, engine_settings or {})
        if not is_index(path):
            folder = IndexFolder.create(path, legs=legs, lexical=lexical, settings=settings or {})
            return cls(folder, IndexEncoders(folder, encoders))
        index = cls.open(path, encoders)
        check_same_legs(index.folder, legs, lexical, compare_settings=engine_settings is not None)
        return index

    @classmethod
    def open(cls, path: str | Path, encoder: Encoders = None) -> Index:
        """Open an index that exists.

        Args:
            path: Folder of the index.
            encoder: Its encoders; without them the recorded ones are loaded when first needed.

        Returns:
            The index, as it was at its newest commit.

        Raises:
            InputError: There is no index at `path`, it is damaged, or other encoders made it.
        """
        folder = IndexFolder.open(path)
        return cls(folder, IndexEncoders(folder, as_list(encoder)))

    def reopen(self) -> Index:
        """Open the newest commit with the encoders that are loaded here; this object is unchanged.

        Raises InputError as `open`.
        """
        folder = IndexFolder.open(self.path)
        return Index(folder, self.encoders.for_folder(folder))

    @property
    def path(self) -> Path:
        """Folder of the index."""
        return self.folder.path

    @property
    def legs(self) -> list[str]:
        """What it can be searched by: "late", "dense" and "lexical", or some of them."""
        return legs_of(self.folder)

    @property
    def encoder(self) -> DocumentEncoder:
        """The encoder; the late-interaction one of two.

        Raises InputError where the index has no vectors, or the encoder has changed or is gone.
        """
        legs = self.folder.legs
        if not legs:
            raise InputError(f"the index {self.path} has no vectors, so no encoder")
        return self.encoders.document_encoder("late" if "late" in legs else "dense")

    def sync(self, passages: Iterable[Passage], progress: Progress | None = None) -> Changes:
        """Make the index hold exactly `passages`: add, replace what differs, delete the rest.

        Progress is committed every 20 seconds; deletions come last, together. After an
        interruption, also of the process, the same call continues.

        Args:
            passages: Any number of passages; they are read as they are encoded.
            progress: Called with the number of passages done.

        Returns:
            How many passages were added, updated, unchanged, deleted.

        Raises:
            InputError: An id comes twice, or a passage is not valid; nothing is deleted then, and
                what was committed stays.
            LockedError: Another process is changing the index.
            TypeError: Something else than a Passage.
        """
        return write_passages(self.folder, self.encoders, passages, progress, delete_others=True)

    def add(self, passages: Iterable[Passage], progress: Progress | None = None) -> Changes:
        """Add passages and replace those that exist and differ; delete none.

        Args:
            passages: Any number of passages.
            progress: Called with the number of passages done.

        Returns:
            How many passages were added, updated, unchanged.

        Raises:
            InputError: As `sync`.
            TypeError: Something else than a Passage.
        """
        return write_passages(self.folder, self.encoders, passages, progress, delete_others=False)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Delete passages: all of them, or none where one does not exist.

        A passage that was read from a source file comes back when the file changes, or by the next
        `mbert-index update`, `add` or `build` that covers it.

        Args:
            ids: An id, or several.

        Returns:
            The number of passages deleted.

        Raises:
            InputError: An id is not valid Unicode.
            NotFoundError: The index has no passage with such an id.
        """
        if not isinstance(ids, Iterable):
            raise TypeError(f"ids must be an id or a list of them, not {type(ids).__name__}")
        unique = list(dict.fromkeys([ids] if isinstance(ids, str) else ids))
        for id in unique:
            check_text(id, "the id to delete")
        with self.folder.writer() as writer:
            sources = writer.sources_of(unique)
            writer.delete(unique)
            writer.mark_incomplete(sources)
            writer.compact()  # commits first
        return len(unique)

    def compact(self) -> int:
        """Write all segments anew as one, without deleted passages. Searches go on meanwhile.

        Returns:
            The number of segments replaced.
        """
        with self.folder.writer() as writer:
            return writer.compact(everything=True)

    def search(
        self,
        text: str,
        k: int = 10,
        mode: Mode = "hybrid",
        where: str | Filter | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
        group: bool = False,
    ) -> SearchResult:
        """Search for one text.

        Args:
            text: The query, in words or code.
            k: Number of hits.
            mode: "hybrid" (all legs, fused), "vector" (late and dense), or one leg: "late",
                "dense", "lexical" (BM25; no encoder is loaded).
            where: A filter such as "language = 'python'", or what `indexes.filtering.narrowed`
                returns.
            tuning: "nprobe" (lists visited per query vector) and "candidates" (passages scored in
                full): more is slower and finds more.
            group: Each document (file, or record that was cut) once, by its best passage.

        Returns:
            A sequence of `Hit`, best first, that can explain itself.

        Raises:
            InputError: The text is empty, or the index cannot answer in this mode.
            TypeError: An argument is of the wrong type.
        """
        check_query(text)
        return self.search_many([text], k, mode, where, tuning, group)[0]

    def search_many(
        self,
        texts: Iterable[str],
        k: int = 10,
        mode: Mode = "hybrid",
        where: str | Filter | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
        group: bool = False,
    ) -> list[SearchResult]:
        """Search for several texts at once, which is faster than one after another.

        Passages are read only when a result's hits are looked at; `SearchResult.ranking` has ids
        and scores.

        Args:
            texts: The queries.
            k: See `search`.
            mode: See `search`.
            where: See `search`.
            tuning: See `search`.
            group: See `search`.

        Returns:
            One result per text, in order.

        Raises:
            InputError: The index cannot answer in this mode.
            TypeError: `texts` is one string, or an argument is of the wrong type.
        """
        options = SearchOptions(k, mode, where, tuning, group)
        return search(self.folder, self.encoders, check_texts(texts), options)

    def get(self, id: str) -> Passage:
        """Return a stored passage.

        Args:
            id: Id of the passage.

        Returns:
            The passage.

        Raises:
            NotFoundError: The index has no passage with this id.
        """
        return self.folder.passages([id])[0]

    def close(self) -> None:
        """Release the files. A later use opens the newest commit."""
        self.folder.close()

    def __len__(self) -> int:
        """Number of passages."""
        return len(self.folder)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        legs = [
            f"{name} by {leg.encoder.name} ({leg.engine})" for name, leg in self.folder.legs.items()
        ]
        if self.folder.lexical:
            legs.append("BM25")
        return f"<Index {str(self.path)!r}: {len(self):,} passages, {', '.join(legs)}>"


def is_index(path: str | Path) -> bool:
    """Return whether there is an index at `path`, perhaps a damaged one."""
    return (Path(path) / MANIFEST_FILE).exists()


def check_same_legs(
    folder: IndexFolder, legs: Sequence[Leg], lexical: bool, compare_settings: bool = True
) -> None:
    """Raise InputError unless the index has legs of these encoders and engines, and BM25 or not.

    compare_settings: the engines' settings must be the same as well.
    """
    difference = ""
    stored, wanted = folder.legs, {leg.name: leg for leg in legs}
    changed = [leg for name, leg in wanted.items() if name in stored]
    if stored.keys() != wanted.keys():
        made_by = [f"{leg.encoder.name} ({leg.name})" for leg in stored.values()]
        given = [f"{leg.encoder.name} ({leg.name})" for leg in legs]
        difference = f"with {join_names(made_by)}, not with {join_names(given)}"
    elif other := [leg for leg in changed if stored[leg.name].engine != leg.engine]:
        difference = f"as kind {stored[other[0].name].engine}, not {other[0].engine}"
    elif compare_settings and (
        other := [leg for leg in changed if stored[leg.name].settings != leg.settings]
    ):
        made, given_settings = stored[other[0].name].settings, other[0].settings
        difference = f"with {_settings_text(made)}, not with {_settings_text(given_settings)}"
    elif folder.lexical != lexical:
        difference = f"{'with' if folder.lexical else 'without'} a lexical part"
    if difference:
        raise InputError(
            f"the index {folder.path} was made {difference}: name another folder, "
            "or remove this one first"
        )


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "automatic settings"
