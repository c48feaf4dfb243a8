"""Read PDF as lines of text, with its outline and its pages as headings. Needs pypdf."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from .prose import Heading

PAGE_LEVEL = 99  # below every heading of the outline


def read_pdf(content: bytes) -> tuple[list[str], list[Heading]]:
    """Return the lines of all pages, and a heading per page and entry of the outline.

    Raise InputError, with the reason alone as message, if the file is damaged, encrypted or without
    text.
    """
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns about what it could repair
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError("encrypted PDF")
        pages = [page.extract_text() or "" for page in reader.pages]
        outline = list(_outline(reader, reader.outline, 1))
    except InputError:
        raise
    except Exception as error:  # pypdf raises errors of every kind for damaged files
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise InputError(f"damaged PDF ({reason})") from None
    lines: list[str] = []
    headings: list[Heading] = []
    for number, page in enumerate(pages):
        start = len(lines) + 1
        headings += [Heading(start, level, title) for on, level, title in outline if on == number]
        headings.append(Heading(start, PAGE_LEVEL, f"page {number + 1}"))
        lines += page.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not any(line.strip() for line in lines):
        raise InputError("PDF without text")
    lines = [line.encode("utf-8", "replace").decode() for line in lines]  # lone surrogates
    return lines, headings


def _outline(reader: Any, entries: list[Any], level: int) -> Iterator[tuple[int, int, str]]:
    """Yield (page counted from 0, level, title) of the outline's entries."""
    for entry in entries:
        if isinstance(entry, list):
            yield from _outline(reader, entry, level + 1)
            continue
        page = reader.get_destination_page_number(entry)
        if page is not None and entry.title:
            yield page, level, " ".join(entry.title.split())
