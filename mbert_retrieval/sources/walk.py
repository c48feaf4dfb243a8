"""The files of a folder that are worth indexing, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .ignore import IgnoreRules
from .text import Skipped, display_path

VERSION_CONTROL = frozenset({"CVS", "RCS", "SCCS", "_darcs"})  # the hidden ones are skipped anyway
INDEX_FILES = ("manifest.json", "store.sqlite")  # a folder with both is an index


def walk(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Plain files below `root`, by name, folder by folder.

    Left out: what `.gitignore` and `.ignore` ignore, hidden files and folders, version control,
    indexes, and symbolic links (so no loop and no way out of `root`). Links and what cannot be read
    are put on `skipped`.
    """
    waiting = [(os.fspath(root), IgnoreRules.above(root))]
    while waiting:
        folder, rules_above = waiting.pop()
        rules = rules_above.within(folder)
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(display_path(folder), error.strerror or "unreadable"))
            continue
        below: list[tuple[str, IgnoreRules]] = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(".") or rules.ignores(entry.path, is_folder):
                continue
            if entry.is_symlink():
                skipped.append(Skipped(display_path(entry.path), "symbolic link"))
            elif not is_folder:
                yield Path(entry.path)
            elif entry.name not in VERSION_CONTROL and not is_index(entry.path):
                below.append((entry.path, rules))
        waiting += reversed(below)


def is_index(folder: str | os.PathLike[str]) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in INDEX_FILES)
