"""Apply a sync plan: read the changed files, and encode only the text that is new.

A file's passages and its state become visible in one commit, so an interruption leaves entire
files behind and the next run continues with the others. Text that only moved to other lines keeps
its vectors (`Writer.reuse`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ..errors import InputError, UnreadableError
from ..files import is_settled
from ..indexes import FileState, IndexFolder, Writer
from ..indexes.validation import content_sha256
from ..search.encoders import IndexEncoders
from ..sources.confined_reader import ConfinedReader
from ..sources.passages import collection_passages, read_file
from ..sources.scan import SourceFile
from ..types import Passage
from .passages import Changes, Progress, changed_passages, reuse_vectors, store_encoded
from .plan import UNKNOWN_MTIME, SyncPlan, plan_sync, was_refused, was_unreadable
from .provenance import Provenance, record, scan_again


def apply_plan(
    plan: SyncPlan,
    folder: IndexFolder,
    encoders: IndexEncoders,
    progress: Progress | None = None,
) -> Changes:
    """Bring an index in sync with its sources; the plan is made anew if the index has changed.

    Passages that were read from no source stay as they are.

    progress: called often, with the number of files done.
    Raises InputError for a broken collection, when another process writes, and as `Index.sync`.
    """
    with folder.writer() as writer:
        folder.refresh()
        if folder.generation != plan.generation:
            plan = plan_sync(plan.tree, folder, plan.reread, plan.purpose)
        if plan.reread:  # an interruption must not leave a mixture behind that looks complete
            writer.mark_incomplete()
            writer.commit()
        with ConfinedReader() as reader:
            if plan.changed:
                reader.start()
            return _Application(plan, folder, encoders, writer, reader, progress).run()


def sync_with_sources(
    folder: IndexFolder, encoders: IndexEncoders, progress: Progress | None = None
) -> Changes:
    """Bring an index in sync with the sources that it remembers.

    Raises InputError where it remembers none, UntrustedError where somebody else recorded them, and
    as `apply_plan`.
    """
    folder.check_trusted("it is not changed and its sources are not read")
    sources = Provenance.of(folder)
    if not sources.paths:
        raise InputError("the index does not know its sources: build it with mbert-index")
    tree = scan_again(sources)
    plan = plan_sync(tree, folder, reread=not sources.is_current)
    changes = apply_plan(plan, folder, encoders, progress)
    if plan.reread:
        record(folder, tree)
    return changes


@dataclass
class _PendingFile:
    """A file whose passages are being encoded.

    former: ids of its passages in the index that are not among its new ones.
    waiting: how many new passages are not stored yet. complete: all of them were sent.
    """

    state: FileState
    former: set[str]
    waiting: int = 0
    complete: bool = False


class _Application:
    def __init__(
        self,
        plan: SyncPlan,
        folder: IndexFolder,
        encoders: IndexEncoders,
        writer: Writer,
        reader: ConfinedReader,
        progress: Progress | None,
    ) -> None:
        self.plan, self.folder, self.encoders = plan, folder, encoders
        self.writer, self.reader, self.progress = writer, reader, progress
        self.changes = Changes()
        self.pending: deque[_PendingFile] = deque()
        self.known: set[str] = set()  # ids in the index before, as far as they were looked up
        self.source_of: dict[str, str] = {}  # by id, of the passages that are being encoded
        self.collection_ids: set[str] = set()
        self.files_done = 0

    def run(self) -> Changes:
        plan, writer = self.plan, self.writer
        for state in plan.skipped:
            if state.path not in plan.unreadable:
                self._delete(writer.ids_of(state.path))
            writer.set_file_state(state)
        encoded = self.encoders.encode(chain(self._of_files(), self._of_collections()))
        store_encoded(
            writer,
            encoded,
            self.changes,
            self.known,
            self._report,
            self._finish_files,
            self.source_of,
        )
        for path in plan.gone:
            self._delete(writer.ids_of(path))
            writer.forget_file(path)
        for path in plan.tree.collections if plan.collections else ():
            self._delete(id for id in writer.ids_of(path) if id not in self.collection_ids)
        writer.compact()  # commits the rest first
        self.changes.unreadable = len(plan.unreadable)
        self.changes.unchanged = len(self.folder) - self.changes.added - self.changes.updated
        return self.changes

    def _of_files(self) -> Iterator[Passage]:
        """Yield the passages of changed files that have to be encoded, file by file."""
        for path, file in self.plan.changed:
            passages, state = self._read(path, file)
            if passages is None:
                if state != self.plan.states.get(path):
                    self.writer.set_file_state(state)
                self._finish_file()
                continue
            stored = {p.id: p for p, _ in self.writer.passages_of(path)}
            changed = [p for p in passages if stored.get(p.id) != p]
            former = stored.keys() - {passage.id for passage in passages}
            self.known.update(stored)
            yield from self._to_encode([changed], _PendingFile(state, former))

    def _read(self, path: str, file: SourceFile) -> tuple[list[Passage] | None, FileState]:
        """Return a file's passages, None where they are to stay, and its state."""
        before = self.plan.states.get(path)
        selection = self.plan.tree.selection
        mtime_ns = file.mtime_ns if is_settled(file.mtime_ns) else UNKNOWN_MTIME
        sha256 = ""
        try:
            content = read_file(file, selection)
            sha256 = hashlib.sha256(content).hexdigest()
            if before is not None and before.sha256 == sha256 and not self._reread(before, file):
                return None, replace(before, size=file.size, mtime_ns=mtime_ns)
            passages = self.reader.passages(file, path, content, selection)
        except UnreadableError as error:
            self.plan.unreadable[path] = str(error)
            before = before or FileState(path, 0, 0, "")
            return None, replace(before, size=file.size, mtime_ns=UNKNOWN_MTIME, skipped=str(error))
        except InputError as reason:
            mtime_ns = mtime_ns if sha256 else file.mtime_ns
            return [], FileState(path, file.size, mtime_ns, sha256, str(reason))
        return passages, FileState(path, file.size, mtime_ns, sha256)

    def _reread(self, before: FileState, file: SourceFile) -> bool:
        """Return whether to read a file although its content is as before."""
        restore = not before.complete and self.plan.purpose != "query"
        refused = was_refused(before, file) or was_unreadable(before)
        return restore or refused or self.plan.reread

    def _of_collections(self) -> Iterator[Passage]:
        """Yield the passages of all collections that have to be encoded."""
        tree = self.plan.tree
        if self.plan.collections:
            self.known.update(self.folder.content_hashes())
        for path, file in tree.collections.items() if self.plan.collections else ():
            state = FileState(path, file.size, file.mtime_ns, "")
            records = collection_passages(file, tree.selection)
            stored = set(self.writer.ids_of(path))
            batches = changed_passages(self.folder, records, stored, self.collection_ids)
            yield from self._to_encode(batches, _PendingFile(state, set()))

    def _to_encode(
        self, batches: Iterable[list[Passage]], pending: _PendingFile
    ) -> Iterator[Passage]:
        """Store the passages whose vectors the index has, and yield the others."""
        self.pending.append(pending)
        for batch in filter(None, batches):
            moved = self._release_moved(pending, batch)
            sources = dict.fromkeys((passage.id for passage in batch), pending.state.path)
            unencoded = reuse_vectors(self.writer, batch, self.changes, self.known, moved, sources)
            self.source_of.update((passage.id, pending.state.path) for passage in unencoded)
            pending.waiting += len(unencoded)
            yield from unencoded
        pending.complete = True

    def _release_moved(self, pending: _PendingFile, batch: list[Passage]) -> int:
        """Delete the file's former passages whose text one of its new passages has.

        Their vectors go over to the new ones. Return how many there are.
        """
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

    def _finish_files(self, batch: Sequence[Passage]) -> None:
        """Write the states of the pending files whose passages are all stored."""
        for passage in batch:
            del self.source_of[passage.id]
        added = len(batch)
        while self.pending:
            pending = self.pending[0]
            stored = min(added, pending.waiting)
            pending.waiting -= stored
            added -= stored
            if pending.waiting or not pending.complete:
                return
            self.pending.popleft()
            self._delete(pending.former)
            self.writer.set_file_state(pending.state)
            self._finish_file()

    def _delete(self, ids: Iterable[str]) -> None:
        ids = list(ids)
        self.writer.delete(ids)
        self.changes.deleted += len(ids)

    def _finish_file(self) -> None:
        self.files_done += 1
        self._report()

    def _report(self) -> None:
        if self.progress:
            self.progress(self.files_done)
