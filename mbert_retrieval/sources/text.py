"""A file's bytes as text, or the reason why they are not."""

from __future__ import annotations

import codecs
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

MAX_BYTES = 1 << 20  # of one file of code or prose; collections (.jsonl) have no limit

# The longer marks first: UTF-32's begins with UTF-16's.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Skipped:
    """A file inside a folder that was left out. path: as it was walked; reason: a few words."""

    path: str
    reason: str


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file, its line ends made "\\n".

    UTF-8, with or without a mark; UTF-16 and UTF-32 by their marks.
    Raises InputError, the reason alone, for anything else: too large, binary, another encoding,
    unreadable, not a plain file (a pipe is never opened).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("not a plain file")
        if status.st_size > max_bytes:
            raise InputError(f"too large ({status.st_size:,} bytes, the limit is {max_bytes:,})")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or "unreadable") from None
    return decode(content)


def decode(content: bytes) -> str:
    """Bytes to text as `read_text` does. Raises InputError, the reason alone."""
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise InputError("binary")
    try:
        text = content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"not {(encoding or 'utf-8').upper()} text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def display_path(path: str | os.PathLike[str]) -> str:
    """A path as Unicode with forward slashes; bytes in it that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace").replace(os.sep, "/")
