"""Start the index of a new worktree as a copy of another worktree's index.

Files that are the same in both are read and encoded once, and their vectors are stored once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..sources.repository import common_folder
from . import locate
from .console import message


def copy_from_worktree(path: Path) -> None:
    """Copy an index of another worktree of the same repository to `path`.

    Does nothing where there is none that is trusted, or where `path` exists.
    """
    from ..index import is_index
    from ..indexes import IndexFolder
    from ..indexes.copying import copy_index

    if path.exists():
        return
    for top in worktrees(path.resolve().parent):
        other = top / locate.DEFAULT
        if not is_index(other):
            continue
        try:
            source = IndexFolder.open(other)
            if not source.is_trusted:
                continue
            copy_index(source, path)
        except InputError as error:
            message(f"note: {error}")
            continue
        (path / ".gitignore").write_text("*\n")
        message(f"note: copied the index of the worktree {top}")
        return


def worktrees(top: Path) -> Iterator[Path]:
    """Yield the other worktrees of the repository of the worktree `top`, the main one first."""
    common = common_folder(top / ".git")
    if common is None:
        return
    tops = [common.parent] if common.name == ".git" else []
    for file in sorted(common.glob("worktrees/*/gitdir")):
        tops += [Path(line).parent for line in _lines(file)]
    yield from (other for other in dict.fromkeys(tops) if other != top and other.is_dir())


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
