"""Print hits for people: path, name, and the lines that answer the query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..types import Hit
from .console import one_line
from .snippets import Mark, best_window, marked_lines
from .styled import Output, Row, Style

SNIPPET_LINES = 6
STRONG, CLEAR = 0.75, 0.55  # least heat of two of the three styles
LEXERS = {"cython": "python", "make": "makefile", "restructuredtext": "rst", "csv": "text"}


def print_hits(
    hits: Sequence[Hit],
    marks: Sequence[Sequence[Mark]],
    root: Path | None,
    output: Output,
    explanations: Sequence[Sequence[Row]] = (),
) -> None:
    """Print hits, best first.

    marks: per hit the spans of its text that answer. root: folder that paths are relative to.
    explanations: per hit the lines to print under its heading; may be empty.
    """
    for number, hit in enumerate(hits):
        if number:
            output.print(Row())
        output.print(heading(hit, root))
        for line in explanations[number] if explanations else ():
            output.print(line)
        for line in snippet(hit, marks[number], output.highlights):
            output.print(line, cut=True)


def heading(hit: Hit, root: Path | None) -> Row:
    """Return one line: rank, score, path and lines (else id), name or title."""
    passage = hit.passage
    text = Row()
    text.append(f"{hit.rank:>2}  ", "bold")
    text.append(f"{hit.score:<7.4g} ", "dim")
    if passage.path is None:
        text.append(one_line(passage.id), "cyan")
        name = passage.title
    else:
        location = f"{from_here(passage.path, root)}:{passage.start_line}-{passage.end_line}"
        text.append(one_line(location), "cyan")
        name = str(passage.metadata.get("name") or "")
    if name:
        text.append("  " + " ".join(one_line(name).split()), "bold")
    return text


def snippet(hit: Hit, marks: Sequence[Mark], coloured: bool) -> list[Row]:
    """Return the lines that answer best, numbered where the passage comes from a file."""
    passage = hit.passage
    lines = marked_lines(passage, marks)
    first = best_window(lines, SNIPPET_LINES)
    chosen = lines[first : first + SNIPPET_LINES]
    language = str(passage.metadata.get("language", ""))
    shown = _coloured([line.text for line in chosen], language) if coloured else None
    rows = []
    for offset, line in enumerate(chosen):
        first_line = passage.start_line
        margin = "" if first_line is None else f"{first_line + first + offset}"
        row = Row()
        row.append(f"{margin:>8}  ", "dim")
        styles = shown[offset] if shown else []
        styles += [(start, end, style_of(heat)) for start, end, heat in line.marks]
        row.extend(Row(line.text, styles))
        rows.append(row)
    return rows


def style_of(heat: float) -> str:
    """Return a style that is visible on dark and on light terminals."""
    if heat >= STRONG:
        return "bold black on yellow not dim"
    return "bold yellow not dim" if heat >= CLEAR else "underline not dim"


def _coloured(lines: Sequence[str], language: str) -> list[list[Style]] | None:
    """Return the styles of code, per line; None for prose and languages that Pygments lacks."""
    if language in ("", "text", "markdown"):
        return None
    from rich.syntax import Syntax

    syntax = Syntax("", LEXERS.get(language, language), theme="ansi_dark")
    if syntax.lexer is None:
        return None
    coloured = syntax.highlight("\n".join(lines)).split("\n", allow_blank=True)
    if len(coloured) < len(lines):
        return None
    return [[(span.start, span.end, span.style) for span in line.spans] for line in coloured]


def from_here(path: str, root: Path | None) -> str:
    """Return the path of a passage as it can be opened from the current folder.

    Relative where the current folder is inside `root` or contains the file, else absolute. The
    path is unchanged where there is no such file.
    """
    if root is None or not os.path.exists(root / path):
        return path
    here = Path.cwd()
    near = here.is_relative_to(root) or (root / path).is_relative_to(here)
    return os.path.relpath(root / path) if near else str(root / path)
