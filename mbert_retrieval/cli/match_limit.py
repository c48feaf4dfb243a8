"""Stop a regular expression that does not end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

MATCH_SECONDS = 3.0  # for one passage
TICK_SECONDS = 0.5


@contextmanager
def limited_matches() -> Iterator[None]:
    """Raise TimeLimitError in a `with` block where one passage takes too long to match.

    For the main thread, of which it uses the alarm signal.
    """
    from ..indexes.text_patterns import check_match

    before = signal.signal(signal.SIGALRM, lambda number, frame: check_match(MATCH_SECONDS))
    signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
