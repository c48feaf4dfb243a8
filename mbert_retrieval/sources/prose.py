"""Prose cut at its headings, and below them into runs of paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .units import Unit

MAX_WORDS = 200  # of one passage, unless one line alone has more

_HASHES = re.compile(r" {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})")
_UNDERLINES = {"markdown": re.compile(r" {0,3}(=+|-+)\s*$")}
_ANY_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}\s*$")
UNDERLINED = frozenset({"restructuredtext", "text", "asciidoc"})


def prose_units(lines: Sequence[str], language: str) -> list[Unit]:
    """Sections of at most about `MAX_WORDS` words, named by the headings above them."""
    units: list[Unit] = []
    bounds = [*_headings(lines, language), (len(lines) + 1, 0, "")]
    if bounds[0][0] > 1:
        units += _runs(lines, 1, bounds[0][0] - 1, "")
    path: list[tuple[int, str]] = []
    for (start, level, title), (following, _, _) in pairwise(bounds):
        path = [above for above in path if above[0] < level] + [(level, title)]
        name = " > ".join(title for _, title in path if title)
        units += _runs(lines, start, following - 1, name)
    return units


def _headings(lines: Sequence[str], language: str) -> Iterator[tuple[int, int, str]]:
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
    """Lines start to end: whole paragraphs while they fit, a long paragraph line by line."""
    first, held = start, 0
    for head, tail in _paragraphs(lines, start, end):
        words = sum(len(lines[number - 1].split()) for number in range(head, tail + 1))
        if held and held + words > MAX_WORDS:
            yield Unit(first, head - 1, "section", name)
            first, held = head, 0
        if words <= MAX_WORDS:
            held += words
            continue
        for number in range(head, tail + 1):
            words = len(lines[number - 1].split())
            if held and held + words > MAX_WORDS:
                yield Unit(first, number - 1, "section", name)
                first, held = number, 0
            held += words
    yield Unit(first, end, "section", name)


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
