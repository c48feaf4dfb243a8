"""The newest commit of an index, shared by all searches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..index import Index
from ..indexes import IndexFolder
from ..search.encoders import IndexEncoders

POLL_SECONDS = 0.5  # how soon a commit of another process is seen


def at_newest_commit(index: Index) -> Index:
    """Return `index`, or where there is a newer commit, that commit opened with its encoders.

    Raises InputError as `Index.open`.
    """
    folder = index.folder
    return index if folder.is_newest() else index.reopen()


def open_index(path: Path, encoder: str | None) -> Index:
    """Open an index. encoder: the encoder to load in place of the one that it names."""
    folder = IndexFolder.open(path)
    return Index(folder, IndexEncoders(folder, name=encoder))


class LiveIndex:
    """An open index that follows newer commits.

    `index` is replaced, never changed, when there is a newer commit: a search that works with an
    earlier one goes on undisturbed.

    Attributes:
        index: The newest commit that could be opened.
        trouble: Why the newest commit cannot be read; empty where it can.
    """

    def __init__(
        self,
        path: Path,
        on_commit: Callable[[IndexFolder], None] = lambda folder: None,
        encoder: str | None = None,
    ) -> None:
        """Open the index at `path`. Raises InputError as `Index.open`.

        Args:
            path: Folder of the index.
            on_commit: Called with each commit that is opened, the first included.
            encoder: See `open_index`.
        """
        self._on_commit = on_commit
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self.trouble = ""
        self.index = open_index(path, encoder)
        on_commit(self.folder)

    @property
    def folder(self) -> IndexFolder:
        """Storage of the commit that is served."""
        return self.index.folder

    @property
    def commit(self) -> int:
        """Number of the commit that is served."""
        return self.folder.generation

    def refresh(self) -> None:
        """Open the newest commit. Where it cannot be read `index` stays, and `trouble` says why."""
        with self._refreshing:
            try:
                newest = at_newest_commit(self.index)
                if newest is not self.index:
                    self.index = newest
                    self._on_commit(self.folder)
                self.trouble = ""
            except (InputError, OSError) as error:
                self.trouble = str(error)

    def watch(self) -> None:
        """Refresh from now on, in a thread, until `close`."""

        def poll() -> None:
            while not self._stopping.wait(POLL_SECONDS):
                self.refresh()

        self._watcher = threading.Thread(target=poll, name="watch", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
