"""The lines of a passage, with the spans in them that answer the query."""

from __future__ import annotations

import re
import textwrap
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..types import Passage
from .console import visible

WRAP_COLUMNS = 100
MAX_LINE_LENGTH = 300  # characters of a line that are shown

NO_SPACE = re.compile(r"\S+")

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
    wrapped. marks: disjoint spans of `passage.text`, in order. as_is: neither wrap, expand nor cut.
    """
    text = visible(passage.text)
    longest = len(text) if as_is else MAX_LINE_LENGTH
    if as_is:
        lines = text.split("\n")
    elif passage.path is None:
        lines = textwrap.wrap(" ".join(text.split()), WRAP_COLUMNS)
    else:
        lines = text.expandtabs(4).split("\n")
    # wrapping and expanding change only white space, so marks follow the other characters
    spans = _without_space(text, marks)
    marked: list[MarkedLine] = []
    position = 0  # in the text without white space
    for line in lines:
        own: list[Mark] = []
        for word in NO_SPACE.finditer(line):
            before = word.start() - position
            position += len(word[0])
            while spans and spans[0][0] < position:
                first, last, heat = spans[0]
                start, end = max(word.start(), first + before), min(word.end(), last + before)
                if start < min(end, longest):
                    own.append((start, min(end, longest), heat))
                if last > position:  # it goes on in the next word
                    break
                spans.popleft()
        marked.append(MarkedLine(line[:longest], own))
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


def _without_space(text: str, marks: Sequence[Mark]) -> deque[Mark]:
    """Return the marks of the text without its white space; empty ones are left out."""
    spans: deque[Mark] = deque()
    last = position = 0  # the end of a mark in the text, and without white space
    for start, end, heat in marks:
        first = position + _length(text[last:start])
        position, last = first + _length(text[start:end]), end
        if position > first:
            spans.append((first, position, heat))
    return spans


def _length(text: str) -> int:
    """Return the length without white space."""
    return sum(map(len, text.split()))


def _warmest(words: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the greatest heat of each word."""
    best: dict[str, float] = {}
    for word, heat in words:
        best[word] = max(heat, best.get(word, 0.0))
    return best
