"""An index kept as its sources are: which files changed, and only these read and encoded again.

A file is taken as unchanged by its size and modification time, as git does; where these differ, by
its hash. A file's passages, and its state, count from one commit on: an interruption leaves whole
files behind, and the next run goes on with the others. Text that only moved to other lines keeps
its vectors (`Writer.reuse`).
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from ..errors import InputError
from ..index import Index, Progress
from ..indexes import FileState, Writer
from ..indexes.validation import content_sha256
from ..sources import source_root
from ..sources.passages import collection_passages, file_passages, read_file
from ..sources.scan import SourceFile, SourceTree, scan
from ..types import Passage
from .passages import Changes, different, reuse, store
from .provenance import is_cut_alike, remembered, selection, settings_of

SETTLED_NS = 1_000_000_000  # a file younger than this may change again within its timestamp
UNKNOWN = -1  # an mtime that no file has

Removing = Literal["nothing", "gone", "all"]


@dataclass
class Differences:
    """Between what sources hold and what an index has read of them.

    changed: files to look into; skipped: states of files that are passed over now; gone: paths.
    collections: whether any is new, changed or gone, so that all have to be read.
    """

    changed: list[tuple[str, SourceFile]] = field(default_factory=list)
    skipped: list[FileState] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    collections: bool = False

    def __bool__(self) -> bool:
        return bool(self.changed or self.skipped or self.gone or self.collections)


def differences(tree: SourceTree, states: dict[str, FileState]) -> Differences:
    """By size and modification time; nothing is read."""

    def differs(path: str, file: SourceFile) -> bool:
        state = states.get(path)
        if state is None or _was_refused(state, file):
            return True
        return (state.size, state.mtime_ns) != (file.size, file.mtime_ns)

    found = Differences()
    found.changed = [(path, file) for path, file in tree.files.items() if differs(path, file)]
    for path, reason in tree.skipped.items():
        if path not in states or states[path].skipped != reason:
            found.skipped.append(FileState(path, 0, 0, "", reason))
    known = tree.files.keys() | tree.skipped.keys() | tree.collections.keys()
    found.gone = [path for path in states if path not in known]
    found.collections = any(differs(path, file) for path, file in tree.collections.items()) or any(
        is_collection(states[path]) for path in found.gone
    )
    return found


def _was_refused(state: FileState, file: SourceFile) -> bool:
    """Whether a file that is now a source itself was passed over when it was one among others."""
    return file.explicit and bool(state.skipped)


def is_unsettled(state: FileState | None) -> bool:
    """Whether a file was read so soon after it was written that it has to be hashed once more."""
    return state is not None and state.mtime_ns == UNKNOWN


def is_collection(state: FileState) -> bool:
    """Collections are not hashed: their passages are compared one by one."""
    return not state.sha256 and not state.skipped


def follow(
    index: Index,
    tree: SourceTree,
    removing: Removing,
    again: bool = False,
    progress: Progress | None = None,
) -> Changes:
    """Bring an index up to date with its sources.

    removing: "nothing"; "gone", the passages of files that were read before and are no longer
        there; or "all", whatever does not come from the sources.
    again: read also what looks unchanged, because it is to be cut in another way.
    progress: called often, with the number of files done so far.
    Raises InputError for a broken collection, when another process writes, and as `Index.sync`.
    """
    with index.folder.writer() as writer:
        index.folder.refresh()
        states = index.folder.file_states()
        found = differences(tree, {} if again else states)
        if again:  # an interruption must not leave a mixture behind that looks whole
            writer.forget_files()
            writer.commit()
            found.gone = [path for path in states if path not in tree.files]
        following = _Following(index, writer, tree, states, again, progress)
        return following.run(found, removing)


def follow_remembered(index: Index, progress: Progress | None = None) -> Changes:
    """Bring an index up to date with the sources that it remembers. progress: as in `follow`.

    Raises InputError when it remembers none, and as `follow`.
    """
    place, settings = index.folder.path, index.folder.settings
    sources, root = remembered(settings, place)
    if not sources:
        raise InputError("the index does not know its sources: build it with mbert-index")
    again = not is_cut_alike(settings)
    tree = scan(sources, root or source_root(sources), selection(settings))
    changes = follow(index, tree, "all", again, progress)
    if again:
        index.remember(settings_of(tree, place))
    return changes


@dataclass
class _Pending:
    """A file whose passages are on their way through the encoders.

    waiting: how many are still; complete: no more will come. former: ids of the passages that it
    had, those that it still has taken off.
    """

    state: FileState | None
    former: set[str]
    waiting: int = 0
    complete: bool = False


class _Following:
    def __init__(
        self,
        index: Index,
        writer: Writer,
        tree: SourceTree,
        states: dict[str, FileState],
        again: bool,
        progress: Progress | None,
    ) -> None:
        self.index, self.writer, self.tree, self.again = index, writer, tree, again
        self.states = states
        self.changes = Changes()
        self.progress = progress
        self.pending: deque[_Pending] = deque()
        self.known: set[str] = set()  # ids in the index before, as far as they were looked up
        self.seen: set[str] = set()  # ids of collections
        self.done = 0

    def run(self, found: Differences, removing: Removing) -> Changes:
        for state in found.skipped:
            self._forget_passages(state.path)
            self.writer.set_file_state(state)
        collections = found.collections or (removing == "all" and not self.tree.collections)
        wanted = chain(self._of_files(found.changed), self._of_collections(found.collections))
        parts = self.index.encoders.encoded(wanted)
        store(self.writer, parts, self.changes, self.known, self._report, self._finish_files)
        if removing != "nothing":
            for path in found.gone:
                self._forget_passages(path)
                self.writer.forget_file(path)
        if removing == "all":
            self._delete(
                self.writer.ids_elsewhere(set(self.tree.files), self.seen if collections else None)
            )
        self.writer.compact()  # commits first what is left
        self.changes.unchanged = len(self.index.folder) - self.changes.added - self.changes.updated
        return self.changes

    def _of_files(self, changed: Iterable[tuple[str, SourceFile]]) -> Iterator[Passage]:
        """The passages that have to be encoded, file by file."""
        for path, file in changed:
            passages, state = self._read(path, file)
            if passages is None:
                self.writer.set_file_state(state)
                self._advance()
                continue
            stored = {p.id: (p, content) for p, content in self.writer.passages_of(path)}
            fresh = [p for p in passages if p.id not in stored or stored[p.id][0] != p]
            ids = {passage.id for passage in passages}
            self.known.update(stored)
            yield from self._sent([fresh], _Pending(state, stored.keys() - ids))

    def _read(self, path: str, file: SourceFile) -> tuple[list[Passage] | None, FileState]:
        """A file's passages, None when its content is what was read before; and its state."""
        before = self.states.get(path)
        selection = self.tree.selection
        mtime_ns = file.mtime_ns if time.time_ns() - file.mtime_ns > SETTLED_NS else UNKNOWN
        try:
            content = read_file(file, selection)
        except InputError as reason:
            return [], FileState(path, file.size, file.mtime_ns, "", str(reason))
        sha256 = hashlib.sha256(content).hexdigest()
        again = self.again or (before is not None and _was_refused(before, file))
        if before is not None and before.sha256 == sha256 and not again:
            return None, FileState(path, file.size, mtime_ns, sha256, before.skipped)
        try:
            passages = list(file_passages(file, path, content, selection))
        except InputError as reason:
            return [], FileState(path, file.size, mtime_ns, sha256, str(reason))
        return passages, FileState(path, file.size, mtime_ns, sha256)

    def _of_collections(self, wanted: bool) -> Iterator[Passage]:
        """The passages of all collections that are not stored just as they are."""
        for path, file in self.tree.collections.items() if wanted else ():
            state = FileState(path, file.size, file.mtime_ns, "")
            stored = set(self.index.folder.content_hashes())
            self.known.update(stored)
            records = collection_passages(file, self.tree.selection)
            batches = different(self.index.folder, records, stored, self.seen)
            yield from self._sent(batches, _Pending(state, set()))

    def _sent(self, batches: Iterable[list[Passage]], pending: _Pending) -> Iterator[Passage]:
        """Those that have no vectors in the index yet; the others are stored at once."""
        self.pending.append(pending)
        for batch in filter(None, batches):
            moved = self._free(pending, batch)
            fresh = reuse(self.writer, batch, self.changes, self.known, moved)
            pending.waiting += len(fresh)
            yield from fresh
        pending.complete = True

    def _free(self, pending: _Pending, batch: list[Passage]) -> int:
        """Delete the file's former passages whose content one of its new passages has: their
        vectors go over to it. How many."""
        path = batch[0].path
        if path is None or not pending.former:
            return 0
        contents = {content_sha256(passage) for passage in batch}
        moved = [
            passage.id
            for passage, content in self.writer.passages_of(path)
            if content in contents and passage.id in pending.former
        ]
        self.writer.delete(moved)
        pending.former -= set(moved)
        return len(moved)

    def _finish_files(self, added: int) -> None:
        """Of the files that are waited for, settle those whose passages are all stored."""
        while self.pending:
            pending = self.pending[0]
            taken = min(added, pending.waiting)
            pending.waiting -= taken
            added -= taken
            if pending.waiting or not pending.complete:
                return
            self.pending.popleft()
            self._delete(pending.former)
            if pending.state is not None:
                self.writer.set_file_state(pending.state)
            self._advance()

    def _forget_passages(self, path: str) -> None:
        self._delete([passage.id for passage, _ in self.writer.passages_of(path)])

    def _delete(self, ids: Iterable[str]) -> None:
        ids = list(ids)
        self.writer.delete(ids)
        self.changes.deleted += len(ids)

    def _advance(self) -> None:
        self.done += 1
        self._report()

    def _report(self) -> None:
        if self.progress:
            self.progress(self.done)
