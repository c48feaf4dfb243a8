"""Files that are on the disk when a function returns, and checksums of them."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (names created, renamed, removed) to the disk."""
    sync_file(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: after a crash it holds the old bytes or the new."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)  # also a link, which would be written through
    with open(temporary, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_in(folder: Path) -> int:
    """The sizes of all files in a folder, summed, while others may come and go; of a file that has
    several names (hard links) once."""
    sizes: dict[tuple[int, int], int] = {}
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            facts = file.stat()
            if S_ISREG(facts.st_mode):
                sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(sizes.values())
