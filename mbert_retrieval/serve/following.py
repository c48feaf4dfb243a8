"""Keep what is served in step with its source files: look for changes before a search is answered.

A look lists the source files and reads none; what it sees is then read by the thread that writes.
Searches that arrive together share one look. Under load the looks take a fifth of a processor at
most: some searches are then answered without one, and say so by their age.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from ..errors import InputError
from ..index import Index
from ..sync.apply import apply_plan
from ..sync.passages import Progress
from ..sync.plan import SyncPlan
from ..sync.refresh import after_other_writers, is_needed, plan_refresh
from .limits import Overloaded
from .live import LiveIndex
from .writing import WriteQueue

SHARE = 0.2  # of the time that looks may take
BURST_SECONDS = 2.0  # of looking, after a quiet time
PAUSE_AFTER_FAILURE = 5  # times as long as it took


class SourceFollower:
    """Reads changed source files before searches, each of which waits for a limited time."""

    def __init__(self, live: LiveIndex, writes: WriteQueue, seconds: float, reads: bool) -> None:
        """Make a follower.

        Args:
            live: What is served.
            writes: Reads the changed files.
            seconds: The time that a search waits.
            reads: Whether to read changed files; otherwise they are only looked for.
        """
        self._live, self._writes, self._seconds, self._reads = live, writes, seconds, reads
        self._run: asyncio.Task[None] | None = None
        self._run_began = self._looked = -float("inf")
        self._budget, self._pause_until = BURST_SECONDS, -float("inf")
        self._in_step: float | None = None
        self._trouble = ""

    async def refresh(self) -> dict[str, Any]:
        """Return when what is served is as new as this call, or the time is over.

        Returns:
            How old it is. "as_of": when it was last in step with its sources; None where it never
            was, or does not know them. "age_s": seconds since then. "stale": why it is not newer,
            where there is a reason.
        """
        arrived = time.monotonic()
        while self._looked < arrived:
            if self._run is None:
                if time.monotonic() < self._pause_until:
                    break
                self._run_began = time.monotonic()
                self._run = asyncio.create_task(self._look_and_read())
            # one that takes long holds up only the searches that came when it began
            left = min(arrived, self._run_began) + self._seconds - time.monotonic()
            if left <= 0 or not (await asyncio.wait([self._run], timeout=left))[0]:
                return self._age(self._trouble or "changed files are being read: try again")
        return self._age(self._trouble)

    def _age(self, stale: str) -> dict[str, Any]:
        age: dict[str, Any] = {"as_of": None, "age_s": None}
        if self._in_step is not None:
            as_of = datetime.fromtimestamp(self._in_step, UTC).isoformat(timespec="milliseconds")
            age = {"as_of": as_of, "age_s": round(max(0.0, time.time() - self._in_step), 3)}
        return age | ({"stale": stale} if stale else {})

    async def close(self) -> None:
        """Wait for the look in progress; what it reads is interrupted by the queue of writes."""
        if self._run is not None:
            await asyncio.wait([self._run], timeout=self._seconds)

    async def _look_and_read(self) -> None:
        began, began_clock = time.monotonic(), time.time()
        try:
            plan = await asyncio.to_thread(self._look)
            self._spend(began, time.monotonic() - began)
            if plan is not None and is_needed(plan):
                if not self._reads:
                    raise InputError("files may have changed since they were indexed")
                await self._writes.run(lambda index, progress: _read(plan, index, progress))
            self._trouble = _unreadable(plan) if plan is not None else ""
            if plan is not None and not self._trouble:
                self._in_step = began_clock
        except (InputError, Overloaded, OSError) as error:
            self._trouble = str(error)
            now = time.monotonic()
            self._pause_until = now + PAUSE_AFTER_FAILURE * (now - began)
        finally:
            self._looked, self._run = began, None

    def _spend(self, began: float, seconds: float) -> None:
        """Pause where the looks, this one of some seconds included, took more than their share."""
        quiet = began - self._looked
        self._budget = min(BURST_SECONDS, self._budget + SHARE * quiet) - seconds
        self._pause_until = began + seconds + max(0.0, -self._budget) / SHARE

    def _look(self) -> SyncPlan | None:
        self._live.refresh()  # to what other processes have committed
        return plan_refresh(self._live.folder)


def _read(plan: SyncPlan, index: Index, progress: Progress) -> None:
    after_other_writers(lambda: apply_plan(plan, index.folder, index.encoders, progress))


def _unreadable(plan: SyncPlan) -> str:
    """Return in one line what could not be read, so that its passages are as they were; or ""."""
    if not plan.unreadable:
        return ""
    path, reason = min(plan.unreadable.items())
    others = f", and {len(plan.unreadable) - 1:,} more" if len(plan.unreadable) > 1 else ""
    return f"cannot read {path} ({reason}){others}"
