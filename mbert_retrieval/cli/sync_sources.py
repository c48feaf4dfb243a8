"""Bring an index in sync with its sources, with a progress bar and plain messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError, UnreadableError
from ..sources.selection import EVERYTHING
from . import locate
from .build_options import BuildOptions, SelectionOptions
from .console import INTERRUPTED, message, progress_bar
from .worktrees import copy_from_worktree

if TYPE_CHECKING:
    from ..index import Index
    from ..indexes import IndexFolder
    from ..sources import Selection
    from ..sources.confined_reader import ConfinedReader
    from ..sources.scan import SourceTree
    from ..sync.passages import Changes
    from ..sync.plan import SyncPlan


def build_index(
    sources: list[Path],
    named: Path | None,
    options: BuildOptions,
    selection: SelectionOptions,
    rebuild: bool = False,
) -> tuple[Index, Changes]:
    """Make or update the index of `sources`.

    named: its folder, where the user named one. rebuild: replace an index that is there, unread.
    """
    options.check(sources)
    path = locate.index_for_sources(sources, named)
    if rebuild and os.path.lexists(path):
        return _rebuild(sources, named, path, options, selection)
    if named is None and options.is_default and selection.whole is None:
        copy_from_worktree(path)
    return _build(sources, named, path, options, selection)


def _rebuild(
    sources: list[Path],
    named: Path | None,
    path: Path,
    options: BuildOptions,
    selection: SelectionOptions,
) -> tuple[Index, Changes]:
    from ..index import Index
    from ..indexes import IndexFolder
    from ..indexes.replacement import replaced

    with replaced(path) as beside:
        built, changes = _build(sources, named, beside, options, selection)
        built.close()
    folder = IndexFolder.open(path)
    return Index(folder, built.encoders.for_folder(folder)), changes


def _build(
    sources: list[Path],
    named: Path | None,
    path: Path,
    options: BuildOptions,
    selection: SelectionOptions,
) -> tuple[Index, Changes]:
    from ..index import is_index
    from ..sync.provenance import record

    if is_index(path):
        index, plan = _plan_update(sources, named, path, options, selection)
    else:
        index, plan = _create(sources, named, path, options, selection)
    changes = apply_with_progress(plan, index)
    record(index.folder, plan.tree)
    return index, changes


def _plan_update(
    sources: list[Path],
    named: Path | None,
    path: Path,
    options: BuildOptions,
    selection_options: SelectionOptions,
) -> tuple[Index, SyncPlan]:
    from ..indexes import IndexFolder
    from ..sync.plan import plan_sync
    from ..sync.provenance import Provenance

    folder = IndexFolder.open(path)
    folder.check_trusted("it is not changed (--rebuild makes your own)")
    before = Provenance.of(folder)
    selection = selection_options.over(before.selection)
    index = options.open_existing(path, selection.documents == "whole")
    reread = not before.is_current or selection != before.selection
    tree = scan_sources(sources, None, selection, check_text=reread)
    if named is None:
        locate.check_same_sources(before.paths, path, tree.sources)
    plan = plan_sync(tree, index.folder, reread or before.root != tree.root, "build")
    check_collections(plan)
    return index, plan


def _create(
    sources: list[Path],
    named: Path | None,
    path: Path,
    options: BuildOptions,
    selection_options: SelectionOptions,
) -> tuple[Index, SyncPlan]:
    from ..index import Index
    from ..sync.plan import plan_sync
    from ..sync.provenance import settings_of

    selection = selection_options.over(EVERYTHING)
    encoders = options.load_encoders(selection.documents == "whole")
    plan = plan_sync(scan_sources(sources, None, selection, check_text=True), purpose="build")
    check_collections(plan)
    index = Index.create(
        path,
        encoders,
        engine=options.engines,
        engine_settings=options.engine_settings,
        lexical=options.lexical is not False,
        settings=settings_of(plan.tree, path),
    )
    if named is None:
        (path / ".gitignore").write_text("*\n")
    return index, plan


def add_sources(index: Index, sources: list[Path]) -> Changes:
    """Add the passages of more sources to an index; see `mbert-index add`."""
    from ..sync.plan import plan_sync
    from ..sync.provenance import Provenance, record_more

    before = Provenance.of(index.folder)
    tree = scan_sources(sources, before.root, before.selection, check_text=True)
    plan = plan_sync(tree, index.folder, purpose="add")
    check_collections(plan)
    record_more(index.folder, tree)
    return apply_with_progress(plan, index)


def update_index(index: Index) -> Changes:
    """Bring an index in sync with the sources that it remembers; see `mbert-index update`."""
    from ..sources.confined_reader import ConfinedReader
    from ..sync.plan import plan_sync
    from ..sync.provenance import Provenance, record, scan_again

    sources = Provenance.of(index.folder)
    if not sources.paths:
        raise InputError(
            f"the index {index.path} remembers no sources: use mbert-index build or add"
        )
    reread = not sources.is_current
    with interruptible("nothing was changed"):
        tree = scan_again(sources)
        with ConfinedReader() as reader:
            _check_named(tree, reader, allow_unreadable=True)
            if reread:
                _check_text(tree, reader)
    plan = plan_sync(tree, index.folder, reread)
    check_collections(plan)
    changes = apply_with_progress(plan, index)
    if reread:
        record(index.folder, tree)
    return changes


def update_before_query(index: Index) -> None:
    """Bring an index in sync with its sources before a query is answered.

    What prevents it (another process writes, a source is gone, too many files changed) is said,
    and the query is answered from what the index holds.
    """
    from ..indexes.trust import searched_as_it_is
    from ..sync.refresh import after_other_writers, is_needed, plan_refresh

    if not index.folder.is_trusted:
        message(f"note: {searched_as_it_is(index.path, index.folder.manifest.index_id)}")
        return
    try:
        plan = plan_refresh(index.folder)
        if plan is None:
            return
        if not is_needed(plan):
            report_unreadable(plan)
            return
        after_other_writers(lambda: apply_with_progress(plan, index))
    except InputError as error:
        message(f"note: the answer is from the index as it was: {error}")
        with suppress(InputError):
            index.folder.refresh()  # to what another process has committed meanwhile


def scan_sources(
    sources: Sequence[Path], root: Path | None, selection: Selection, check_text: bool
) -> SourceTree:
    """Return what the sources hold.

    Raises InputError for a named file that cannot be read and, with `check_text`, where there is
    nothing to index.
    """
    from ..sources import source_root
    from ..sources.confined_reader import ConfinedReader
    from ..sources.scan import scan

    sources = list(dict.fromkeys(source.resolve() for source in sources))
    own_root = source_root(sources)
    with interruptible("nothing was changed"):
        tree = scan(sources, root or own_root, selection)
        with ConfinedReader() as reader:
            _check_named(tree, reader, allow_unreadable=False)
            if check_text:
                _check_text(tree, reader)
    return tree


def _check_named(tree: SourceTree, reader: ConfinedReader, allow_unreadable: bool) -> None:
    """Raise InputError where a file that is a source itself cannot be indexed."""
    from ..sources.passages import read_file

    for path, file in tree.files.items():
        if not file.explicit:
            continue
        try:
            reader.passages(file, path, read_file(file, tree.selection), tree.selection)
        except InputError as reason:
            if allow_unreadable and isinstance(reason, UnreadableError):
                continue
            raise InputError(f"cannot index {file.path_on_disk}: {reason}") from None


def _check_text(tree: SourceTree, reader: ConfinedReader) -> None:
    """Raise InputError where there is no collection and no file gives a passage."""
    from ..sources.passages import read_file

    for path, file in tree.files.items():
        try:
            if reader.passages(file, path, read_file(file, tree.selection), tree.selection):
                return
        except InputError:
            continue
    if not tree.collections:
        names = ", ".join(map(str, tree.sources))
        count = len(tree.files) + len(tree.skipped)
        raise InputError(f"no text to index in {names} ({count} files skipped)")


def check_collections(plan: SyncPlan) -> None:
    """Read changed collections through, so that nothing is written where one is broken."""
    with interruptible("nothing was changed"), progress_bar("reading") as advance:
        plan.check_collections(advance)


def apply_with_progress(plan: SyncPlan, index: Index) -> Changes:
    """Apply a plan with a progress bar, and say what could not be read."""
    from ..sync.apply import apply_plan

    def state() -> str:
        return (
            f"{index.path} is intact and has {len(index):,} passages; "
            "the same command goes on from there"
        )

    with interruptible(state), progress_bar("indexing files", len(plan.changed)) as advance:
        changes = apply_plan(plan, index.folder, index.encoders, advance)
    report_unreadable(plan)
    return changes


def report_unreadable(plan: SyncPlan) -> None:
    """Say in one line what could not be read, so that its passages stay as they were."""
    if not plan.unreadable:
        return
    path, reason = min(plan.unreadable.items())
    more = len(plan.unreadable) - 1
    others = f", and {more:,} more" if more else ""
    message(
        f"note: cannot read {plan.tree.root / path} ({reason}){others}: the passages stay as they "
        "were"
    )


def skipped_files(folder: IndexFolder) -> list[dict[str, str]]:
    """Return the path of each file that gave no passages, and the reason."""
    from ..sync.provenance import Provenance

    root = Provenance.of(folder).root
    return [
        {"path": str(root / state.path if root else state.path), "reason": state.skipped}
        for state in folder.file_states().values()
        if state.skipped
    ]


@contextmanager
def interruptible(state: str | Callable[[], str]) -> Iterator[None]:
    """On Ctrl+C say what state things are in, and exit."""
    try:
        yield
    except KeyboardInterrupt:
        message(f"interrupted: {state if isinstance(state, str) else state()}")
        raise click.exceptions.Exit(INTERRUPTED) from None
