"""The files of a folder that are worth indexing, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from .ignore import IgnoreRules
from .selection import EVERYTHING, Selection
from .text import Skipped, display_path

VERSION_CONTROL = frozenset({"CVS", "RCS", "SCCS", "_darcs"})  # the hidden ones are skipped anyway
INDEX_FILES = ("manifest.json", "store.sqlite")  # a folder with both is an index


def walk(
    root: Path, skipped: list[Skipped], selection: Selection = EVERYTHING
) -> Iterator[os.DirEntry[str]]:
    """Plain files below `root`, by name, folder by folder.

    Left out: what `.gitignore` and `.ignore` ignore and what is not selected, hidden files and
    folders, version control, indexes, and symbolic links (so no loop and no way out of `root`).
    Links and what cannot be read are put on `skipped`. A repository inside (a submodule) is walked
    by its own rules alone, as git does.
    """
    beginning = len(os.path.join(root, ""))
    top = os.fspath(root)
    waiting = [(top, IgnoreRules.above(root))]
    while waiting:
        folder, rules_above = waiting.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=attrgetter("name"))
        except OSError as error:
            skipped.append(Skipped(display_path(folder), error.strerror or "unreadable"))
            continue
        names = {entry.name for entry in entries}
        if names.issuperset(INDEX_FILES) and folder != top and is_index(folder):
            continue
        if ".git" in names:
            rules_above = IgnoreRules.above(Path(folder))
        rules = rules_above.within(folder, names)
        below: list[tuple[str, IgnoreRules]] = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(".") or rules.ignores(entry.path, is_folder):
                continue
            inside = entry.path[beginning:]
            if selection.exclude and selection.leaves_out(inside, is_folder):
                continue
            if not is_folder and not selection.takes(inside):
                continue
            if entry.is_symlink():
                skipped.append(Skipped(display_path(entry.path), "symbolic link"))
            elif not is_folder:
                yield entry
            elif entry.name not in VERSION_CONTROL:
                below.append((entry.path, rules))
        waiting += reversed(below)


def is_index(folder: str | os.PathLike[str]) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in INDEX_FILES)
