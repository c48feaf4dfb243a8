"""Passages into an index: which of them differ, whose vectors are there already, and commits while
it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from ..errors import InputError
from ..indexes import IndexFolder, Writer
from ..packed import Packed
from ..types import Passage

COMMIT_SECONDS = 20.0  # what an interruption may lose
BATCH = 1024  # passages compared with what is stored at once


@dataclass
class Changes:
    """How many passages a change to an index concerned. reused: of the added and updated ones,
    those whose vectors it had already."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    reused: int = 0

    def count(self, passages: Iterable[Passage], known: Container[str], moved: int = 0) -> None:
        """Passages as added, or as updated when their id is known; moved: how many of the others
        were there under another id."""
        ids = [passage.id for passage in passages]
        updated = min(sum(id in known for id in ids) + moved, len(ids))
        self.updated += updated
        self.added += len(ids) - updated


def different(
    folder: IndexFolder, passages: Iterable[Passage], stored: set[str], seen: set[str]
) -> Iterator[list[Passage]]:
    """Those that are not stored just as they are, in batches. stored: the ids that are; seen: gets
    all ids. Raises InputError for an id that comes twice."""
    iterator = iter(passages)
    while batch := list(islice(iterator, BATCH)):
        for passage in batch:
            if passage.id in seen:
                raise InputError(f"two passages have the id {passage.id!r}")
            seen.add(passage.id)
        known = [passage.id for passage in batch if passage.id in stored]
        old = {passage.id: passage for passage in folder.passages(known)}
        yield [p for p in batch if old.get(p.id) != _as_stored(p)]


def reuse(
    writer: Writer, batch: list[Passage], changes: Changes, known: Container[str], moved: int = 0
) -> list[Passage]:
    """Store those whose vectors the index has, and count them as `Changes.count`; the others."""
    others = writer.reuse(batch)
    encode = {passage.id for passage in others}
    kept = [passage for passage in batch if passage.id not in encode]
    changes.count(kept, known, moved)
    changes.reused += len(kept)
    return others


def store(
    writer: Writer,
    parts: Iterable[tuple[list[Passage], Mapping[str, Packed]]],
    changes: Changes,
    known: Container[str],
    progress: Callable[[], None],
    settle: Callable[[int], None] = lambda count: None,
) -> None:
    """Add passages with their vectors, count them, and commit every COMMIT_SECONDS.

    progress: called after each part. settle: called with the number of each part before it may be
    committed, and with 0 at the end.
    After a KeyboardInterrupt what was done is committed, and it goes on.
    """
    committed = time.monotonic()
    try:
        for part, vectors in parts:
            writer.add(part, vectors)
            changes.count(part, known)
            settle(len(part))
            if time.monotonic() - committed >= COMMIT_SECONDS:
                writer.commit()
                committed = time.monotonic()
            progress()
        settle(0)
    except KeyboardInterrupt:
        with suppress(InputError):  # the interrupt came amid a change, which is dropped
            writer.commit()
        raise


def _as_stored(passage: Passage) -> Passage:
    """With metadata as JSON gives it back. What is no JSON equals nothing, and `add` refuses it."""
    try:
        return replace(passage, metadata=json.loads(json.dumps(passage.metadata)))
    except (TypeError, ValueError):
        return passage
