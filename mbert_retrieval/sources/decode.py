"""Read a file and decode its bytes as text."""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path

from ..errors import InputError, UnreadableError

MAX_BYTES = 1 << 20  # default limit for a file of code or prose; collections have none

# UTF-32 first, because its little-endian mark begins with that of UTF-16.
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


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a file.

    Raise InputError, with the reason alone as message, if the file is too large or not a plain file
    (a pipe is never opened), and UnreadableError if it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError("not a plain file")
        # it may have become another one since, and a pipe would be waited for
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError("not a plain file")
            size = status.st_size
            content = file.read(max_bytes + 1) if size <= max_bytes else b""
            if (size := max(size, len(content))) > max_bytes:
                raise InputError(f"too large ({size:,} bytes, the limit is {max_bytes:,})")
            return content
    except OSError as error:
        raise UnreadableError(error.strerror or "unreadable") from None


def decode(content: bytes) -> str:
    """Return a file's text with "\\n" at line ends.

    UTF-8 is read with or without a byte order mark, UTF-16 and UTF-32 with one, and any other
    encoding if the file declares it as Python, HTML and XML files can.

    Raise InputError, with the reason alone as message, for binary content and other encodings.
    """
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise InputError("binary")
    encoding = encoding or _declared(content)
    try:
        text = content.decode("utf-8-sig" if encoding in (None, "utf-8") else encoding)
        text.encode()  # some encodings can spell lone surrogates
    except UnicodeError:
        raise InputError(f"not {(encoding or 'utf-8').upper()} text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _declared(content: bytes) -> str | None:
    """Return the encoding that the first 1,024 bytes declare.

    Return None if Python has no such text encoding, or if the declaration cannot be true: it was
    read as ASCII, so the file cannot be UTF-16.
    """
    match = _DECLARATION.search(content[:1024])
    if match is None:
        return None
    name = match[match.lastindex or 1].decode("ascii")
    try:
        if b"x".decode(name, "replace") != "x":  # UTF-16, or a codec that is not of text
            return None
        return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        return None
