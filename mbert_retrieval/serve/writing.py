"""Change the index, one change at a time, in a thread of its own beside the searches."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..index import Index
from ..sync.passages import Changes, Progress
from ..types import Passage
from .limits import Overloaded
from .live import at_newest_commit, open_index

MAX_CHANGES = 32  # that wait or run
NICENESS = 10  # of the thread that writes: searches go first

Result = TypeVar("Result")


class _Stopped(KeyboardInterrupt):
    """The service ends; as at any KeyboardInterrupt, `Index` commits what is done."""


class WriteQueue:
    """Runs changes to an index in the order in which they come."""

    def __init__(
        self, path: Path, on_commit: Callable[[], None], encoder: str | None = None
    ) -> None:
        """Make an empty queue.

        Args:
            path: Folder of the index.
            on_commit: Called in the writing thread after each change.
            encoder: See `live.open_index`.
        """
        self._path, self._on_commit, self._encoder = path, on_commit, encoder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write", initializer=_lower_priority)
        self._stopping = threading.Event()
        self._pending = 0
        self._index: Index | None = None

    async def add(self, passages: Sequence[Passage]) -> Changes:
        """Add passages; see `Index.add`. Raises Overloaded."""
        return await self.run(lambda index, progress: index.add(passages, progress))

    async def delete(self, ids: Sequence[str]) -> int:
        """Delete passages; see `Index.delete`. Raises Overloaded."""
        return await self.run(lambda index, progress: index.delete(ids))

    async def run(self, change: Callable[[Index, Progress], Result]) -> Result:
        """Run a change and return its result.

        change: must call its second argument with its progress, often; `close` interrupts it
            there.
        Raises Overloaded where too many changes wait or the service stops, and what `change`
        raises.
        """
        if self._pending >= MAX_CHANGES or self._stopping.is_set():
            raise Overloaded("too many changes at once: try again in a few seconds")
        self._pending += 1
        applied = asyncio.get_running_loop().run_in_executor(self._pool, self._apply, change)
        applied.add_done_callback(self._count_done)
        return await asyncio.shield(applied)  # a change goes on when its client leaves

    async def close(self) -> None:
        """Interrupt the change that runs, which keeps what it has done; drop those that wait."""
        self._stopping.set()
        await asyncio.to_thread(self._pool.shutdown, True, cancel_futures=True)

    def _apply(self, change: Callable[[Index, Progress], Any]) -> Any:
        # an Index with encoders of its own, so that searches share theirs undisturbed
        if self._index is None:
            self._index = open_index(self._path, self._encoder)
        else:
            self._index = at_newest_commit(self._index)
        try:
            return change(self._index, self._stop_if_closing)
        except _Stopped:
            raise Overloaded("the service is stopping: send the change again") from None
        finally:
            self._on_commit()

    def _count_done(self, applied: asyncio.Future[Any]) -> None:
        self._pending -= 1

    def _stop_if_closing(self, done: int) -> None:
        if self._stopping.is_set():
            raise _Stopped


def _lower_priority() -> None:
    """Let other threads go first; on Linux niceness is per thread, and inherited by its threads."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
