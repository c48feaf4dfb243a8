"""The files that sources hold now, and the passages of each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..types import Passage
from .fitness import TRANSLATED, unfit
from .jsonl import read_jsonl
from .languages import language_of
from .pdf import pdf_lines
from .prose import headings
from .selection import EVERYTHING, Selection
from .source import collection_file, cut, document, existing, shown
from .text import Skipped, decode, read_bytes
from .walk import is_index, walk

PDF = ".pdf"
PDF_FACTOR = 32  # so many times the size limit of text: little of a PDF is its text


@dataclass(frozen=True, slots=True)
class SourceFile:
    """place: where it is; size: bytes; mtime_ns: nanoseconds; named: by the user, so that it is
    read whatever it looks like."""

    place: str
    size: int
    mtime_ns: int
    named: bool = False


@dataclass
class Tree:
    """What sources hold: files and collections by the path that passages and the index know them
    by, and why others were passed over."""

    sources: list[Path]
    root: Path
    selection: Selection
    files: dict[str, SourceFile] = field(default_factory=dict)
    collections: dict[str, SourceFile] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def look(sources: Sequence[str | Path], root: Path, selection: Selection = EVERYTHING) -> Tree:
    """Find the files of sources without reading them.

    root: what their paths are relative to. Two files whose names look the same (bytes that are no
    Unicode) cannot be told apart: the second is skipped.
    Raises InputError for a source that is not there or cannot be one.
    """
    tree = Tree([existing(source) for source in sources], root, selection)
    for source in tree.sources:
        if collection := collection_file(source):
            tree.collections[shown(collection, root)] = _stated(collection)
        elif source.is_dir():
            if is_index(source):
                raise InputError(f"{source} is an index, not a source")
            _walked(tree, source)
        else:
            tree.files[shown(source, root)] = _stated(source)
    return tree


def _walked(tree: Tree, source: Path) -> None:
    skipped: list[Skipped] = []
    beginning = os.path.join(tree.root, "")
    for entry in walk(source, skipped, tree.selection):
        place = entry.path
        path = place[len(beginning) :] if place.startswith(beginning) else place
        path = path if path.isascii() and os.sep == "/" else shown(Path(place), tree.root)
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            tree.skipped[path] = error.strerror or "unreadable"
            continue
        if not stat.S_ISREG(status.st_mode):
            tree.skipped[path] = "not a plain file"
        elif path in tree.files and tree.files[path].place != place:
            tree.skipped[path + " (another)"] = "its name looks like another's"
        elif path not in tree.files:
            tree.files[path] = SourceFile(place, status.st_size, status.st_mtime_ns)
    for one in skipped:
        tree.skipped[shown(Path(one.path), tree.root)] = one.reason


def _stated(path: Path) -> SourceFile:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return SourceFile(str(path), status.st_size, status.st_mtime_ns, named=True)


def read_file(file: SourceFile, selection: Selection) -> bytes:
    """Raises InputError, the reason alone, when it is too large, unreadable or no plain file."""
    is_pdf = file.place.lower().endswith(PDF)
    limit = selection.max_bytes * (PDF_FACTOR if is_pdf else 1)
    return read_bytes(Path(file.place), limit)


def file_passages(
    file: SourceFile, path: str, content: bytes, selection: Selection
) -> Iterator[Passage]:
    """A file's content in passages. path: as they carry it.

    Raises InputError, the reason alone, for what is no text; and for what is generated or
    translations, unless it is named, or for translations one of the patterns to include.
    """
    name = PurePosixPath(path)
    whole = selection.documents == "whole"
    if name.suffix.lower() == PDF:
        yield from document(*pdf_lines(content), path, "pdf", whole)
        return
    text = decode(content)
    reason = unfit(text, name.name, language_of(name, text.partition("\n")[0]))
    wanted = file.named or (reason == TRANSLATED and selection.asks_for(name.suffix))
    if reason and not wanted:
        raise InputError(reason)
    yield from cut(text, path, whole)


def collection_passages(file: SourceFile, selection: Selection) -> Iterator[Passage]:
    """The records of a `.jsonl` file: one passage each, or cut where documents are to be. Of one
    that is cut the first passage has the record's id, the others id#2 and so on; all have it as
    `document` in their metadata."""
    for record in read_jsonl(Path(file.place)):
        if selection.documents != "cut":
            yield record
            continue
        lines = record.text.replace("\r\n", "\n").split("\n")
        found = list(headings(lines, "markdown"))
        pieces = list(document(lines, found, record.id, "text"))
        if len(pieces) < 2:
            yield record
            continue
        for number, piece in enumerate(pieces, start=1):
            facts = {"document": record.id, "part": number}
            if name := piece.metadata["name"]:
                facts["name"] = name
            yield replace(
                record,
                id=record.id if number == 1 else f"{record.id}#{number}",
                text=piece.text,
                metadata=record.metadata | facts,
            )
