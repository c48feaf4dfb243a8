"""Scan sources: which files they contain now, without reading them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .paths import collection_file, existing_paths, is_index, passage_path
from .selection import EVERYTHING, Selection
from .walk import SkippedFile, walk


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as a scan saw it.

    Args:
        path_on_disk: Where to read it.
        size: In bytes.
        mtime_ns: Modification time in nanoseconds.
        explicit: Whether the file is itself a source, so that it is read even if it looks generated
            and an error is raised if it cannot be.
    """

    path_on_disk: str
    size: int
    mtime_ns: int
    explicit: bool = False


@dataclass
class SourceTree:
    """What a scan of sources returned.

    Args:
        sources: Full paths of the scanned sources.
        root: The folder that the paths of passages are relative to.
        selection: Which files were taken, and how they are split.
        files: Code and prose by path, as passages state it.
        collections: `.jsonl` files by path.
        skipped: Reasons by path, for the files that were left out.
        unreadable: Those paths in `skipped`, of files, folders and sources, that could not be read.
        empty: Paths, as passages would state them, of the sources that are folders of nothing.
    """

    sources: list[Path]
    root: Path
    selection: Selection
    files: dict[str, SourceFile] = field(default_factory=dict)
    collections: dict[str, SourceFile] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)


def scan(
    sources: Sequence[str | Path], root: Path, selection: Selection = EVERYTHING
) -> SourceTree:
    """List the files of sources without reading them.

    If the names of two files differ only in bytes that are not Unicode, their paths are the same
    and the second file is skipped.

    Args:
        sources: Files, folders, `.jsonl` collections and BEIR folders.
        root: The folder that the paths of passages are relative to, see `source_root`.
        selection: Which files of folders to take.

    Returns:
        Files and collections by path, and the reasons why others were skipped.

    Raises:
        TypeError: If `sources` is one path instead of a sequence of paths.
        InputError: If a source does not exist, cannot be read, or is an index.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> library = Path(json.__file__).resolve().parent
        >>> sorted(scan([library], library, Selection(include=("*coder.py",))).files)
        ['decoder.py', 'encoder.py']
    """
    tree = SourceTree(existing_paths(sources), root, selection)
    for source in tree.sources:
        if collection := collection_file(source):
            tree.collections[passage_path(collection, root)] = _explicit_file(collection)
        elif source.is_dir():
            if is_index(source):
                raise InputError(f"{source} is an index: name the folder of its files as source")
            _add_folder(tree, source)
        else:
            tree.files[passage_path(source, root)] = _explicit_file(source)
    return tree


def _add_folder(tree: SourceTree, folder: Path) -> None:
    skipped: list[SkippedFile] = []
    is_empty = True
    prefix = os.path.join(tree.root, "")
    for entry in walk(folder, skipped, tree.selection):
        is_empty = False
        path = entry.path.removeprefix(prefix)
        if not path.isascii() or os.sep != "/":
            path = passage_path(Path(entry.path), tree.root)
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            tree.skipped[path] = error.strerror or "unreadable"
            tree.unreadable.add(path)
            continue
        if not stat.S_ISREG(status.st_mode):
            tree.skipped[path] = "not a plain file"
        elif path in tree.files and tree.files[path].path_on_disk != entry.path:
            tree.skipped[path + " (another)"] = "its name looks like another's"
        elif path not in tree.files:
            tree.files[path] = SourceFile(entry.path, status.st_size, status.st_mtime_ns)
    for file in skipped:
        path = passage_path(Path(file.path), tree.root)
        tree.skipped[path] = file.reason
        if file.unreadable:
            tree.unreadable.add(path)
    if is_empty and not skipped:
        tree.empty.append(passage_path(folder, tree.root))


def _explicit_file(path: Path) -> SourceFile:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return SourceFile(str(path), status.st_size, status.st_mtime_ns, explicit=True)
