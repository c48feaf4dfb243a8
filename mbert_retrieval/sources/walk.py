"""List the files of a folder that are worth indexing, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from .ignore import IgnoreRules
from .paths import INDEX_FILES, display_path, is_index
from .selection import EVERYTHING, Selection

VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", "CVS", "RCS", "SCCS", "_darcs"})


@dataclass(frozen=True)
class SkippedFile:
    """A file that gives no passages.

    Args:
        path: Its path, with forward slashes.
        reason: A few words, for example "binary" or "symbolic link".
        unreadable: Whether it may give passages, and could not be read: for now, nobody knows.

    Example:
        >>> SkippedFile("docs/logo.png", "binary").reason
        'binary'
    """

    path: str
    reason: str
    unreadable: bool = False


def walk(
    root: Path, skipped: list[SkippedFile], selection: Selection = EVERYTHING
) -> Iterator[os.DirEntry[str]]:
    """Yield the plain files below a folder, sorted by name, folder by folder.

    Left out are files that `.gitignore` or `.ignore` excludes, files that are not selected, hidden
    files and folders that no pattern to include names, folders of version control, indexes, and
    symbolic links (which could lead into a loop or out of `root`). A repository inside, such as a
    submodule, is walked by its own ignore rules alone, as git does.

    Args:
        root: The folder.
        skipped: Receives the symbolic links and the folders that cannot be read.
        selection: Which files to take.

    Yields:
        Entries whose `path` begins with `root`.
    """
    prefix_length = len(os.path.join(root, ""))
    top = os.fspath(root)
    pending = [(top, IgnoreRules.above(root))]
    while pending:
        folder, rules_above = pending.pop()
        try:
            with os.scandir(folder) as entries_of_folder:
                entries = sorted(entries_of_folder, key=attrgetter("name"))
        except FileNotFoundError:  # gone since its parent was read
            continue
        except OSError as error:
            reason = error.strerror or "unreadable"
            skipped.append(SkippedFile(display_path(folder), reason, unreadable=True))
            continue
        names = {entry.name for entry in entries}
        if names.issuperset(INDEX_FILES) and folder != top and is_index(folder):
            continue
        if ".git" in names:
            rules_above = IgnoreRules.above(Path(folder))
        rules = rules_above.within(folder, names)
        subfolders: list[tuple[str, IgnoreRules]] = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(".") and not selection.names_hidden(entry.name):
                continue
            if rules.ignores(entry.path, is_folder):
                continue
            relative = entry.path[prefix_length:]
            if selection.exclude and selection.excludes(relative, is_folder):
                continue
            if not is_folder and not selection.includes(relative):
                continue
            if entry.is_symlink():
                skipped.append(SkippedFile(display_path(entry.path), "symbolic link"))
            elif not is_folder:
                yield entry
            elif entry.name not in VERSION_CONTROL:
                subfolders.append((entry.path, rules))
        pending += reversed(subfolders)
