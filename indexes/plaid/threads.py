"""How many threads the engine uses."""

from __future__ import annotations

import os


def thread_count() -> int:
    """The processors that this process may run on, or OMP_NUM_THREADS where that is less."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(available or 1, int(limit) if limit.isdigit() else 2**16))
