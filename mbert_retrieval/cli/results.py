"""Hits for people: where, what it is called, and the lines that answer."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from ..indexes.lexical import STOP_WORDS, analyse
from ..records import Hit
from .console import visible

SNIPPET_LINES = 6
WRAP_COLUMNS = 100
LONGEST_LINE = 300  # characters of one line that are looked at and shown
LEXERS = {"cython": "python", "make": "makefile", "restructuredtext": "rst", "csv": "text"}


def show(hits: Sequence[Hit], query: str, root: Path | None, console: Console) -> None:
    """Print hits, best first. root: what their paths are relative to."""
    words = word_pattern(query)
    for number, hit in enumerate(hits):
        if number:
            console.print()
        console.print(heading(hit, root), soft_wrap=True)
        for line in snippet(hit, words, coloured=console.color_system is not None):
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
        place = f"{_from_here(hit.path, root)}:{hit.start_line}-{hit.end_line}"
        text.append(visible(place), "cyan")
        name = str(hit.metadata.get("name") or "")
    if name:
        text.append("  " + " ".join(visible(name).split()), "bold")
    return text


def snippet(hit: Hit, words: re.Pattern[str] | None, coloured: bool) -> list[Text]:
    """The lines around the query's words, numbered where the passage stands in a file."""
    text = visible(hit.text).expandtabs(4)
    if hit.path is None:
        lines = textwrap.wrap(" ".join(text.split()), WRAP_COLUMNS)
    else:
        lines = [line[:LONGEST_LINE] for line in text.split("\n")]
    first = best_window(lines, words, SNIPPET_LINES)
    chosen = lines[first : first + SNIPPET_LINES]
    shown = _coloured(chosen, str(hit.metadata.get("language", ""))) if coloured else None
    rows = []
    for offset, line in enumerate(chosen):
        row = shown[offset] if shown else Text(line)
        if words is not None:
            row.highlight_regex(words, "bold yellow")
        margin = "" if hit.start_line is None else f"{hit.start_line + first + offset}"
        rows.append(Text.assemble((f"{margin:>8}  ", "dim"), row))
    return rows


def best_window(lines: Sequence[str], words: re.Pattern[str] | None, height: int) -> int:
    """The first of `height` lines that hold the most different words, then the most in all."""
    if words is None or len(lines) <= height:
        return 0
    found = [[match.lower() for match in words.findall(line)] for line in lines]

    def worth(first: int) -> tuple[int, int, int]:
        held = [word for line in found[first : first + height] for word in line]
        return len(set(held)), len(held), -first

    return max(range(len(lines) - height + 1), key=worth)


def word_pattern(query: str) -> re.Pattern[str] | None:
    """Matches the query's words inside text, as BM25 takes them apart; None when there are none."""
    words = {word.lower() for word in re.split(r"[\s_]+", analyse(query)) if word}
    telling = sorted(words - STOP_WORDS or words, key=lambda word: (-len(word), word))
    if not telling:
        return None
    return re.compile("|".join(_whole(word) for word in telling), re.IGNORECASE)


def _whole(word: str) -> str:
    """A short word only as a whole one: `is` is not in `this`."""
    return rf"(?<![^\W_]){re.escape(word)}(?![^\W_])" if len(word) < 4 else re.escape(word)


def _coloured(lines: Sequence[str], language: str) -> list[Text] | None:
    """The lines as code in colours, or None for prose and for a language that Pygments lacks."""
    if language in ("", "text", "markdown"):
        return None
    syntax = Syntax("", LEXERS.get(language, language), theme="ansi_dark")
    if syntax.lexer is None:
        return None
    coloured = list(syntax.highlight("\n".join(lines)).split("\n", allow_blank=True))
    return coloured if len(coloured) >= len(lines) else None


def _from_here(path: str, root: Path | None) -> str:
    """A passage's path as it can be opened from here, if it is there: relative to the current
    folder inside `root`, else whole."""
    if root is None or not (root / path).exists():
        return path
    here = Path.cwd()
    near = here.is_relative_to(root) or (root / path).is_relative_to(here)
    return os.path.relpath(root / path) if near else str(root / path)
