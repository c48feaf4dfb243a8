"""A connection of SQLite that several threads use, one at a time.

SQLite has a lock of its own for this, which Python takes while it has the interpreter's. A
statement that calls a function in Python (`deadline`, `text_patterns`) has the first and waits for
the second, so with another thread it would wait for ever. Here a thread waits for its turn before
SQLite does, without the interpreter's lock.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import Any


class SharedConnection(sqlite3.Connection):
    """For statements that only read; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = threading.Lock()

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement as soon as it is this thread's turn."""
        return self.cursor(_Cursor).execute(sql, parameters)


class _Cursor(sqlite3.Cursor):
    connection: SharedConnection

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        with self.connection.turn:
            super().execute(sql, parameters)
        return self

    def fetchone(self) -> Any:
        with self.connection.turn:
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with self.connection.turn:
            return super().fetchall()

    def __next__(self) -> Any:
        with self.connection.turn:
            return super().__next__()
