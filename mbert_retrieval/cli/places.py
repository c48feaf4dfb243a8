"""Where the index is, and where its sources are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..sources import Selection

DEFAULT = ".mbert"


def index_for_sources(sources: Sequence[Path], named: Path | None) -> Path:
    """The index that `build` makes: the one named, or `.mbert` at the top of the repository that
    holds the sources, or in the one folder that is built where there is no repository."""
    from ..sources.ignore import repository_top

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
    """The index that is there: the one named, or the nearest `.mbert` from here upward."""
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


def recorded(sources: Sequence[Path], root: Path, index: Path) -> dict[str, Any]:
    """What the index remembers of its sources: full paths, or where the index stands inside their
    root paths relative to the index, so that both may be moved together."""
    index = index.resolve()
    inside = index.is_relative_to(root)

    def written(path: Path) -> str:
        return os.path.relpath(path, index) if inside else str(path)

    return {"root": written(root), "sources": [written(source) for source in sources]}


def remembered(settings: dict[str, Any], index: Path) -> tuple[list[Path], Path | None]:
    """The sources and root that `recorded` wrote, as full paths; ([], None) when it did not."""
    base = index.resolve()

    def read(path: str) -> Path:
        return Path(os.path.normpath(base / path))

    sources = [read(source) for source in settings.get("sources", [])]
    return sources, read(settings["root"]) if "root" in settings else None


def check_same_sources(settings: dict[str, Any], index: Path, sources: Sequence[Path]) -> None:
    """Raises InputError when the one index of a repository is of other sources: building it of
    these would drop them."""
    before, _ = remembered(settings, index)
    if before and set(before) != set(sources):
        names = ", ".join(map(str, before))
        raise InputError(
            f"the index {index} is of {names}: use mbert-index add, or name another with --index"
        )


def selection(settings: dict[str, Any]) -> Selection:
    """Which files the index takes of its sources."""
    from ..sources import Selection

    return Selection.from_json(settings.get("selection", {}))
