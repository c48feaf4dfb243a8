"""What an index remembers of its sources: where they are, which files, how they were cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BUILD_AGAIN, InputError
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
        sources, root = settings.get("sources", []), settings.get("root")

        def absolute(path: str) -> Path:
            if not isinstance(path, str) or "\0" in path:
                raise TypeError
            return Path(os.path.normpath(base / path))

        try:
            if not isinstance(sources, list):
                raise TypeError
            return cls(
                [absolute(source) for source in sources],
                None if root is None else absolute(root),
                Selection.from_json(settings.get("selection", {})),
                settings.get("cutting") == CUTTING,
            )
        except (TypeError, ValueError, AttributeError):
            raise InputError(
                f"the index {folder.path} is damaged: its settings are not what was written: "
                f"{BUILD_AGAIN}"
            ) from None


def scan_again(sources: Provenance) -> SourceTree:
    """Return what the sources of an index hold now.

    A source that is missing or cannot be read counts as unreadable, beside others that can.
    Raises InputError where none can.
    """
    from ..sources import source_root
    from ..sources.paths import collection_file, existing_paths, passage_path
    from ..sources.scan import scan

    missing: dict[Path, str] = {}
    for path in sources.paths:
        try:
            collection = collection_file(*existing_paths([path]))
        except InputError as error:
            missing[path] = str(error)
            continue
        if collection and not os.access(collection, os.R_OK):
            missing[path] = os.strerror(errno.EACCES)
    present = [path for path in sources.paths if path not in missing]
    root = sources.root or source_root(sources.paths)
    tree = scan(present or sources.paths, root, sources.selection)
    for path, reason in missing.items():
        tree.skipped[passage_path(path, root)] = reason
        tree.unreadable.add(passage_path(path, root))
    tree.sources = sources.paths
    return tree


def settings_of(tree: SourceTree, index: Path) -> dict[str, Any]:
    """Return the settings of an index at `index` that is built from a tree."""
    recipe = {"selection": tree.selection.to_json(), "cutting": CUTTING}
    return _locations(tree.sources, tree.root, index) | recipe


def record(folder: IndexFolder, tree: SourceTree) -> None:
    """Remember the tree as the index's sources."""
    _store(folder, settings_of(tree, folder.path))


def record_more(folder: IndexFolder, tree: SourceTree) -> None:
    """Remember the tree's sources beside those that the index has; nothing where it has none.

    A file that one of its folders gives anyway is not remembered as a source of its own.
    """
    before = Provenance.of(folder)
    if before.paths:
        given = _given_anyway(folder, before, tree)
        sources = list(dict.fromkeys([*before.paths, *(s for s in tree.sources if s not in given)]))
        _store(folder, folder.settings | _locations(sources, tree.root, folder.path))


def _given_anyway(folder: IndexFolder, sources: Provenance, tree: SourceTree) -> set[Path]:
    """Return the files among a tree's sources that the sources of an index give as well."""
    states = folder.file_states()
    paths = {path: Path(file.path_on_disk) for path, file in tree.files.items() if file.explicit}
    read = {path for path in paths if path in states and not states[path].skipped}
    if not read:
        return set()
    return {paths[path] for path in read & scan_again(sources).files.keys()}


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
