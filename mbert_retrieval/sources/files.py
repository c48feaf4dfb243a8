"""The files that sources hold now, and the passages of each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..records import Passage
from .fitness import unfit
from .languages import language_of
from .selection import EVERYTHING, Selection
from .source import collection_file, cut, existing, shown
from .text import Skipped, decode, read_bytes
from .walk import is_index, walk


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
    return read_bytes(Path(file.place), selection.max_bytes)


def file_passages(
    file: SourceFile, path: str, content: bytes, selection: Selection
) -> Iterator[Passage]:
    """A file's content in passages. path: as they carry it.

    Raises InputError, the reason alone, for what is no text, or generated and not named.
    """
    text = decode(content)
    if not file.named:
        first_line = text.partition("\n")[0]
        name = PurePosixPath(path).name
        if reason := unfit(text, name, language_of(PurePosixPath(path), first_line)):
            raise InputError(reason)
    yield from cut(text, path)
