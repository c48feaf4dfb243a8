"""What an index remembers of its sources: where they are, which of their files, and how these were
cut."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sources import Selection
    from ..sources.scan import SourceTree

CUTTING = 3  # how files become passages; another number makes every index read its files again


def settings_of(tree: SourceTree, place: Path) -> dict[str, Any]:
    """What the index at `place` remembers of its sources."""
    chosen = {"selection": tree.selection.to_json(), "cutting": CUTTING}
    return recorded(tree.sources, tree.root, place) | chosen


def is_cut_alike(settings: dict[str, Any]) -> bool:
    """Whether an index that keeps these settings cut its files as this program does."""
    return settings.get("cutting") == CUTTING


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


def selection(settings: dict[str, Any]) -> Selection:
    """Which files the index takes of its sources."""
    from ..sources import Selection

    return Selection.from_json(settings.get("selection", {}))
