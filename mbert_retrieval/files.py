"""Files on the disk: replaced atomically, forced to the disk, and checked for changes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from threading import get_ident
from typing import BinaryIO

SETTLED_NS = 2 * 10**9  # the coarsest timestamps of common file systems (FAT) are 2 s apart


def sync_file(path: Path) -> None:
    """Force the bytes of a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force the entries of a folder (names created, renamed, removed) to the disk.

    A folder that may be written but not read cannot be opened for this, and is left to the system.
    """
    with suppress(PermissionError):
        sync_file(path)


def make_folder(path: Path, mode: int = 0o777, exist_ok: bool = False) -> None:
    """Make a folder and the folders above it, so that their names survive a power cut.

    Args:
        path: The folder.
        mode: Its permissions.
        exist_ok: Whether it may exist already.

    Raises:
        OSError: As `Path.mkdir`.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=exist_ok)
    for folder in missing:
        sync_folder(folder.absolute().parent)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` when the `with` block ends.

    After a crash, `path` holds either all of its old bytes or all of the new ones. If the block
    raises, `path` stays as it was. The new file is created beside `path` under a name of its own
    (`<name>.<process>-<thread>.new`), so that concurrent writers do not disturb each other, and a
    symbolic link with that name is removed, not followed.

    Args:
        path: The file to replace; it need not exist. A symbolic link is itself replaced.

    Yields:
        The new file, open for writing bytes.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.new")
    unfinished.unlink(missing_ok=True)
    try:
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_in(folder: Path) -> int:
    """Return the total size of all files in a folder, while others may come and go.

    A file with several names (hard links) is counted once.
    """
    sizes: dict[tuple[int, int], int] = {}
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            status = file.stat()
            if S_ISREG(status.st_mode):
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def is_settled(mtime_ns: int) -> bool:
    """Return whether a file's modification time is old enough to identify its content.

    A file that was modified less than SETTLED_NS ago can change again and keep its timestamp, so
    its size and modification time do not yet prove that it is unchanged.

    Args:
        mtime_ns: Modification time in nanoseconds since the epoch, as in `os.stat_result`.

    Returns:
        True for a modification time of more than SETTLED_NS ago.
    """
    return time.time_ns() - mtime_ns > SETTLED_NS
