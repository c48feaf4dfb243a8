"""Plan a sync: compare the source files with what the index has read of them, reading nothing.

A file counts as unchanged by its size and modification time, as in git; where these differ, its
content decides when the plan is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import InputError
from ..indexes import FileState, IndexFolder
from ..sources.passages import collection_passages
from ..sources.scan import SourceFile, SourceTree
from ..types import Passage

UNKNOWN_MTIME = -1  # of a file that was read so soon after its change that it may change unnoticed


@dataclass
class SyncPlan:
    """What has to be read, by path, for an index to hold what its sources hold.

    tree: the sources. states: what the index has read, by path. generation: of the index when the
        plan was made. reread: read also what looks unchanged, because it is cut in another way.
    changed: files to look into. skipped: states of files that are skipped from now on.
    gone: files that were read before. collections: whether a collection is new, changed or gone,
        so that all of them have to be read.
    """

    tree: SourceTree
    states: dict[str, FileState]
    generation: int
    reread: bool = False
    changed: list[tuple[str, SourceFile]] = field(default_factory=list)
    skipped: list[FileState] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    collections: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changed or self.skipped or self.gone or self.collections)

    def check_collections(self, progress: Callable[[int], None]) -> None:
        """Read the collections once where they changed, before anything is written.

        Raises InputError for a broken one, for an id that comes twice, and where there is nothing
        to index at all. progress: called now and then with the number of passages read.
        """
        tree = self.tree
        if not self.collections or (tree.files and not tree.collections):
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
    tree: SourceTree, folder: IndexFolder | None = None, reread: bool = False
) -> SyncPlan:
    """Compare a tree with what an index has read of it; with nothing where there is no index.

    reread: read also what looks unchanged. Files that the index had then and the tree no longer
    has count as gone.
    """
    states = folder.file_states() if folder is not None else {}
    generation = folder.generation if folder is not None else 0
    plan = SyncPlan(tree, states, generation, reread)
    before = {} if reread else states

    def differs(path: str, file: SourceFile) -> bool:
        state = before.get(path)
        if state is None or was_refused(state, file):
            return True
        return (state.size, state.mtime_ns) != (file.size, file.mtime_ns)

    plan.changed = [(path, file) for path, file in tree.files.items() if differs(path, file)]
    for path, reason in tree.skipped.items():
        if path not in before or before[path].skipped != reason:
            plan.skipped.append(FileState(path, 0, 0, "", reason))
    if reread:
        plan.gone = [path for path in states if path not in tree.files]
    else:
        known = tree.files.keys() | tree.skipped.keys() | tree.collections.keys()
        plan.gone = [path for path in states if path not in known]
    plan.collections = any(differs(path, file) for path, file in tree.collections.items()) or any(
        path in before and is_collection(before[path]) for path in plan.gone
    )
    return plan


def was_refused(state: FileState, file: SourceFile) -> bool:
    """Return whether a file that is now a source itself was skipped as one among others."""
    return file.explicit and bool(state.skipped)


def is_collection(state: FileState) -> bool:
    """Return whether a state is of a collection, which has no hash: its passages are compared."""
    return not state.sha256 and not state.skipped
