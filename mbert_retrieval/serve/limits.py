"""Limits on what one request, and all requests together, may cost."""

from __future__ import annotations

from dataclasses import dataclass

MAX_K = 1000
MAX_EXPLAINED = 100  # hits of a search with marks or explain
MAX_QUERY_LENGTH = 10_000  # characters
MAX_FILTER_LENGTH = 10_000
MAX_NAMES = 100  # languages, or paths, of one search
MAX_NAME_LENGTH = 1000
MAX_PASSAGES = 1000  # to add or delete in one request


@dataclass(frozen=True)
class Limits:
    """Limits that can be set per service.

    Attributes:
        body_bytes: Largest body of a request.
        concurrency: Requests that are answered at once; more get 503.
        search_seconds: Time for a search. It is stopped then, and gets 504; one that waits for
            twice that time gets 503.
        refresh_seconds: Time that a search waits until changed source files are read.
        idle_seconds: Time until a connection that sends no complete request is closed, or aborted
            if it does not read its answer.
    """

    body_bytes: int = 8 * 2**20
    concurrency: int = 256
    search_seconds: float = 10.0
    refresh_seconds: float = 2.0
    idle_seconds: int = 30


class Overloaded(Exception):
    """The service is too busy for the request, which can be sent again."""
