"""Split prose at its headings, and the text below a heading into runs of paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from .line_spans import LineSpan

MAX_TITLE = 200  # characters of a heading; each passage below it repeats them
MAX_WORDS = 200  # of a passage, unless a single line has more
OVERLAP_WORDS = 40  # at most so many words of a passage are repeated in the next

UNDERLINED = frozenset({"restructuredtext", "text", "asciidoc"})  # beside Markdown
_HASHES = re.compile(r" {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*)")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})")
_MARKDOWN_UNDERLINE = re.compile(r" {0,3}(=+|-+)\s*$")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}\s*$")


class Heading(NamedTuple):
    """A heading of a document.

    Args:
        line: Its line, counted from 1.
        level: 1 for the highest; 0 for the title of a page.
        title: Its text.
    """

    line: int
    level: int
    title: str


def split_by_headings(lines: Sequence[str], headings: Sequence[Heading]) -> list[LineSpan]:
    """Return the sections of a document, of at most about `MAX_WORDS` words.

    A section is named by its heading and those above. If a line has several headings, all count.
    """
    spans: list[LineSpan] = []
    bounds = [*headings, Heading(len(lines) + 1, 0, "")]
    if bounds[0].line > 1:
        spans += _split_paragraphs(lines, 1, bounds[0].line - 1, "")
    path: list[Heading] = []
    for heading, following in pairwise(bounds):
        path = [above for above in path if above.level < heading.level] + [heading]
        name = " > ".join(above.title[:MAX_TITLE] for above in path if above.title)
        if following.line > heading.line:
            spans += _split_paragraphs(lines, heading.line, following.line - 1, name)
    return spans


def find_headings(lines: Sequence[str], language: str) -> Iterator[Heading]:
    """Yield the headings of Markdown, reStructuredText, AsciiDoc or plain text."""
    fence = ""
    levels: dict[str, int] = {}  # by underline, numbered in order of appearance
    for number, line in enumerate(lines, start=1):
        if language == "markdown":
            if match := _FENCE.match(line):
                if not fence:
                    fence = match["fence"]
                elif match["fence"].startswith(fence):
                    fence = ""
                continue
            if fence:
                continue
            if match := _HASHES.match(line):
                title = match["title"].strip(" \t").rstrip("#").rstrip(" \t")
                yield Heading(number, len(match["level"]), title)
                continue
        if underline := _underline(lines, number, language):
            if language == "markdown":
                level = 1 + "=-".index(underline)
            else:
                level = levels.setdefault(underline, len(levels) + 1)
            yield Heading(number, level, line.strip())


def split_words(text: str) -> Iterator[str]:
    """Yield pieces of `MAX_WORDS` words, which overlap by `OVERLAP_WORDS` words."""
    words = text.split()
    for start in range(0, max(len(words) - OVERLAP_WORDS, 1), MAX_WORDS - OVERLAP_WORDS):
        yield " ".join(words[start : start + MAX_WORDS])


def _underline(lines: Sequence[str], number: int, language: str) -> str:
    """Return the character that underlines line `number` as a heading, or ""."""
    line, below = lines[number - 1], lines[number] if number < len(lines) else ""
    above = lines[number - 2] if number > 1 else ""
    if not line.strip() or line[:1].isspace() or not below.strip():
        return ""
    if language == "markdown":
        match = _MARKDOWN_UNDERLINE.match(below)
        alone = not above.strip() and not re.match(r"[-*+>|=]", line)
        return match[1][0] if match and alone else ""
    if language not in UNDERLINED:
        return ""
    match = _UNDERLINE.match(below)
    overline = _UNDERLINE.match(above)
    fits = match and len(below.rstrip()) >= len(line.rstrip()) and not _UNDERLINE.match(line)
    return match[1] if match and fits and (overline or not above.strip()) else ""


def _split_paragraphs(lines: Sequence[str], start: int, end: int, name: str) -> Iterator[LineSpan]:
    """Yield sections of whole paragraphs; a paragraph of too many words is split at its lines.

    A section begins with the last lines of the one before, of up to `OVERLAP_WORDS` words.
    """
    first, words = start, 0
    for head, tail in _paragraphs(lines, start, end):
        counts = [(number, _count_words(lines, number)) for number in range(head, tail + 1)]
        total = sum(count for _, count in counts)
        for number, count in counts if total > MAX_WORDS else [(head, total)]:
            if words and words + count > MAX_WORDS:
                yield LineSpan(first, number - 1, "section", name)
                first, words = _overlap(lines, first, number)
                if words + count > MAX_WORDS:
                    first, words = number, 0
            words += count
    yield LineSpan(first, end, "section", name)


def _overlap(lines: Sequence[str], first: int, number: int) -> tuple[int, int]:
    """Return the first line that a section repeats, and the number of words that it repeats.

    `first` is where the section before begins, `number` is the line after its end.
    """
    begin, words = number, 0
    while begin - 1 > first and words + _count_words(lines, begin - 1) <= OVERLAP_WORDS:
        begin -= 1
        words += _count_words(lines, begin)
    while begin < number and not lines[begin - 1].strip():
        begin += 1
    return begin, words


def _count_words(lines: Sequence[str], number: int) -> int:
    return len(lines[number - 1].split())


def _paragraphs(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) line of each run of lines that are not blank."""
    first = None
    for number in range(start, end + 2):
        blank = number > end or not lines[number - 1].strip()
        if blank and first is not None:
            yield first, number - 1
            first = None
        elif not blank and first is None:
            first = number
