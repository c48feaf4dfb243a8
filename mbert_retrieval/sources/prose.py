"""Prose cut at its headings, and below them into runs of paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .line_ranges import Unit

MAX_WORDS = 200  # of one passage, unless one line alone has more
OVERLAP_WORDS = 40  # that a passage repeats of the one before

Heading = tuple[int, int, str]  # line from 1, level, title

_HASHES = re.compile(r" {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})")
_UNDERLINES = {"markdown": re.compile(r" {0,3}(=+|-+)\s*$")}
_ANY_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}\s*$")
UNDERLINED = frozenset({"restructuredtext", "text", "asciidoc"})


def sections(lines: Sequence[str], found: Sequence[Heading]) -> list[Unit]:
    """Passages of at most about `MAX_WORDS` words, named by the headings above them; of several
    headings on a line all count."""
    units: list[Unit] = []
    bounds = [*found, (len(lines) + 1, 0, "")]
    if bounds[0][0] > 1:
        units += _runs(lines, 1, bounds[0][0] - 1, "")
    path: list[tuple[int, str]] = []
    for (start, level, title), (following, _, _) in pairwise(bounds):
        path = [above for above in path if above[0] < level] + [(level, title)]
        name = " > ".join(title for _, title in path if title)
        if following > start:
            units += _runs(lines, start, following - 1, name)
    return units


def headings(lines: Sequence[str], language: str) -> Iterator[Heading]:
    """(line, level, title) of each heading."""
    fence = ""
    levels: dict[str, int] = {}  # of reStructuredText's underlines, in order of appearance
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
                yield number, len(match["level"]), match["title"]
                continue
        if mark := _underline(lines, number, language):
            level = 1 + "=-".find(mark) if language == "markdown" else levels.setdefault(mark, 0)
            if not level:
                level = levels[mark] = len(levels)
            yield number, level, line.strip()


def _underline(lines: Sequence[str], number: int, language: str) -> str:
    """The character that underlines line `number` as a heading, or ""."""
    line, below = lines[number - 1], lines[number] if number < len(lines) else ""
    above = lines[number - 2] if number > 1 else ""
    if not line.strip() or line[:1].isspace() or not below.strip():
        return ""
    if language == "markdown":
        match = _UNDERLINES["markdown"].match(below)
        alone = not above.strip() and not re.match(r"[-*+>|=]", line)
        return match[1][0] if match and alone else ""
    if language not in UNDERLINED:
        return ""
    match = _ANY_UNDERLINE.match(below)
    over = _ANY_UNDERLINE.match(above)
    fits = match and len(below.rstrip()) >= len(line.rstrip()) and not _ANY_UNDERLINE.match(line)
    return match[1] if match and fits and (over or not above.strip()) else ""


def _runs(lines: Sequence[str], start: int, end: int, name: str) -> Iterator[Unit]:
    """Lines start to end in windows: whole paragraphs while they fit, a long one line by line. A
    window begins with the last lines of the one before, up to `OVERLAP_WORDS`."""
    first, held = start, 0
    for head, tail in _paragraphs(lines, start, end):
        words = sum(_words(lines, number) for number in range(head, tail + 1))
        pieces = [(head, words)]
        if words > MAX_WORDS:
            pieces = [(number, _words(lines, number)) for number in range(head, tail + 1)]
        for number, count in pieces:
            if held and held + count > MAX_WORDS:
                yield Unit(first, number - 1, "section", name)
                first, held = _overlapping(lines, first, number)
                if held + count > MAX_WORDS:
                    first, held = number, 0
            held += count
    yield Unit(first, end, "section", name)


def word_windows(text: str) -> Iterator[str]:
    """A text of one line in pieces of `MAX_WORDS` words that overlap."""
    words = text.split()
    for start in range(0, max(len(words) - OVERLAP_WORDS, 1), MAX_WORDS - OVERLAP_WORDS):
        yield " ".join(words[start : start + MAX_WORDS])


def _overlapping(lines: Sequence[str], first: int, number: int) -> tuple[int, int]:
    """Where the window that goes on at line `number` begins, and the words before that line."""
    begin, held = number, 0
    while begin - 1 > first and held + _words(lines, begin - 1) <= OVERLAP_WORDS:
        begin -= 1
        held += _words(lines, begin)
    while begin < number and not lines[begin - 1].strip():
        begin += 1
    return begin, held


def _words(lines: Sequence[str], number: int) -> int:
    return len(lines[number - 1].split())


def _paragraphs(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """(first, last) line of each run of lines that are not blank."""
    first = None
    for number in range(start, end + 2):
        blank = number > end or not lines[number - 1].strip()
        if blank and first is not None:
            yield first, number - 1
            first = None
        elif not blank and first is None:
            first = number
