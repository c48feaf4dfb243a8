"""`Unit`: a range of lines of a file that becomes one passage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

MAX_LINES = 50
MAX_CHARACTERS = 2400  # about 700 tokens of code


@dataclass(frozen=True)
class Unit:
    """Lines start to end, from 1, both inclusive.

    kind: "function", "method", "class" (any type), "module" (a namespace, and code between
        definitions), "table" (SQL), "rule", "key", "section" (of prose), "document" (whole).
    name: the qualified name (`Parser.feed`) or the headings (`Install > Linux`), or "".
    signature, doc: of a definition, each on one line, or "".
    """

    start: int
    end: int
    kind: str
    name: str = ""
    signature: str = ""
    doc: str = ""


def is_long(lines: Sequence[str], start: int, end: int) -> bool:
    """Whether lines start to end are too much for one passage. A single line never is."""
    if start == end:
        return False
    characters = sum(len(line) + 1 for line in lines[start - 1 : end])
    return end - start >= MAX_LINES or characters > MAX_CHARACTERS


def fitted(lines: Sequence[str], units: Iterable[Unit]) -> Iterator[Unit]:
    """The units without blank lines around them, blank ones dropped, long ones cut."""
    for unit in units:
        pieces = windows(lines, unit.start, unit.end)
        yield from trimmed(lines, (replace(unit, start=a, end=b) for a, b in pieces))


def trimmed(lines: Sequence[str], units: Iterable[Unit]) -> Iterator[Unit]:
    """The units without blank lines around them, blank ones dropped."""
    for unit in units:
        start, end = unit.start, unit.end
        while start <= end and not lines[start - 1].strip():
            start += 1
        while start <= end and not lines[end - 1].strip():
            end -= 1
        if start <= end:
            yield replace(unit, start=start, end=end)


def windows(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Lines start to end in pieces that are not too long, each line in one.

    A piece ends, in its second half, before the line that is indented least: before the last of
    them, and rather after a blank line.
    """
    while is_long(lines, start, end):
        last = start
        while not is_long(lines, start, last + 1):
            last += 1
        middle = start + (last - start) // 2
        cut = min(range(middle + 1, last + 2), key=lambda line: _cut_cost(lines, line))
        yield start, cut - 1
        start = cut
    yield start, end


def indentation(line: str) -> int:
    """Columns before the first character, tabs to multiples of 8."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _cut_cost(lines: Sequence[str], line: int) -> tuple[bool, int, bool, int]:
    """Lower is better for a piece that begins at `line`."""
    blank_before = not lines[line - 2].strip()
    blank = not lines[line - 1].strip()
    return blank, indentation(lines[line - 1]), not blank_before, -line
