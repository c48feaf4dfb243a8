"""What an index remembers of its sources: where they are, which files, how they were cut."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..indexes import IndexFolder

if TYPE_CHECKING:
    from ..sources import Selection
    from ..sources.scan import SourceTree

CUTTING = 3  # version of how files are cut; a change makes every index read its files again


@dataclass(frozen=True)
class Provenance:
    """Sources of an index; none where it was not built from files.

    paths: the sources, absolute. root: what the paths of passages are relative to.
    is_current: whether its files were cut by this version of the program.
    """

    paths: list[Path]
    root: Path | None
    selection: Selection
    is_current: bool

    @classmethod
    def of(cls, folder: IndexFolder) -> Provenance:
        """Read what `record` wrote."""
        from ..sources import Selection

        settings = folder.settings
        base = folder.path.resolve()

        def absolute(path: str) -> Path:
            return Path(os.path.normpath(base / path))

        return cls(
            [absolute(source) for source in settings.get("sources", [])],
            absolute(settings["root"]) if "root" in settings else None,
            Selection.from_json(settings.get("selection", {})),
            settings.get("cutting") == CUTTING,
        )


def settings_of(tree: SourceTree, index: Path) -> dict[str, Any]:
    """Return the settings of an index at `index` that is built from a tree."""
    recipe = {"selection": tree.selection.to_json(), "cutting": CUTTING}
    return _locations(tree.sources, tree.root, index) | recipe


def record(folder: IndexFolder, tree: SourceTree) -> None:
    """Remember the tree as the index's sources."""
    _store(folder, settings_of(tree, folder.path))


def record_more(folder: IndexFolder, tree: SourceTree) -> None:
    """Remember the tree's sources beside those that the index has; nothing where it has none."""
    before = Provenance.of(folder).paths
    if before:
        sources = list(dict.fromkeys([*before, *tree.sources]))
        _store(folder, folder.settings | _locations(sources, tree.root, folder.path))


def _store(folder: IndexFolder, settings: dict[str, Any]) -> None:
    if settings != folder.settings:
        with folder.writer() as writer:
            writer.set_settings(settings)
            writer.commit()


def _locations(sources: Sequence[Path], root: Path, index: Path) -> dict[str, Any]:
    """Absolute paths; relative to the index where it is inside `root`, so that both can move."""
    index = index.resolve()
    inside = index.is_relative_to(root)

    def recorded(path: Path) -> str:
        return os.path.relpath(path, index) if inside else str(path)

    return {"root": recorded(root), "sources": [recorded(source) for source in sources]}
