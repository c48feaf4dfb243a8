"""HTML as the lines that a reader sees, each where it stands in the file, and its headings."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from .prose import Heading

HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "nav"})
BLOCKS = frozenset(
    """address article aside blockquote br dd div dl dt figcaption footer form h1 h2 h3 h4 h5 h6
    header hr li main ol p pre section table td th tr ul title""".split()  # noqa: SIM905
)
_SPACE = re.compile(r"\s+")


def html_lines(text: str) -> tuple[list[str], list[Heading]]:
    """As many lines as the file has: the visible text that begins on each, "" where none does; and
    (line, level, title) of each heading. The title of the page stands above all others."""
    unclosed = {tag for tag in ("nav", "template", "noscript") if _is_left_open(tag, text)}
    reader = _Reader(text.count("\n") + 1, HIDDEN - unclosed)
    try:
        reader.feed(text)
        reader.close()
    except (AssertionError, RecursionError):  # what the parser does with some broken markup
        pass
    lines = [_SPACE.sub(" ", "".join(parts)).strip() for parts in reader.lines]
    return lines, reader.headings


def _is_left_open(tag: str, text: str) -> bool:
    """Whether a page forgets to close one, which then must not hide the rest of the page."""
    opened, closed = (re.findall(rf"<{sign}{tag}\b", text, re.IGNORECASE) for sign in ("", "/"))
    return len(opened) > len(closed)


class _Reader(HTMLParser):
    def __init__(self, count: int, hides: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._hides = hides
        self.lines: list[list[str]] = [[] for _ in range(count)]
        self.headings: list[Heading] = []
        self._hidden: list[str] = []
        self._heading: tuple[int, int, list[str]] | None = None

    def handle_starttag(self, tag: str, attributes: object) -> None:
        if tag == "title" or re.fullmatch(r"h[1-6]", tag):
            level = 0 if tag == "title" else int(tag[1])
            self._heading = (self.getpos()[0], level, [])
        if tag in self._hides:
            self._hidden.append(tag)
        elif tag in BLOCKS:
            self._put(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag == self._hidden[-1]:
            self._hidden.pop()
        if self._heading and (tag == "title" or re.fullmatch(r"h[1-6]", tag)):
            line, level, parts = self._heading
            if title := _SPACE.sub(" ", "".join(parts)).strip():
                self.headings.append((line, level, title))
            self._heading = None
        if tag in BLOCKS:
            self._put(" ")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._heading:
            self._heading[2].append(data)
        line = self.getpos()[0] - 1
        for offset, part in enumerate(data.split("\n")):
            if line + offset < len(self.lines):
                self.lines[line + offset].append(part)

    def _put(self, text: str) -> None:
        if self._heading:
            self._heading[2].append(text)
        self.lines[min(self.getpos()[0], len(self.lines)) - 1].append(text)
