"""Where the index is, and where its sources are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

DEFAULT = ".mbert"


def index_for_sources(sources: Sequence[Path], named: Path | None) -> Path:
    """The index that `build` makes: the one named, or `.mbert` in the one folder that is built."""
    if named is not None:
        return named
    if len(sources) == 1 and sources[0].is_dir():
        return sources[0] / DEFAULT
    raise InputError("name the index with --index DIR (only a single folder has a default)")


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
