"""Searches that arrive together are answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from .limits import Overloaded

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

MOST = 32  # questions of a batch


@dataclass(frozen=True)
class _Asked(Generic[Key, Answer]):
    key: Key
    question: str
    future: asyncio.Future[Answer]


class Batcher(Generic[Key, Answer]):
    """Runs `answer(key, questions)` in a thread. Nobody waits for a batch to fill: the thread
    takes all that have come with one key while it was busy, so batches grow with the load. (Two
    threads halve the batches; `benchmarks/serve.py` was a seventh slower with them.)

    A question that fails in a batch is asked again alone, and its error is its own.
    """

    def __init__(
        self,
        answer: Callable[[Key, list[str]], Sequence[Answer]],
        waiting: int = 1024,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        """waiting: questions that may wait at most. observe: called with the size of a batch."""
        self._answer, self._most_waiting = answer, waiting
        self._observe = observe
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._waiting: deque[_Asked[Key, Answer]] = deque()
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    async def ask(self, key: Key, question: str) -> Answer:
        """Raises Overloaded when too many wait, and whatever `answer` raises."""
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many searches at once: try again in a second")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(key, question, future))
        self._start()
        return await future

    async def close(self) -> None:
        """Answer what waits, then stop."""
        while self._running is not None:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)  # the next batch starts where one ends
        self._pool.shutdown()

    def _start(self) -> None:
        while self._waiting and self._running is None:
            key = self._waiting[0].key
            batch: list[_Asked[Key, Answer]] = []
            others: list[_Asked[Key, Answer]] = []
            while self._waiting and len(batch) < MOST:
                asked = self._waiting.popleft()
                if not asked.future.done():  # else who asked has gone
                    (batch if asked.key == key else others).append(asked)
            self._waiting.extendleft(reversed(others))
            if batch:
                self._running = asyncio.create_task(self._run(batch))
                self._running.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running = None
        self._start()

    async def _run(self, batch: list[_Asked[Key, Answer]]) -> None:
        loop = asyncio.get_running_loop()
        self._observe(len(batch))
        try:
            questions = [asked.question for asked in batch]
            answers = await loop.run_in_executor(self._pool, self._answer, batch[0].key, questions)
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0].future, error=error)
                return
            for one in batch:
                await self._run([one])
            return
        for asked, answer in zip(batch, answers, strict=True):
            _settle(asked.future, answer)


def _settle(future: asyncio.Future, answer: object = None, error: Exception | None = None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
