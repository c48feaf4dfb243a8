"""`LineSpan`: the lines of a file that become one passage, and the limits of their size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

MAX_LINES = 50
MAX_CHARACTERS = 2400  # about 700 tokens of code


@dataclass(frozen=True)
class LineSpan:
    """Lines of a file that become one passage.

    Args:
        start: The first line, counted from 1.
        end: The last line, inclusive.
        kind: "function", "method", "class" (any type), "module" (a namespace, or code between
            definitions), "table" (SQL), "rule" (CSS, make), "key" (YAML, TOML), "section" (of
            prose), or "document" (a complete one).
        name: The qualified name (`Parser.feed`) or the headings (`Install > Linux`), or "".
        signature: A definition without its body, on one line, or "".
        doc: A definition's documentation, on one line, or "".
    """

    start: int
    end: int
    kind: str
    name: str = ""
    signature: str = ""
    doc: str = ""


def exceeds_limits(lines: Sequence[str], start: int, end: int) -> bool:
    """Return whether lines are too many or too long for one passage. A single line never is."""
    if start == end:
        return False
    characters = sum(len(line) + 1 for line in lines[start - 1 : end])
    return end - start >= MAX_LINES or characters > MAX_CHARACTERS


def fit_to_limits(lines: Sequence[str], spans: Iterable[LineSpan]) -> Iterator[LineSpan]:
    """Yield the spans, split where they exceed the limits, without blank lines around them."""
    for span in spans:
        pieces = split_span(lines, span.start, span.end)
        yield from trim_blank_lines(lines, (replace(span, start=a, end=b) for a, b in pieces))


def trim_blank_lines(lines: Sequence[str], spans: Iterable[LineSpan]) -> Iterator[LineSpan]:
    """Yield the spans without blank lines around them. Blank spans are dropped."""
    for span in spans:
        start, end = span.start, span.end
        while start <= end and not lines[start - 1].strip():
            start += 1
        while start <= end and not lines[end - 1].strip():
            end -= 1
        if start <= end:
            yield replace(span, start=start, end=end)


def split_span(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of pieces within the limits. Each line is in exactly one piece.

    A piece ends somewhere in the second half of what the limits allow. The next one begins at the
    line that is indented least; of several, at one after a blank line; of several, at the last.
    """
    while exceeds_limits(lines, start, end):
        last = start
        while not exceeds_limits(lines, start, last + 1):
            last += 1
        middle = start + (last - start) // 2
        split = min(range(middle + 1, last + 2), key=lambda line: _split_cost(lines, line))
        yield start, split - 1
        start = split
    yield start, end


def indentation(line: str) -> int:
    """Return the number of columns before the first character, with tab stops every 8."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _split_cost(lines: Sequence[str], line: int) -> tuple[bool, int, bool, int]:
    """Return how bad it is to begin a piece at `line`: lower is better."""
    blank_before = not lines[line - 2].strip()
    blank = not lines[line - 1].strip()
    return blank, indentation(lines[line - 1]), not blank_before, -line
