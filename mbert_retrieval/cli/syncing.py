"""An index and its sources: bring the one up to date with the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import InputError
from ..sync.provenance import is_cut_alike, remembered, selection
from .console import INTERRUPTED, message, progress_bar

if TYPE_CHECKING:
    from ..index import Index
    from ..sources import Selection
    from ..sources.scan import SourceTree
    from ..sync.apply import Differences, Removing
    from ..sync.passages import Changes

MANY = 200  # files; so many changed are not read before a query is answered


def survey(sources: list[Path], root: Path | None, chosen: Selection, again: bool) -> SourceTree:
    """What the sources hold. Raises InputError for anything in them that would break a change half
    way, and when there is nothing to index. again: everything will be read."""
    from ..sources import source_root
    from ..sources.scan import scan

    sources = list(dict.fromkeys(source.resolve() for source in sources))
    own_root = source_root(sources)
    with interruptible("nothing was changed"):
        tree = scan(sources, root or own_root, chosen)
        _check_named(tree)
        if again:
            _check_text(tree)
    return tree


def _check_named(tree: SourceTree) -> None:
    """Files that are sources themselves have to be readable."""
    from ..sources.passages import file_passages, read_file

    for path, file in tree.files.items():
        if not file.explicit:
            continue
        try:
            next(file_passages(file, path, read_file(file, tree.selection), tree.selection), None)
        except InputError as reason:
            raise InputError(f"cannot index {file.path_on_disk}: {reason}") from None


def _check_text(tree: SourceTree) -> None:
    """Raises InputError when no file and no collection gives a passage."""
    from ..sources.passages import file_passages, read_file

    for path, file in tree.files.items():
        try:
            content = read_file(file, tree.selection)
            if any(True for _ in file_passages(file, path, content, tree.selection)):
                return
        except InputError:
            continue
    if not tree.collections:
        names = ", ".join(map(str, tree.sources))
        count = len(tree.files) + len(tree.skipped)
        raise InputError(f"no text to index in {names} ({count} files skipped)")


def check_collections(tree: SourceTree, index: Index | None, again: bool) -> None:
    """Read changed collections once through, so that nothing broken in them surprises a change.
    Raises InputError for what is broken, and for an id that two of them have."""
    from ..sources.passages import collection_passages
    from ..sync.apply import differences

    if tree.files and not tree.collections:
        return
    states = index.folder.file_states() if index is not None and not again else {}
    if not differences(tree, states).collections:
        return
    seen: set[str] = set()
    with interruptible("nothing was changed"), progress_bar("reading") as advance:
        for file in tree.collections.values():
            for passage in collection_passages(file, tree.selection):
                if passage.id in seen:
                    raise InputError(
                        f"the sources hold two passages with the id {passage.id!r}: "
                        "name each once, or index them apart"
                    )
                seen.add(passage.id)
                if len(seen) % 1000 == 0:
                    advance(len(seen))
    if not seen and not tree.files:
        raise InputError(f"no text to index in {', '.join(map(str, tree.sources))}")


def bring(
    index: Index,
    tree: SourceTree,
    removing: Removing,
    again: bool,
    found: Differences | None = None,
) -> Changes:
    """`freshness.follow` with a progress bar. found: what it will find, where that is known."""
    from ..sync.apply import differences, follow

    def kept() -> str:
        return (
            f"{index.folder.path} is whole and holds {len(index.folder):,} passages; "
            "the same command goes on from there"
        )

    found = found or differences(tree, {} if again else index.folder.file_states())
    with interruptible(kept), progress_bar("indexing files", len(found.changed)) as advance:
        return follow(index, tree, removing, again, advance)


def before_query(index: Index, place: Path) -> None:
    """Follow the files of the index's sources before a query is answered. What stands in the way
    (another process writes, a source is gone, too many files changed) is said, and the query is
    answered from what the index holds."""
    from ..sources.scan import scan
    from ..sync.apply import differences, is_unsettled

    settings = index.folder.settings
    sources, root = remembered(settings, place)
    if not sources or root is None:
        return
    try:
        tree = scan(sources, root, selection(settings))
        states = index.folder.file_states()
        found = differences(tree, states)
        if not is_cut_alike(settings):
            message("note: another version of this program cut the files: mbert-index update")
            return
        if not (found.changed or found.skipped or found.gone):
            return
        many = sum(not is_unsettled(states.get(path)) for path, _ in found.changed)
        if many > MANY:
            message(
                f"note: {many:,} files changed since they were indexed: "
                "mbert-index update reads them"
            )
            return
        bring(index, tree, "gone", False, found)
    except InputError as error:
        message(f"note: the answer is from the index as it was: {error}")


def skipped_files(index: Index, place: Path) -> list[dict[str, str]]:
    """Where each file that gave no passages is, and why."""
    _, root = remembered(index.folder.settings, place)
    return [
        {"path": str(root / state.path if root else state.path), "reason": state.skipped}
        for state in index.folder.file_states().values()
        if state.skipped
    ]


@contextmanager
def interruptible(state: str | Callable[[], str]) -> Iterator[None]:
    """After Ctrl+C, say what the state of things is."""
    try:
        yield
    except KeyboardInterrupt:
        message(f"interrupted: {state if isinstance(state, str) else state()}")
        raise typer.Exit(INTERRUPTED) from None
