"""Write passages to an index: encode only what changed, reuse vectors, commit as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from ..errors import InputError
from ..indexes import IndexFolder, Writer
from ..indexes.writer import NO_SOURCES
from ..packed import Packed
from ..search.encoders import BATCH, IndexEncoders
from ..types import Passage

COMMIT_SECONDS = 20.0  # the work that an interruption may lose

Progress = Callable[[int], None]


@dataclass
class Changes:
    """How many passages a change to an index concerned.

    reused: those of the added and updated ones whose vectors the index had already.
    unreadable: files and folders, not passages, that could not be read; their passages stay.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    reused: int = 0
    unreadable: int = 0

    def count(self, passages: Iterable[Passage], known: Container[str], moved: int = 0) -> None:
        """Count passages as updated where their id is known, else as added.

        moved: how many of the others were in the index under another id.
        """
        ids = [passage.id for passage in passages]
        updated = min(sum(id in known for id in ids) + moved, len(ids))
        self.updated += updated
        self.added += len(ids) - updated


def write_passages(
    folder: IndexFolder,
    encoders: IndexEncoders,
    passages: Iterable[Passage],
    progress: Progress | None = None,
    *,
    delete_others: bool,
) -> Changes:
    """Add passages and replace those that differ; see `Index.sync` and `Index.add`.

    progress: called with the number of passages done.
    """
    if isinstance(passages, Passage) or not isinstance(passages, Iterable):
        raise TypeError(
            "passages must be several Passage objects, for example a list, "
            f"not {type(passages).__name__}"
        )
    with folder.writer() as writer:
        folder.refresh()
        stored = set(folder.content_hashes())
        changes = Changes()
        seen: set[str] = set()

        def to_encode() -> Iterator[Passage]:
            compared = 0
            for batch in changed_passages(folder, passages, stored, seen):
                changes.unchanged += len(seen) - compared - len(batch)
                compared = len(seen)
                yield from reuse_vectors(writer, batch, changes, stored)

        def report() -> None:
            if progress:
                progress(changes.added + changes.updated + changes.unchanged)

        store_encoded(writer, encoders.encode(to_encode()), changes, stored, report)
        if delete_others and (others := stored - seen):
            writer.delete(sorted(others))
            changes.deleted = len(others)
        writer.compact()  # commits the rest first
    if progress:
        progress(len(seen))
    return changes


def changed_passages(
    folder: IndexFolder, passages: Iterable[Passage], stored: set[str], seen: set[str]
) -> Iterator[list[Passage]]:
    """Yield batches of the passages that differ from what is stored.

    stored: ids of those to compare with; a passage with another id differs. seen: receives every
    id. Raises InputError for a duplicate id.
    """
    iterator = iter(passages)
    while batch := list(islice(iterator, BATCH)):
        for passage in batch:
            if not isinstance(passage, Passage):
                raise TypeError(f"passages must be Passage objects, not {type(passage).__name__}")
            if passage.id in seen:
                raise InputError(f"two passages have the id {passage.id!r}")
            seen.add(passage.id)
        known = [passage.id for passage in batch if passage.id in stored]
        old = {passage.id: passage for passage in folder.passages(known)}
        yield [passage for passage in batch if old.get(passage.id) != _as_stored(passage)]


def reuse_vectors(
    writer: Writer,
    batch: list[Passage],
    changes: Changes,
    known: Container[str],
    moved: int = 0,
    sources: Mapping[str, str] = NO_SOURCES,
) -> list[Passage]:
    """Store the passages whose vectors the index has, and count them; return the others."""
    others = writer.reuse(batch, sources)
    unencoded = {passage.id for passage in others}
    stored = [passage for passage in batch if passage.id not in unencoded]
    changes.count(stored, known, moved)
    changes.reused += len(stored)
    return others


def store_encoded(
    writer: Writer,
    batches: Iterable[tuple[list[Passage], Mapping[str, Packed]]],
    changes: Changes,
    known: Container[str],
    progress: Callable[[], None],
    on_added: Callable[[Sequence[Passage]], None] = lambda passages: None,
    sources: Mapping[str, str] = NO_SOURCES,
) -> None:
    """Add passages with their vectors, count them, and commit every COMMIT_SECONDS.

    progress: called after each batch. on_added: called with each batch before it may be committed,
    and with an empty one at the end. sources: see `Writer.add`. A KeyboardInterrupt commits what is
    done and goes on up.
    """
    committed = time.monotonic()
    try:
        for batch, vectors in batches:
            writer.add(batch, vectors, sources)
            changes.count(batch, known)
            on_added(batch)
            if time.monotonic() - committed >= COMMIT_SECONDS:
                writer.commit()
                committed = time.monotonic()
            progress()
        on_added([])
    except KeyboardInterrupt:
        with suppress(InputError):  # the interrupt came amid a change, which is dropped
            writer.commit()
        raise


def _as_stored(passage: Passage) -> Passage:
    """Return the passage with its metadata as JSON gives it back.

    Metadata that is not JSON is equal to nothing, and `Writer.add` refuses it.
    """
    try:
        return replace(passage, metadata=json.loads(json.dumps(passage.metadata)))
    except (TypeError, ValueError, RecursionError):
        return passage
