"""The lines of a passage, with the spans in them that answer the query."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ..types import Passage
from .console import visible

WRAP_COLUMNS = 100
MAX_LINE_LENGTH = 300  # characters of a line that are shown

Mark = tuple[int, int, float]  # start, end, heat from 0 to 1


@dataclass
class MarkedLine:
    """A line of a passage. marks: the spans of `text` that answer the query."""

    text: str
    marks: list[Mark] = field(default_factory=list)

    @property
    def words(self) -> dict[str, float]:
        """The distinct words that answer the query, each with its greatest heat."""
        return _warmest((self.text[start:end].lower(), heat) for start, end, heat in self.marks)

    @property
    def worth(self) -> float:
        """How well the line answers the query: the sum of the heats of its words."""
        return sum(self.words.values())


def marked_lines(passage: Passage, marks: Sequence[Mark], as_is: bool = False) -> list[MarkedLine]:
    """Return the lines as a terminal can show them.

    Lines of a file stay, with tabs expanded and the ends of long lines cut off; other text is
    wrapped. marks: spans of `passage.text`. as_is: neither wrap, expand nor cut.
    """
    text = visible(passage.text)
    longest = len(text) if as_is else MAX_LINE_LENGTH
    # wrapping and expanding change only white space, so marks follow the other characters
    heats = [
        heat for char, heat in zip(text, _heats(len(text), marks), strict=True) if _is_visible(char)
    ]
    if as_is:
        lines = text.split("\n")
    elif passage.path is None:
        lines = textwrap.wrap(" ".join(text.split()), WRAP_COLUMNS)
    else:
        lines = text.expandtabs(4).split("\n")
    marked: list[MarkedLine] = []
    position = 0  # in heats
    for line in lines:
        own: list[tuple[int, float] | None] = []
        for char in line:
            own.append(heats[position] if _is_visible(char) else None)
            position += _is_visible(char)
        marked.append(MarkedLine(line[:longest], _runs(own[:longest])))
    return marked


def best_window(lines: Sequence[MarkedLine], height: int) -> int:
    """Return the index of the first line of the window of `height` lines that answers best.

    That is the one with the most distinct words of the query, then the most marks, then the first.
    """

    def worth(first: int) -> tuple[float, int, int]:
        window = lines[first : first + height]
        words = _warmest(word for line in window for word in line.words.items())
        return sum(words.values()), sum(len(line.marks) for line in window), -first

    return max(range(max(1, len(lines) - height + 1)), key=worth)


def answering_lines(lines: Sequence[MarkedLine]) -> list[int]:
    """Return the indices of the lines that answer at least half as well as the best line.

    The first line alone where none answers.
    """
    most = max((line.worth for line in lines), default=0.0)
    if most == 0:
        return [0]
    return [index for index, line in enumerate(lines) if line.worth >= most / 2]


def _heats(length: int, marks: Sequence[Mark]) -> list[tuple[int, float] | None]:
    """Return the number and heat of the mark of each character; numbers keep neighbours apart."""
    heats: list[tuple[int, float] | None] = [None] * length
    for number, (start, end, heat) in enumerate(marks):
        heats[start:end] = [(number, heat)] * (end - start)
    return heats


def _runs(heats: Sequence[tuple[int, float] | None]) -> list[Mark]:
    """Return the marks of consecutive characters with the same number."""
    runs: list[Mark] = []
    start = 0
    for value, run in groupby(heats):
        end = start + len(list(run))
        if value is not None:
            runs.append((start, end, value[1]))
        start = end
    return runs


def _is_visible(char: str) -> bool:
    return not char.isspace()


def _warmest(words: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the greatest heat of each word."""
    best: dict[str, float] = {}
    for word, heat in words:
        best[word] = max(heat, best.get(word, 0.0))
    return best
