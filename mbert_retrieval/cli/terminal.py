"""Print hits for people: path, name, and the lines that answer the query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from ..types import Hit
from .console import one_line
from .snippets import Mark, best_window, marked_lines

SNIPPET_LINES = 6
STRONG, CLEAR = 0.75, 0.55  # least heat of two of the three styles
LEXERS = {"cython": "python", "make": "makefile", "restructuredtext": "rst", "csv": "text"}


def print_hits(
    hits: Sequence[Hit],
    marks: Sequence[Sequence[Mark]],
    root: Path | None,
    console: Console,
    explanations: Sequence[Sequence[Text]] = (),
) -> None:
    """Print hits, best first.

    marks: per hit the spans of its text that answer. root: folder that paths are relative to.
    explanations: per hit the lines to print under its heading; may be empty.
    """
    coloured = console.color_system is not None
    for number, hit in enumerate(hits):
        if number:
            console.print()
        console.print(heading(hit, root), soft_wrap=True)
        for line in explanations[number] if explanations else ():
            console.print(line, soft_wrap=True)
        for line in snippet(hit, marks[number], coloured):
            if console.is_terminal:
                console.print(line, no_wrap=True, overflow="ellipsis")
            else:
                console.print(line, soft_wrap=True)


def heading(hit: Hit, root: Path | None) -> Text:
    """Return one line: rank, score, path and lines (else id), name or title."""
    passage = hit.passage
    text = Text()
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


def snippet(hit: Hit, marks: Sequence[Mark], coloured: bool) -> list[Text]:
    """Return the lines that answer best, numbered where the passage comes from a file."""
    passage = hit.passage
    lines = marked_lines(passage, marks)
    first = best_window(lines, SNIPPET_LINES)
    chosen = lines[first : first + SNIPPET_LINES]
    language = str(passage.metadata.get("language", ""))
    shown = _coloured([line.text for line in chosen], language) if coloured else None
    rows = []
    for offset, line in enumerate(chosen):
        row = shown[offset] if shown else Text(line.text)
        for start, end, heat in line.marks:
            row.stylize(style_of(heat), start, end)
        first_line = passage.start_line
        margin = "" if first_line is None else f"{first_line + first + offset}"
        rows.append(Text.assemble((f"{margin:>8}  ", "dim"), row))
    return rows


def style_of(heat: float) -> str:
    """Return a style that is visible on dark and on light terminals."""
    if heat >= STRONG:
        return "bold black on yellow not dim"
    return "bold yellow not dim" if heat >= CLEAR else "underline not dim"


def _coloured(lines: Sequence[str], language: str) -> list[Text] | None:
    """Return the lines highlighted; None for prose and for a language that Pygments lacks."""
    if language in ("", "text", "markdown"):
        return None
    syntax = Syntax("", LEXERS.get(language, language), theme="ansi_dark")
    if syntax.lexer is None:
        return None
    coloured = list(syntax.highlight("\n".join(lines)).split("\n", allow_blank=True))
    return coloured if len(coloured) >= len(lines) else None


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
