"""Hits for people: where, what it is called, and the lines that answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from ..types import Hit
from .console import visible
from .snippets import Mark, best_window, marked_lines

SNIPPET_LINES = 6
STRONG, CLEAR = 0.75, 0.55  # heat
NO_REASONS: Mapping[str, Sequence[Text]] = {}
LEXERS = {"cython": "python", "make": "makefile", "restructuredtext": "rst", "csv": "text"}


def show(
    hits: Sequence[Hit],
    marks: Mapping[str, Sequence[Mark]],
    root: Path | None,
    console: Console,
    reasons: Mapping[str, Sequence[Text]] = NO_REASONS,
) -> None:
    """Print hits, best first.

    marks: of each hit, by id, the pieces of its text that answer. root: what paths are relative
    to. reasons: lines under the heading of a hit, by id.
    """
    coloured = console.color_system is not None
    for number, hit in enumerate(hits):
        if number:
            console.print()
        console.print(heading(hit, root), soft_wrap=True)
        for line in reasons.get(hit.id, ()):
            console.print(line, soft_wrap=True)
        for line in snippet(hit, marks[hit.id], coloured):
            if console.is_terminal:
                console.print(line, no_wrap=True, overflow="ellipsis")
            else:
                console.print(line, soft_wrap=True)


def heading(hit: Hit, root: Path | None) -> Text:
    text = Text()
    text.append(f"{hit.rank:>2}  ", "bold")
    text.append(f"{hit.score:<8.4g}", "dim")
    if hit.path is None:
        text.append(visible(hit.id), "cyan")
        name = hit.title
    else:
        place = f"{from_here(hit.path, root)}:{hit.start_line}-{hit.end_line}"
        text.append(visible(place), "cyan")
        name = str(hit.metadata.get("name") or "")
    if name:
        text.append("  " + " ".join(visible(name).split()), "bold")
    return text


def snippet(hit: Hit, marks: Sequence[Mark], coloured: bool) -> list[Text]:
    """The lines that answer best, numbered where the passage stands in a file."""
    lines = marked_lines(hit, marks)
    first = best_window(lines, SNIPPET_LINES)
    chosen = lines[first : first + SNIPPET_LINES]
    language = str(hit.metadata.get("language", ""))
    shown = _coloured([line.text for line in chosen], language) if coloured else None
    rows = []
    for offset, line in enumerate(chosen):
        row = shown[offset] if shown else Text(line.text)
        for start, end, heat in line.marks:
            row.stylize(style_of(heat), start, end)
        margin = "" if hit.start_line is None else f"{hit.start_line + first + offset}"
        rows.append(Text.assemble((f"{margin:>8}  ", "dim"), row))
    return rows


def style_of(heat: float) -> str:
    """Three degrees that show on dark and on light terminals."""
    if heat >= STRONG:
        return "bold black on yellow not dim"
    return "bold yellow not dim" if heat >= CLEAR else "underline not dim"


def _coloured(lines: Sequence[str], language: str) -> list[Text] | None:
    """The lines as code in colours, or None for prose and for a language that Pygments lacks."""
    if language in ("", "text", "markdown"):
        return None
    syntax = Syntax("", LEXERS.get(language, language), theme="ansi_dark")
    if syntax.lexer is None:
        return None
    coloured = list(syntax.highlight("\n".join(lines)).split("\n", allow_blank=True))
    return coloured if len(coloured) >= len(lines) else None


def from_here(path: str, root: Path | None) -> str:
    """A passage's path as it can be opened from here, if it is there: relative to the current
    folder inside `root`, else whole."""
    if root is None or not (root / path).exists():
        return path
    here = Path.cwd()
    near = here.is_relative_to(root) or (root / path).is_relative_to(here)
    return os.path.relpath(root / path) if near else str(root / path)
