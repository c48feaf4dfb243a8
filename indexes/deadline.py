"""Time limits of searches, which hold inside SQLite too.

SQLite calls `_keep_on` every OPERATIONS steps of its virtual machine, in the thread that waits for
it. What one step may do is bounded elsewhere (see `text_patterns`), so a statement stops soon after
the time is over, or after Ctrl+C.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from ..errors import TimeLimitError

OPERATIONS = 100
P = ParamSpec("P")
Result = TypeVar("Result")


class _State(threading.local):
    """Of each thread: when its time is over, and what stopped the statement that it ran."""

    until: float | None = None
    cause: BaseException | None = None


_state = _State()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of the searches that this thread runs in a `with` block.

    Args:
        seconds: The time; an outer limit that ends earlier stays in force.

    Raises:
        TimeLimitError: In the block, soon after the time is over.

    Example:
        >>> with time_limit(0):
        ...     check_time()
        Traceback (most recent call last):
        mbert_retrieval.errors.TimeLimitError: the search took too long: use a simpler filter
    """
    before, until = _state.until, time.monotonic() + seconds
    _state.until = until if before is None else min(before, until)
    try:
        yield
    finally:
        _state.until = before


def check_time() -> None:
    """Raise TimeLimitError where the time of this thread's search is over."""
    if _state.until is not None and time.monotonic() >= _state.until:
        raise TimeLimitError("the search took too long: use a simpler filter")


def make_interruptible(connection: sqlite3.Connection) -> None:
    """Let statements of a connection end with the time of the thread that runs them."""
    connection.set_progress_handler(_keep_on, OPERATIONS)


def sql_function(function: Callable[P, Result]) -> Callable[P, Result]:
    """Make a function of SQL pass on what it raises; SQLite says only that something was raised."""

    @functools.wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            _state.cause = error
            raise

    return remembering


def cause_of(error: sqlite3.OperationalError) -> BaseException | None:
    """Return what a function of SQL or the end of the time raised; None for an error of SQLite."""
    cause, _state.cause = _state.cause, None
    interrupted = error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
    if not (interrupted or "user-defined function raised" in str(error)):
        return None
    # only Ctrl+C can come where it is not remembered
    return cause or KeyboardInterrupt()


def _keep_on() -> bool:
    """Return whether SQLite has to stop."""
    try:
        check_time()
    except BaseException as error:
        _state.cause = error
        return True
    return False
