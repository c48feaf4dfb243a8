"""Hits as grep prints matches, so that what reads grep's output reads this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..types import Hit
from .console import visible
from .snippets import Mark, MarkedLine, answering_lines, marked_lines
from .terminal import from_here, style_of


def print_lines(
    hits: Sequence[Hit], marks: Mapping[str, Sequence[Mark]], root: Path | None, console: Console
) -> None:
    """`path:line:text`, best passage first; of each passage the lines that answer."""
    for place, number, line in _lines(hits, marks, root):
        text = Text(line.text)
        for start, end, heat in line.marks:
            text.stylize(style_of(heat), start, end)
        row = Text.assemble(
            (place, "magenta"), (":", "cyan"), (str(number), "green"), (":", "cyan")
        )
        _print(console, row + text)


def print_files(hits: Sequence[Hit], root: Path | None, console: Console) -> None:
    """Each file once, the one with the best passage first."""
    for place in dict.fromkeys(_place(hit, root) for hit in hits):
        _print(console, Text(place, "magenta"))


def print_counts(
    hits: Sequence[Hit], marks: Mapping[str, Sequence[Mark]], root: Path | None, console: Console
) -> None:
    """`path:count`: how many lines `print_lines` prints of each file."""
    counts: dict[str, int] = {}
    for place, _, _ in _lines(hits, marks, root):
        counts[place] = counts.get(place, 0) + 1
    for place, count in counts.items():
        row = Text.assemble((place, "magenta"), (":", "cyan"), str(count))
        _print(console, row)


def _lines(
    hits: Sequence[Hit], marks: Mapping[str, Sequence[Mark]], root: Path | None
) -> Iterator[tuple[str, int, MarkedLine]]:
    """(place, line number, line), each line once, where passages overlap."""
    seen: set[tuple[str, int]] = set()
    for hit in hits:
        place, first = _place(hit, root), hit.start_line or 1
        lines = marked_lines(hit, marks[hit.id], as_is=True)
        for offset in answering_lines(lines):
            if (place, first + offset) not in seen:
                seen.add((place, first + offset))
                yield place, first + offset, lines[offset]


def _print(console: Console, row: Text) -> None:
    """To a program as it is: Rich would expand tabs."""
    if console.is_terminal:
        console.print(row, soft_wrap=True)
    else:
        print(row.plain)


def _place(hit: Hit, root: Path | None) -> str:
    return visible(hit.id if hit.path is None else from_here(hit.path, root)).replace("\n", " ")
