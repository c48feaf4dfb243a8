"""`FileState`: a source file as it was when it was indexed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .recorded import check_types


@dataclass(frozen=True)
class FileState:
    """A source file or collection as it was when it was indexed.

    Args:
        path: The path, as passages of the file have it.
        size: Bytes.
        mtime_ns: Modification time in nanoseconds since the epoch.
        sha256: SHA-256 of the content, in hexadecimal.
        skipped: Why the file was not indexed, or could not be read the last time; "" if it was.
        complete: Whether the index has all its passages. If not, the next update reads it again.

    Example:
        >>> FileState("src/a.py", 10, 1_700_000_000_000_000_000, "ab").skipped
        ''
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    skipped: str = ""
    complete: bool = True

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> FileState:
        """Return the state in a row of the store. Raises sqlite3.DatabaseError if it is damaged."""
        check_types(row, (str, int, int, str, str, int), f"table files: {row[0]!r}")
        return cls(*row)
