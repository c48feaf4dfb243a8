"""A new worktree's index begins as a copy of another worktree's: what is the same in both is read
and encoded once, and its vectors are on the disk once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from . import locate
from .console import message


def seed(place: Path) -> None:
    """Make the index at `place`, at the top of a worktree, of one that another worktree of the same
    repository has. Nothing where there is none, or where there is an index already."""
    from ..index import is_there
    from ..indexes import IndexFolder
    from ..indexes.copying import copy_index

    if place.exists():
        return
    for top in worktrees(place.resolve().parent):
        other = top / locate.DEFAULT
        if not is_there(other):
            continue
        try:
            copy_index(IndexFolder.open(other), place)
        except InputError as error:
            message(f"note: {error}")
            continue
        (place / ".gitignore").write_text("*\n")
        message(f"note: begun with the index of the worktree {top}")
        return


def worktrees(top: Path) -> Iterator[Path]:
    """The other worktrees of the repository whose worktree `top` is, the main one first."""
    common = _common_folder(top / ".git")
    if common is None:
        return
    tops = [common.parent] if common.name == ".git" else []
    for file in sorted(common.glob("worktrees/*/gitdir")):
        tops += [Path(line).parent for line in _lines(file)]
    yield from (other for other in dict.fromkeys(tops) if other != top and other.is_dir())


def _common_folder(git: Path) -> Path | None:
    """The folder that all worktrees share. git: the `.git` of one of them."""
    if git.is_dir():
        return git
    for line in _lines(git):
        if line.startswith("gitdir: "):
            own = (git.parent / line.removeprefix("gitdir: ")).resolve()
            for common in _lines(own / "commondir"):
                return (own / common).resolve()
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
