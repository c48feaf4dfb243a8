"""Print hits as grep prints matches, for programs that read grep's output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..types import Hit
from .console import one_line
from .snippets import Mark, MarkedLine, answering_lines, marked_lines
from .styled import Output, Row, Style
from .terminal import from_here, style_of


def print_lines(
    hits: Sequence[Hit], marks: Sequence[Sequence[Mark]], root: Path | None, output: Output
) -> None:
    """Print `path:line:text`, for the lines that answer the query, best passage first."""
    for path, number, line in _lines(hits, marks, root):
        row = _row_of(path)
        row.append(str(number), "green")
        row.append(":", "cyan")
        styles: list[Style] = [(start, end, style_of(heat)) for start, end, heat in line.marks]
        row.extend(Row(line.text, styles))
        output.print(row)


def print_files(hits: Sequence[Hit], root: Path | None, output: Output) -> None:
    """Print each file once, the one with the best passage first."""
    for path in dict.fromkeys(_path(hit, root) for hit in hits):
        row = Row()
        row.append(path, "magenta")
        output.print(row)


def print_counts(
    hits: Sequence[Hit], marks: Sequence[Sequence[Mark]], root: Path | None, output: Output
) -> None:
    """Print `path:count`, the number of lines that `print_lines` prints per file."""
    counts: dict[str, int] = {}
    for path, _, _ in _lines(hits, marks, root):
        counts[path] = counts.get(path, 0) + 1
    for path, count in counts.items():
        row = _row_of(path)
        row.append(str(count))
        output.print(row)


def _lines(
    hits: Sequence[Hit], marks: Sequence[Sequence[Mark]], root: Path | None
) -> Iterator[tuple[str, int, MarkedLine]]:
    """Yield (path, line number, line); a line of several passages comes once."""
    seen: set[tuple[str, int]] = set()
    for hit, hit_marks in zip(hits, marks, strict=True):
        path, first = _path(hit, root), hit.passage.start_line or 1
        lines = marked_lines(hit.passage, hit_marks, as_is=True)
        for offset in answering_lines(lines):
            if (path, first + offset) not in seen:
                seen.add((path, first + offset))
                yield path, first + offset, lines[offset]


def _row_of(path: str) -> Row:
    row = Row()
    row.append(path, "magenta")
    row.append(":", "cyan")
    return row


def _path(hit: Hit, root: Path | None) -> str:
    path = hit.passage.path
    return one_line(hit.passage.id if path is None else from_here(path, root))
