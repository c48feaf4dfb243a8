"""Run searches that arrive together as one batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import TimeLimitError
from .limits import Overloaded

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

MAX_BATCH = 32  # queries per batch


@dataclass(frozen=True)
class _Pending(Generic[Key, Answer]):
    key: Key
    query: str
    future: asyncio.Future[Answer]


class Batcher(Generic[Key, Answer]):
    """Runs queries with the same key (the same search options) together, in one thread.

    No query waits for a batch to fill: whenever the thread is free it takes all waiting queries
    that have the key of the oldest one, so batches grow with the load. One thread is faster than
    two, which would halve the batches.

    When a batch fails, each of its queries runs again alone, so that only the bad ones fail; not
    when its time was over, which is the fault of what they share.
    """

    def __init__(
        self,
        run_batch: Callable[[Key, list[str]], Sequence[Answer]],
        max_waiting: int = 1024,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Make a batcher.

        Args:
            run_batch: Returns one answer per query; called in a thread.
            max_waiting: Number of queries that may wait.
            observe: Called with the size of each batch.
        """
        self._run_batch, self._max_waiting, self._observe = run_batch, max_waiting, observe
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._waiting: deque[_Pending[Key, Answer]] = deque()
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return the number of queries that wait."""
        return len(self._waiting)

    async def submit(self, key: Key, query: str) -> Answer:
        """Return the answer to a query.

        Raises Overloaded when too many wait, and whatever `run_batch` raises.
        """
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded("too many searches at once: try again in a second")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(key, query, future))
        self._start_next()
        return await future

    async def close(self) -> None:
        """Answer the queries that wait, then stop."""
        while self._running is not None:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)  # lets the next batch start
        self._pool.shutdown()

    def _start_next(self) -> None:
        while self._waiting and self._running is None:
            if batch := self._take_batch():
                self._running = asyncio.create_task(self._run(batch))
                self._running.add_done_callback(self._finish)

    def _take_batch(self) -> list[_Pending[Key, Answer]]:
        """Remove the next batch from the queue, and the queries whose clients have left."""
        key = self._waiting[0].key
        batch: list[_Pending[Key, Answer]] = []
        others: list[_Pending[Key, Answer]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            pending = self._waiting.popleft()
            if not pending.future.done():
                (batch if pending.key == key else others).append(pending)
        self._waiting.extendleft(reversed(others))
        return batch

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._running = None
        self._start_next()

    async def _run(self, batch: list[_Pending[Key, Answer]]) -> None:
        loop = asyncio.get_running_loop()
        self._observe(len(batch))
        queries = [pending.query for pending in batch]
        try:
            answers = await loop.run_in_executor(self._pool, self._run_batch, batch[0].key, queries)
        except Exception as error:
            if len(batch) == 1 or isinstance(error, TimeLimitError):
                for pending in batch:
                    _settle(pending.future, error=error)
                return
            for pending in batch:
                await self._run([pending])
            return
        for pending, answer in zip(batch, answers, strict=True):
            _settle(pending.future, answer)


def _settle(future: asyncio.Future, answer: object = None, error: Exception | None = None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
