"""`Index`: an index folder together with its encoder. Texts in, hits out."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import InputError
from .indexes.folder import IndexFolder
from .indexes.fusion import fuse
from .indexes.manifest import FILE as MANIFEST_FILE
from .indexes.manifest import EncoderIdentity
from .records import Hit, Passage

if TYPE_CHECKING:
    from .packed import Packed

MODES = ("hybrid", "vector", "lexical")
LEG_DEPTH = 100  # the least number of passages that each leg gives to fusion
COMMIT_SECONDS = 20.0  # what an interruption may lose
BATCH = 1024  # passages compared with what is stored at once

Ranking = list[tuple[str, float]]
Progress = Callable[[int], None]


class AnyEncoder(Protocol):
    """What an index needs of an encoder; `load_encoder` gives one. See `encoders.Encoder`."""

    name: str

    @property
    def kind(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_queries(self, texts: list[str]) -> Packed: ...
    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]: ...


@dataclass
class Changes:
    """How many passages a change to an index concerned."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


class Index:
    """Made by `build`, `create` or `open`.

    folder: the arrays and passages on disk, as they were when it was opened or last changed here.
    """

    def __init__(self, folder: IndexFolder, encoder: AnyEncoder | None = None) -> None:
        self.folder = folder
        self._encoder = encoder

    @classmethod
    def build(
        cls,
        path: str | Path,
        passages: Iterable[Passage],
        encoder: AnyEncoder | None,
        *,
        kind: str | None = "flat",
        lexical: bool = True,
        progress: Progress | None = None,
    ) -> Index:
        """Make the index at `path` hold exactly `passages`; see `create` and `sync`.

        An index that is there already, made by the same encoder, is brought up to date: only what
        is new or changed is encoded, so an interrupted build goes on where it stopped.
        """
        passages = iter(passages)
        head = list(islice(passages, 1))  # a source that is broken at once leaves no folder behind
        index = cls.create(path, encoder, kind=kind, lexical=lexical)
        index.sync(_chained(head, passages), progress)
        return index

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: AnyEncoder | None,
        *,
        kind: str | None = "flat",
        lexical: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> Index:
        """The index at `path` if it is made like this, else a new one there, empty.

        encoder: None for an index without vectors, whatever `kind` says.
        settings: JSON that a new index keeps.
        Raises InputError when there is an index of another encoder or kind.
        """
        if encoder is None:
            kind = None
        if not is_there(path):
            identity = _identity(encoder) if encoder is not None else None
            folder = IndexFolder.create(
                path, encoder=identity, kind=kind, lexical=lexical, settings=settings or {}
            )
            return cls(folder, encoder)
        index = cls.open(path, encoder)
        index.check_made_as(encoder.name if encoder else None, kind, lexical)
        return index

    @classmethod
    def open(cls, path: str | Path, encoder: AnyEncoder | None = None) -> Index:
        """An index that is there. Without `encoder`, its own is loaded when first needed.

        Raises InputError when there is no index at `path`, or when another encoder made it.
        """
        index = cls(IndexFolder.open(path), encoder)
        if encoder is not None and index.folder.encoder is not None:
            index._check_fingerprint(encoder)
        return index

    @property
    def encoder(self) -> AnyEncoder:
        """Raises InputError when the index has no vectors, or its encoder has changed or gone."""
        if self._encoder is None:
            recorded = self.folder.encoder
            if recorded is None:
                raise InputError(f"the index {self.folder.path} has no vectors, so no encoder")
            from .encoders import load_encoder

            encoder = load_encoder(recorded.name, recorded.kind)
            self._check_fingerprint(encoder)
            self._encoder = encoder
        return self._encoder

    def check_made_as(self, encoder: str | None, kind: str | None, lexical: bool) -> None:
        """Raises InputError unless the index has vectors where `encoder` is given, and is of
        `kind` and with or without a lexical part as said."""
        folder = self.folder
        different = ""
        if (folder.encoder is None) != (encoder is None):
            made_by = f"encoder {folder.encoder.name}" if folder.encoder else "no encoder"
            different = f"with {made_by}, not with {f'encoder {encoder}' if encoder else 'none'}"
        elif folder.kind != kind:
            different = f"as kind {folder.kind or 'none'}, not {kind or 'none'}"
        elif folder.lexical != lexical:
            different = f"{'with' if folder.lexical else 'without'} a lexical part"
        if different:
            raise InputError(
                f"the index {folder.path} was made {different}: name another folder, "
                "or remove this one first"
            )

    def sync(self, passages: Iterable[Passage], progress: Progress | None = None) -> Changes:
        """Make the index hold exactly `passages`: add, replace what differs, delete the rest.

        Every COMMIT_SECONDS what is done is committed; passages that are no longer wanted go last,
        together. An interruption (also of the process) therefore leaves a whole index and loses
        seconds, and the same call goes on from there.
        progress: called with the number of passages done so far.
        Raises InputError for an id that comes twice; nothing is deleted then, and what was
        committed stays.
        """
        return self._change(passages, progress, delete_others=True)

    def add(self, passages: Iterable[Passage], progress: Progress | None = None) -> Changes:
        """Add passages, and replace those that are there and differ; as `sync`, but delete none."""
        return self._change(passages, progress, delete_others=False)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete passages; their number. Raises InputError, deleting none, if one is not there."""
        ids = list(dict.fromkeys(ids))
        with self.folder.writer() as writer:
            writer.delete(ids)
            writer.commit()
        return len(ids)

    def remember(self, settings: dict[str, Any]) -> None:
        """Replace the JSON kept with the index (`folder.settings`) when it differs."""
        if settings != self.folder.settings:
            with self.folder.writer() as writer:
                writer.set_settings(settings)
                writer.commit()

    def search(
        self, text: str, k: int = 10, mode: str = "hybrid", where: str | None = None
    ) -> list[Hit]:
        """The k best passages for `text`, best first.

        mode: "vector", "lexical" (BM25; the encoder is not loaded), or "hybrid", both fused by
            rank. An index with one of the two answers "hybrid" with the one it has.
        where: a filter such as "language = 'python'"; see `indexes.filtering`.
        Raises InputError for an empty text and for a mode that the index cannot answer.
        """
        if not text.strip():
            raise InputError("the query is empty: say what to look for")
        (ranking,) = self.search_many([text], k, mode, where)
        passages = self.folder.passages([id for id, _ in ranking])
        return [
            Hit(
                rank=rank,
                id=passage.id,
                score=score,
                path=passage.path,
                start_line=passage.start_line,
                end_line=passage.end_line,
                title=passage.title,
                text=passage.text,
                metadata=passage.metadata,
            )
            for rank, (passage, (_, score)) in enumerate(
                zip(passages, ranking, strict=True), start=1
            )
        ]

    def search_many(
        self, texts: list[str], k: int = 10, mode: str = "hybrid", where: str | None = None
    ) -> list[Ranking]:
        """For each text the k best (id, score), best first. As `search`, all texts at once."""
        if k < 1:
            raise InputError(f"k must be at least 1, it is {k}")
        folder = self.folder
        mode = self._answerable(mode)
        depth = k if mode != "hybrid" else max(k, LEG_DEPTH)
        legs: list[list[Ranking]] = []
        if mode != "lexical":
            legs.append(folder.search_vectors(self.encoder.encode_queries(texts), depth, where))
        if mode != "vector":
            legs.append(folder.search_lexical(texts, depth, where))
        if len(legs) == 1:
            return legs[0]
        return [fuse(leg, k) for leg in zip(*legs, strict=True)]

    def _answerable(self, mode: str) -> str:
        """`mode`, or for "hybrid" what the index has. Raises InputError when it has not."""
        if mode not in MODES:
            raise InputError(f"unknown mode {mode!r}: use one of {', '.join(MODES)}")
        folder = self.folder
        if mode == "vector" and folder.encoder is None:
            raise InputError(f"the index {folder.path} has no vectors: use mode lexical")
        if mode == "lexical" and not folder.lexical:
            raise InputError(f"the index {folder.path} has no lexical part: use mode vector")
        if mode == "hybrid" and folder.encoder is None:
            return "lexical"
        return "vector" if mode == "hybrid" and not folder.lexical else mode

    def _check_fingerprint(self, encoder: AnyEncoder) -> None:
        recorded = self.folder.encoder
        if recorded is not None and encoder.fingerprint != recorded.fingerprint:
            same = _full_name(encoder.name) == recorded.name
            what = "a different state or other settings of it" if same else f"not {encoder.name}"
            raise InputError(
                f"the index {self.folder.path} was made by encoder {recorded.name}, {what}: "
                "use that encoder, or build into another folder"
            )

    def _change(
        self, passages: Iterable[Passage], progress: Progress | None, delete_others: bool
    ) -> Changes:
        with self.folder.writer() as writer:
            self.folder.refresh()
            stored = set(self.folder.content_hashes())
            changes = Changes()
            seen: set[str] = set()
            wanted = self._different(passages, stored, seen, changes)
            committed = time.monotonic()
            try:
                for part, vectors in self._encoded(wanted):
                    writer.add(part, vectors)
                    updated = sum(passage.id in stored for passage in part)
                    changes.updated += updated
                    changes.added += len(part) - updated
                    if time.monotonic() - committed >= COMMIT_SECONDS:
                        writer.commit()
                        committed = time.monotonic()
                    if progress:
                        progress(changes.added + changes.updated + changes.unchanged)
            except KeyboardInterrupt:
                with suppress(InputError):  # the interrupt came amid a change, which is dropped
                    writer.commit()
                raise
            if delete_others and (others := stored - seen):
                writer.delete(sorted(others))
                changes.deleted = len(others)
            writer.commit()
        if progress:
            progress(len(seen))
        return changes

    def _different(
        self, passages: Iterable[Passage], stored: set[str], seen: set[str], changes: Changes
    ) -> Iterator[Passage]:
        """Those that are not stored just as they are. Counts the others, and collects all ids."""
        iterator = iter(passages)
        while batch := list(islice(iterator, BATCH)):
            for passage in batch:
                if passage.id in seen:
                    raise InputError(f"two passages have the id {passage.id!r}")
                seen.add(passage.id)
            known = [passage.id for passage in batch if passage.id in stored]
            old = {passage.id: passage for passage in self.folder.passages(known)}
            for passage in batch:
                if old.get(passage.id) == _as_stored(passage):
                    changes.unchanged += 1
                else:
                    yield passage

    def _encoded(
        self, passages: Iterator[Passage]
    ) -> Iterator[tuple[list[Passage], Packed | None]]:
        """Passages in parts with their vectors; the encoder is loaded when there is a passage."""
        if self.folder.encoder is None:
            while part := list(islice(passages, BATCH)):
                yield part, None
            return
        head = list(islice(passages, 1))
        if not head:
            return
        waiting: deque[Passage] = deque()

        def texts() -> Iterator[str]:
            for passage in _chained(head, passages):
                waiting.append(passage)
                yield passage.content

        for vectors in self.encoder.stream_documents(texts()):
            yield [waiting.popleft() for _ in range(len(vectors))], vectors


def is_there(path: str | Path) -> bool:
    """Whether there is an index at `path`, perhaps a damaged one."""
    return (Path(path) / MANIFEST_FILE).exists()


def _identity(encoder: AnyEncoder) -> EncoderIdentity:
    name = _full_name(encoder.name)
    return EncoderIdentity(name, encoder.fingerprint, encoder.kind, encoder.dimension)


def _full_name(name: str) -> str:
    """A folder's whole path, so that it is found from anywhere; other names as they are."""
    from .encoders import SHIPPED

    return str(Path(name).resolve()) if name not in SHIPPED and Path(name).is_dir() else name


def _chained(head: list[Passage], rest: Iterator[Passage]) -> Iterator[Passage]:
    yield from head
    yield from rest


def _as_stored(passage: Passage) -> Passage:
    """With metadata as JSON gives it back. What is no JSON equals nothing, and `add` refuses it."""
    try:
        return replace(passage, metadata=json.loads(json.dumps(passage.metadata)))
    except (TypeError, ValueError):
        return passage
