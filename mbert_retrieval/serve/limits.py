"""What one request, and all together, may cost."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_K = 1000
MOST_EXPLAINED = 100  # hits of a search with marks or explain
LONGEST_QUERY = 10_000  # characters
LONGEST_FILTER = 10_000
MOST_NAMES, LONGEST_NAME = 100, 1000  # languages, or paths, that a search is narrowed to
MOST_PASSAGES = 1000  # of one request to add or to delete


@dataclass(frozen=True)
class Limits:
    """body: bytes of a request; concurrency: requests answered at once, others get 503;
    seconds: for a search, counted from its arrival; idle: seconds until a connection that asks
    nothing, or not to the end, is closed."""

    body: int = 8 * 2**20
    concurrency: int = 256
    seconds: float = 30.0
    idle: int = 30


class Overloaded(Exception):
    """Too much at once: to be tried again."""
