"""A file's bytes as text, or the reason why they are not."""

from __future__ import annotations

import codecs
import os
import re
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

_DECLARATION = re.compile(
    rb"""^[ \t\f]*\#.*?coding[:=][ \t]*([-\w.]+)           # PEP 263
    | ^\s*<\?xml[^>]+encoding\s*=\s*["']([-\w.]+)
    | <meta[^>]+charset\s*=\s*["']?([-\w.]+)
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Skipped:
    """A file inside a folder that was left out. path: as it was walked; reason: a few words."""

    path: str
    reason: str


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file. Raises InputError, the reason alone, when it is too large, unreadable,
    or not a plain file (a pipe is never opened)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("not a plain file")
        if status.st_size > max_bytes:
            raise InputError(f"too large ({status.st_size:,} bytes, the limit is {max_bytes:,})")
        return path.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or "unreadable") from None


def decode(content: bytes) -> str:
    """A file's text, its line ends made "\\n".

    UTF-8, with or without a mark; UTF-16 and UTF-32 by their marks; another encoding where the file
    declares it as Python, HTML and XML files may.
    Raises InputError, the reason alone, for anything else: binary, or another encoding.
    """
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise InputError("binary")
    encoding = encoding or _declared(content)
    try:
        text = content.decode("utf-8-sig" if encoding in (None, "utf-8") else encoding)
    except UnicodeDecodeError:
        raise InputError(f"not {(encoding or 'utf-8').upper()} text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _declared(content: bytes) -> str | None:
    """The encoding that a file's beginning declares, if Python has such a text encoding and the
    declaration, which was read as ASCII, can be true."""
    match = _DECLARATION.search(content[:1024])
    if match is None:
        return None
    name = match[match.lastindex or 1].decode("ascii")
    try:
        if b"x".decode(name, "replace") != "x":  # UTF-16; and not all encodings there are of text
            return None
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        return None


def display_path(path: str | os.PathLike[str]) -> str:
    """A path as Unicode with forward slashes; bytes in it that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace").replace(os.sep, "/")
