"""Changes to the index, one at a time, in a thread of their own beside the searches."""

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

MOST_WAITING = 32
NICENESS = 10  # of the thread that writes: searches go first

Result = TypeVar("Result")


class _Stopped(KeyboardInterrupt):
    """The service ends: `Index` keeps what was done so far."""


class Writes:
    """committed: called in the writing thread after each change."""

    def __init__(self, path: Path, committed: Callable[[], None]) -> None:
        self._path, self._committed = path, committed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write", initializer=_give_way)
        self._stopping = threading.Event()
        self._waiting = 0
        self._index: Index | None = None

    async def add(self, passages: Sequence[Passage]) -> Changes:
        return await self._run(lambda index: index.add(passages, self._heed))

    async def delete(self, ids: Sequence[str]) -> int:
        return await self._run(lambda index: index.delete(ids))

    async def change(self, change: Callable[[Index, Progress], Result]) -> Result:
        """Any other change. It calls the second argument with its progress, often."""
        return await self._run(lambda index: change(index, self._heed))

    async def close(self) -> None:
        """Let the change that runs keep what it has done, drop those that wait."""
        self._stopping.set()
        await asyncio.to_thread(self._pool.shutdown, True, cancel_futures=True)

    async def _run(self, change: Callable[[Index], Result]) -> Result:
        if self._waiting >= MOST_WAITING or self._stopping.is_set():
            raise Overloaded("too many changes at once: try again in a few seconds")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            # a client that leaves does not stop a change: it is whole or not at all
            return await asyncio.shield(loop.run_in_executor(self._pool, self._change, change))
        finally:
            self._waiting -= 1

    def _change(self, change: Callable[[Index], Any]) -> Any:
        if self._index is None or not self._index.folder.is_newest():
            # its own, with encoders of its own: readers share theirs undisturbed
            self._index = Index.open(self._path) if self._index is None else self._index.reopen()
        try:
            return change(self._index)
        except _Stopped:
            raise Overloaded("the service is stopping: send the change again") from None
        finally:
            self._committed()

    def _heed(self, done: int) -> None:
        if self._stopping.is_set():
            raise _Stopped


def _give_way() -> None:
    """On Linux a thread has a niceness of its own, and the threads that it starts inherit it."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
