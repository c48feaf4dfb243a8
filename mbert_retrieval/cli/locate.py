"""Locate the index that a command works on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

DEFAULT = ".mbert"


def index_for_sources(sources: Sequence[Path], named: Path | None) -> Path:
    """Return the path of the index that `build` makes.

    The one named, or `.mbert` at the top of the git repository of all sources, or, without a
    repository, `.mbert` in the only source, a folder. Raises InputError for several such sources.
    """
    from ..sources.repository import repository_top

    if named is not None:
        return named
    tops = {repository_top(source.resolve()) for source in sources}
    top = tops.pop() if len(tops) == 1 else None
    if top is not None:
        return top / DEFAULT
    if len(sources) == 1 and sources[0].is_dir():
        return sources[0] / DEFAULT
    raise InputError(
        "name the index with --index DIR (only a single folder, or what is in one git repository, "
        "has a default)"
    )


def index_from_here(named: Path | None) -> Path:
    """Return the path of an index: the one named, or the nearest `.mbert` from here upward.

    Raises InputError where none is named and there is no `.mbert`.
    """
    if named is not None:
        return named
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DEFAULT).is_dir():
            return folder / DEFAULT
    raise InputError(
        f"no {DEFAULT} in this folder or above: name an index with --index DIR, "
        "or make one with mbert-index build"
    )


def check_same_sources(before: Sequence[Path], index: Path, sources: Sequence[Path]) -> None:
    """Raise InputError where the index has other sources, whose passages a build would delete."""
    if before and set(before) != set(sources):
        names = ", ".join(map(str, before))
        raise InputError(
            f"the index {index} was built from {names}: use mbert-index add, or name another index "
            "with --index"
        )
