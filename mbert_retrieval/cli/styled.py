"""Lines with styles on standard output. Rich is imported only where the styles are shown."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.style import Style as RichStyle


Style = tuple[int, int, "str | RichStyle"]  # start, end, style


@dataclass
class Row:
    """One line. styles: those of parts of `text`, which may overlap."""

    text: str = ""
    styles: list[Style] = field(default_factory=list)

    def append(self, text: str, style: str = "") -> None:
        """Add text at the end."""
        start = len(self.text)
        self.text += text
        if style:
            self.styles.append((start, len(self.text), style))

    def extend(self, other: Row) -> None:
        """Add another row at the end."""
        start = len(self.text)
        self.text += other.text
        self.styles += [(start + first, start + last, style) for first, last, style in other.styles]


class Output(Protocol):
    """Where rows are printed. highlights: whether code is to be highlighted."""

    highlights: bool

    def print(self, row: Row, cut: bool = False) -> None:
        """Print a row. cut: show only what fits into a line of the terminal."""


class PlainOutput:
    """Standard output for a program: text without styles, of any length."""

    highlights = False

    def print(self, row: Row, cut: bool = False) -> None:
        """See `Output.print`."""
        print(row.text)


class StyledOutput:
    """Standard output for people. console: decides which colours the terminal has."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.highlights = console.color_system is not None

    def print(self, row: Row, cut: bool = False) -> None:
        """See `Output.print`."""
        from rich.text import Text

        text = Text(row.text)
        for start, end, style in row.styles:
            text.stylize(style, start, end)
        if cut:
            self._console.print(text, no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(text, soft_wrap=True)


def standard_output() -> Output:
    """Return standard output; with styles on a terminal, and where FORCE_COLOR is set."""
    forced = os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE") == "1"
    if not (sys.stdout.isatty() or forced):
        return PlainOutput()
    from rich.console import Console

    class RaisingConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # not Rich's exit code 1

    return StyledOutput(RaisingConsole(highlight=False, markup=False, emoji=False))
