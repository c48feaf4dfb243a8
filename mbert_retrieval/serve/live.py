"""The newest commit of an index, shared by all who search it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..index import Index

POLL_SECONDS = 0.5  # how soon a commit of another process is seen


class LiveIndex:
    """One open index for any number of searches; exchanged, never changed, when there is a newer
    commit. Who holds an earlier `view` goes on with it undisturbed."""

    def __init__(self, path: Path, reloaded: Callable[[Index], None] = lambda view: None) -> None:
        """reloaded: called with each new view, the first included.

        Raises InputError as `Index.open`."""
        self._reloaded = reloaded
        self._exchanging = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self.trouble = ""  # why the newest commit cannot be read
        self.view = Index.open(path)
        reloaded(self.view)

    def refresh(self) -> None:
        """See the newest commit. Where it cannot be read the view stays, and `trouble` says why."""
        with self._exchanging:
            try:
                if not self.view.folder.is_newest():
                    self.view = self.view.reopen()
                    self._reloaded(self.view)
                self.trouble = ""
            except (InputError, OSError) as error:
                self.trouble = str(error)

    def watch(self) -> None:
        """Refresh from now on, in a thread, until `close`."""

        def follow() -> None:
            while not self._stopping.wait(POLL_SECONDS):
                self.refresh()

        self._watcher = threading.Thread(target=follow, name="watch", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
