"""Bring an index in sync with its sources before a query is answered, within reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import InputError, LockedError
from ..indexes import IndexFolder
from .plan import SyncPlan, plan_sync
from .provenance import Provenance, scan_again

MAX_CHANGED_FILES = 200  # a query does not wait for more
WRITER_SECONDS = 2.0  # in which another process may finish what it writes
RETRY_SECONDS = 0.02

Result = TypeVar("Result")


def plan_refresh(folder: IndexFolder) -> SyncPlan | None:
    """Look for changed files, without reading any.

    Args:
        folder: The index.

    Returns:
        How the sources differ from the index; None where the index does not know them.

    Raises:
        UntrustedError: Somebody else recorded the sources.
        InputError: None of the sources can be read, or there is too much to do before a query.
    """
    folder.check_trusted("its sources are not read")
    sources = Provenance.of(folder)
    if not sources.paths or sources.root is None:
        return None
    plan = plan_sync(scan_again(sources), folder, purpose="query")
    if not sources.is_current:
        raise InputError("another version of this program cut the files: mbert-index update")
    changed = plan.count_settled()
    if changed > MAX_CHANGED_FILES:
        raise InputError(
            f"{changed:,} files changed since they were indexed: mbert-index update reads them"
        )
    return plan


def is_needed(plan: SyncPlan) -> bool:
    """Return whether a query has to wait for a plan; not for a collection alone."""
    return bool(plan.changed or plan.skipped or plan.gone)


def after_other_writers(change: Callable[[], Result]) -> Result:
    """Run a change to an index as soon as no other process writes to it.

    Args:
        change: Raises LockedError while another process writes.

    Returns:
        What `change` returns.

    Raises:
        LockedError: The other process still writes.
    """
    deadline = time.monotonic() + WRITER_SECONDS
    while True:
        try:
            return change()
        except LockedError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_SECONDS)
