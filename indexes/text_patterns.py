"""LIKE, GLOB and regular expressions over text of any length, within the time of the search.

SQLite matches LIKE and GLOB in one step that nothing can interrupt, of up to the product of both
lengths: minutes for a long passage and a long pattern. So it does only short ones; the others are
matched here, a slice of the text at a time. A pattern between two `*` has a fixed length, so the
leftmost match of each piece, one after another, decides.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import InputError, TimeLimitError
from .deadline import check_time, sql_function

SHORT_PATTERN, SHORT_TEXT = 64, 4096  # characters; half a millisecond in SQLite
MAX_PATTERN = 10_000  # characters
SLICE_STEPS = 1 << 20  # comparisons between two looks at the clock: some milliseconds

_GLOB_PIECE = re.compile(r"(\*)|(\?)|\[(\^?+)(\]?+[^\]]*)\]|(.)", re.DOTALL)


@dataclass(frozen=True)
class _Piece:
    """What stands between two wildcards of any length: it matches `length` characters."""

    regex: re.Pattern[str]
    length: int

    def ends_at(self, text: str, start: int, stop: int) -> int:
        """Return the end of the leftmost match in text[start:stop], or -1."""
        steps = max(1, SLICE_STEPS // max(1, self.length))
        for first in range(start, stop - self.length + 1, steps):
            check_time()
            last = min(first + steps + self.length - 1, stop)
            if match := self.regex.search(text, first, last):
                return match.end()
        return -1


def install(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that filters call."""
    for name, function in (
        ("regexp", _regexp),
        ("glob_in_time", _glob),
        ("like_in_time", _like),
    ):
        connection.create_function(name, 2, sql_function(function), deterministic=True)


def condition(
    word: str, left: str, left_parameters: list[Any], right: str, right_parameters: list[Any]
) -> tuple[str, list[Any]]:
    """Return `left word right`, and its parameters. word: "LIKE" or "GLOB"."""
    long = f"{word.lower()}_in_time({right}, {left})"
    long_parameters = right_parameters + left_parameters
    pattern = right_parameters[0] if right == "?" else None
    if not isinstance(pattern, str) or len(pattern) > SHORT_PATTERN:
        return long, long_parameters
    return (
        f"(CASE WHEN length({left}) <= {SHORT_TEXT} THEN {left} {word} {right} ELSE {long} END)",
        [*left_parameters, *left_parameters, *right_parameters, *long_parameters],
    )


class _Match(threading.local):
    """When the match of a regular expression began that runs in a thread; else None."""

    since: float | None = None


_match = _Match()


def check_match(seconds: float) -> None:
    """Raise TimeLimitError where this thread matches one passage for longer already.

    Python's `re` has no limit of its own, but lets signal handlers run: this is for one.
    """
    if _match.since is not None and time.monotonic() - _match.since > seconds:
        raise TimeLimitError(
            f"the regular expression takes more than {seconds:g} s for one passage: "
            "write it without nested repetition, such as (a+)+"
        )


def _regexp(pattern: str, text: str) -> bool:
    """Implement SQL's `text REGEXP pattern`."""
    check_time()
    _match.since = time.monotonic()
    try:
        return re.search(pattern, text, re.MULTILINE) is not None
    finally:
        _match.since = None


def _glob(pattern: Any, text: Any) -> bool | None:
    if pattern is None or text is None:
        return None
    return _matches(_glob_pieces(_checked(pattern)), str(text))


def _like(pattern: Any, text: Any) -> bool | None:
    if pattern is None or text is None:
        return None
    return _matches(_like_pieces(_checked(pattern)), str(text))


def _checked(pattern: Any) -> str:
    pattern = str(pattern)
    if len(pattern) > MAX_PATTERN:
        raise InputError(f"a pattern of LIKE or GLOB may have {MAX_PATTERN:,} characters at most")
    return pattern


def _matches(pieces: tuple[_Piece, ...] | None, text: str) -> bool:
    """Return whether the pieces, with any text between them, are the entire text."""
    check_time()
    if pieces is None:
        return False
    first, *middle = pieces
    if not middle:
        return first.regex.fullmatch(text) is not None
    *middle, last = middle
    start, stop = first.length, len(text) - last.length
    if start > stop or not first.regex.match(text) or not last.regex.match(text, stop):
        return False
    for piece in middle:
        start = piece.ends_at(text, start, stop)
        if start < 0:
            return False
    return True


@lru_cache(maxsize=16)
def _glob_pieces(pattern: str) -> tuple[_Piece, ...] | None:
    """Return the pieces of a pattern; None for one that matches nothing, as `[a`."""
    pieces: list[list[str]] = [[]]
    for star, one, negation, members, literal in _GLOB_PIECE.findall(pattern):
        if star:
            pieces.append([])
        elif one:
            pieces[-1].append(".")
        elif members:
            pieces[-1].append(_class(negation, members))
        elif literal == "[":
            return None
        else:
            pieces[-1].append(re.escape(literal))
    return tuple(_Piece(re.compile("".join(piece), re.DOTALL), len(piece)) for piece in pieces)


def _class(negation: str, members: str) -> str:
    """Return a class of GLOB as one of a regular expression.

    members: not empty; a `]` at the beginning is a member and begins no range.
    """
    ranges, before, offset = [], "", 0
    while offset < len(members):
        member = members[offset]
        if member == "-" and before and offset + 1 < len(members):
            offset += 1
            if before <= members[offset]:
                ranges.append(f"{re.escape(before)}-{re.escape(members[offset])}")
            before = ""
        else:
            ranges.append(re.escape(member))
            before = "" if offset == 0 and member == "]" else member
        offset += 1
    return f"[{negation}{''.join(ranges)}]"


@lru_cache(maxsize=16)
def _like_pieces(pattern: str) -> tuple[_Piece, ...]:
    flags = re.DOTALL | re.IGNORECASE | re.ASCII
    return tuple(
        _Piece(re.compile(re.sub("_", ".", re.escape(piece)), flags), len(piece))
        for piece in pattern.split("%")
    )
