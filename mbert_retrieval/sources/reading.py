"""A source's passages, all of them, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..types import Passage
from .files import collection_passages, file_passages, look, read_file
from .selection import EVERYTHING, Selection
from .source import source_root
from .text import Skipped, display_path


def read_source(
    path: str | Path,
    skipped: list[Skipped],
    root: str | Path | None = None,
    selection: Selection = EVERYTHING,
) -> Iterator[Passage]:
    """The passages of a source: a BEIR folder, a `.jsonl` collection, a folder, or one file.

    skipped: gets the files of a folder that were left out, while the passages are read.
    root: what the paths of passages are relative to; by default `source_root` of the source alone.
    Raises InputError, before the first passage, for a source that is not there or is no text, and
    while they are read for a broken line of a collection.
    """
    top = Path(root) if root is not None else source_root([path])
    tree = look([path], top, selection)
    for collection in tree.collections.values():
        yield from collection_passages(collection, selection)
    skipped += [Skipped(display_path(top / name), why) for name, why in tree.skipped.items()]
    for name, file in tree.files.items():
        try:
            content = read_file(file, selection)
            passages = list(file_passages(file, name, content, selection))
        except InputError as reason:
            if file.named:
                raise InputError(f"cannot index {path}: {reason}") from None
            skipped.append(Skipped(display_path(file.place), str(reason)))
            continue
        yield from passages
