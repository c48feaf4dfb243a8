"""One writer at a time, by a file lock that names its holder.

The lock belongs to the kernel (`flock`) and ends with its process, however that process ends: a
crash leaves nothing to clean up. The text of the file only says who has the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import InputError, LockedError

FILE = "writer.lock"


class WriterLock:
    """The lock of an index, acquired at once, until `release`.

    Raises:
        LockedError: If another process (or writer of this one) has it; the message says which.
        InputError: If the lock file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise InputError(f"cannot write to the index {folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            name = _holder(self._descriptor)
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise LockedError(
                    f"the index {folder} is being written by {name}: try again later"
                ) from None
            raise InputError(f"cannot lock {path}: {error.strerror}") from None
        holder = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # on a full disk the lock is nameless
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, (json.dumps(holder) + "\n").encode(), 0)

    def release(self) -> None:
        """Let another writer in."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
