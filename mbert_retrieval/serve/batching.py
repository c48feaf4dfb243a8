"""Searches that arrive together are answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from .limits import Overloaded

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

MOST = 32  # questions of a batch


class Batcher(Generic[Key, Answer]):
    """Runs `answer(key, questions)` in threads. Nobody waits for a batch to fill: a free thread
    takes all that have come with one key while it was busy, so batches grow with the load.

    A question that fails in a batch is asked again alone, and its error is its own.
    """

    def __init__(
        self,
        answer: Callable[[Key, list[str]], Sequence[Answer]],
        threads: int = 1,
        waiting: int = 1024,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        """waiting: questions that may wait at most. observe: called with the size of a batch."""
        self._answer, self._threads, self._most_waiting = answer, threads, waiting
        self._observe = observe
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._waiting: deque[tuple[Key, str, asyncio.Future[Answer]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    async def ask(self, key: Key, question: str) -> Answer:
        """Raises Overloaded when too many wait, and whatever `answer` raises."""
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many searches at once: try again in a second")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, question, future))
        self._start()
        return await future

    async def close(self) -> None:
        """Answer what waits, then stop."""
        while self._running:
            await asyncio.wait(self._running)
        self._pool.shutdown()

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._threads:
            key = self._waiting[0][0]
            batch, others = [], []
            while self._waiting and len(batch) < MOST:
                asked = self._waiting.popleft()
                if not asked[2].done():  # else who asked has gone
                    (batch if asked[0] == key else others).append(asked)
            self._waiting.extendleft(reversed(others))
            if batch:
                asked_of = [(question, future) for _, question, future in batch]
                task = asyncio.create_task(self._run(key, asked_of))
                self._running.add(task)
                task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _run(self, key: Key, batch: list[tuple[str, asyncio.Future[Answer]]]) -> None:
        loop = asyncio.get_running_loop()
        self._observe(len(batch))
        try:
            questions = [question for question, _ in batch]
            answers = await loop.run_in_executor(self._pool, self._answer, key, questions)
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0][1], error=error)
                return
            for one in batch:
                await self._run(key, [one])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            _settle(future, answer)


def _settle(future: asyncio.Future, answer: object = None, error: Exception | None = None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
