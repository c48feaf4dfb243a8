"""PDF as lines of text, with its outline and pages as headings. Needs pypdf."""

from __future__ import annotations

import io
import logging
from typing import Any

from ..errors import InputError
from .prose import Heading

PAGE_LEVEL = 99  # below every heading of the outline


def pdf_lines(content: bytes) -> tuple[list[str], list[Heading]]:
    """The lines of all pages, and (line, level, title) of each page and entry of the outline.

    Raises InputError, the reason alone, for a file that is damaged or encrypted, or without text.
    """
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of what it could repair
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError("encrypted PDF")
        pages = [page.extract_text() or "" for page in reader.pages]
        outline = list(_outline(reader, reader.outline, 1))
    except InputError:
        raise
    except Exception as error:  # damaged files raise errors of every kind there
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise InputError(f"damaged PDF ({reason})") from None
    lines: list[str] = []
    headings: list[Heading] = []
    for number, page in enumerate(pages):
        start = len(lines) + 1
        headings += [(start, level, title) for place, level, title in outline if place == number]
        headings.append((start, PAGE_LEVEL, f"page {number + 1}"))
        lines += page.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not any(line.strip() for line in lines):
        raise InputError("PDF without text")
    lines = [line.encode("utf-8", "replace").decode() for line in lines]  # lone surrogates
    return lines, headings


def _outline(reader: Any, entries: list[Any], level: int) -> Any:
    """(page from 0, level, title) of the outline's entries."""
    for entry in entries:
        if isinstance(entry, list):
            yield from _outline(reader, entry, level + 1)
            continue
        page = reader.get_destination_page_number(entry)
        if page is not None and entry.title:
            yield page, level, " ".join(entry.title.split())
