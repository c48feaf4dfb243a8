"""Plan a sync: compare the source files with what the index has read of them, reading nothing.

A file counts as unchanged by its size and modification time, as in git; where these differ, its
content decides when the plan is applied. What cannot be read is not known to have changed or to be
gone, so its passages stay, and it is looked at again each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from ..indexes import FileState, IndexFolder
from ..sources.passages import collection_passages
from ..sources.scan import SourceFile, SourceTree
from ..types import Passage

EMPTY = "empty, while the index has passages of it"
UNKNOWN_MTIME = -1  # of a file that has to be looked at again although it may look unchanged

# What a sync is for, which decides how much is concluded from the sources:
# "query": read what changed. "update": also files of which passages were deleted by id.
# "build": the user names the sources anew, so one that became empty is believed to be so.
# "add": the tree is a part of the sources, so nothing is gone.
Purpose = Literal["query", "update", "build", "add"]


@dataclass
class SyncPlan:
    """What has to be read, by path, for an index to hold what its sources hold.

    tree: the sources. states: what the index has read, by path. generation: of the index when the
        plan was made. reread: read also what looks unchanged, because it is cut in another way.
    changed: files to look into. skipped: states of files that are skipped from now on.
    gone: files and collections that were read before. collections: whether a collection is new or
        changed, so that all of them have to be read.
    unreadable: reasons by path, for the files, folders and sources whose passages stay because they
        cannot be read.
    """

    tree: SourceTree
    states: dict[str, FileState]
    generation: int
    purpose: Purpose
    reread: bool = False
    changed: list[tuple[str, SourceFile]] = field(default_factory=list)
    skipped: list[FileState] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    collections: bool = False
    unreadable: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changed or self.skipped or self.gone or self.collections)

    def check_collections(self, progress: Callable[[int], None]) -> None:
        """Read the collections once where they changed, before anything is written.

        Raises InputError for a broken one, for an id that comes twice, and where there is nothing
        to index at all. progress: called now and then with the number of passages read.
        """
        tree = self.tree
        if not self.collections:
            return
        count = 0
        for count, _ in enumerate(self._unique_passages(), start=1):
            if count % 1000 == 0:
                progress(count)
        if not count and not tree.files:
            raise InputError(f"no text to index in {', '.join(map(str, tree.sources))}")

    def _unique_passages(self) -> Iterator[Passage]:
        seen: set[str] = set()
        for file in self.tree.collections.values():
            for passage in collection_passages(file, self.tree.selection):
                if passage.id in seen:
                    raise InputError(
                        f"the sources hold two passages with the id {passage.id!r}: "
                        "name each once, or index them apart"
                    )
                seen.add(passage.id)
                yield passage

    def count_settled(self) -> int:
        """Return the number of changed files, without those that are only hashed once more."""
        return sum(
            path not in self.states or self.states[path].mtime_ns != UNKNOWN_MTIME
            for path, _ in self.changed
        )


def plan_sync(
    tree: SourceTree,
    folder: IndexFolder | None = None,
    reread: bool = False,
    purpose: Purpose = "update",
) -> SyncPlan:
    """Compare a tree with what an index has read of it; with nothing where there is no index.

    reread: read also what looks unchanged. Files that the index had then and the tree no longer
    has count as gone.
    """
    states = folder.file_states() if folder is not None else {}
    generation = folder.generation if folder is not None else 0
    plan = SyncPlan(tree, states, generation, purpose, reread)
    plan.unreadable = {path: tree.skipped[path] for path in tree.unreadable}
    before = {} if reread else states

    def differs(path: str, file: SourceFile) -> bool:
        state = before.get(path)
        if state is None or was_refused(state, file):
            return True
        if was_unreadable(state) and not os.access(file.path_on_disk, os.R_OK):
            plan.unreadable[path] = state.skipped
            return False
        if not state.complete and purpose != "query":
            return True
        return (state.size, state.mtime_ns) != (file.size, file.mtime_ns)

    plan.changed = [(path, file) for path, file in tree.files.items() if differs(path, file)]
    plan.collections = any(differs(path, file) for path, file in tree.collections.items())
    skipped = dict(tree.skipped)
    if purpose != "build":
        for source in tree.empty:
            former = filter(_has_passages, states.values())
            if any(_is_below(state.path, {source}) for state in former):
                plan.unreadable[source] = skipped[source] = EMPTY
    for path, reason in skipped.items():
        if path not in before or before[path].skipped != reason:
            plan.skipped.append(FileState(path, 0, 0, "", reason))
    if purpose != "add":
        known = tree.files.keys() | tree.collections.keys() | skipped.keys()
        plan.gone = [
            path for path in states if path not in known and not _is_below(path, plan.unreadable)
        ]
    return plan


def was_refused(state: FileState, file: SourceFile) -> bool:
    """Return whether a file that is now a source itself was skipped as one among others."""
    return file.explicit and bool(state.skipped)


def was_unreadable(state: FileState) -> bool:
    """Return whether a file could not be read the last time."""
    return bool(state.skipped) and state.mtime_ns == UNKNOWN_MTIME


def _has_passages(state: FileState) -> bool:
    return not state.skipped or was_unreadable(state)


def _is_below(path: str, folders: Container[str]) -> bool:
    """Return whether a path is among the folders, or of something inside one of them.

    "." is the folder that relative paths start from.
    """
    if "." in folders and not path.startswith("/"):
        return True
    slash = len(path)
    while slash > 0:
        if path[:slash] in folders:
            return True
        slash = path.rfind("/", 0, slash)
    return False
