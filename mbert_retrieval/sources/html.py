"""Read HTML as the lines that a reader sees, each at its line in the file, and its headings."""

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


def read_html(text: str) -> tuple[list[str], list[Heading]]:
    """Return the visible lines of a page and its headings.

    There are as many lines as in the file: each is the visible text that begins on that line of the
    file, or "". The title of the page is a heading above all others.
    """
    left_open = {tag for tag in ("nav", "template", "noscript") if _is_left_open(tag, text)}
    reader = _VisibleText(text.count("\n") + 1, HIDDEN - left_open)
    try:
        reader.feed(text)
        reader.close()
    except (AssertionError, RecursionError):  # the parser raises them for some invalid markup
        pass
    lines = [_collapse("".join(parts)) for parts in reader.lines]
    return lines, reader.headings


def _is_left_open(tag: str, text: str) -> bool:
    """Return whether a tag is not closed everywhere. It then must not hide the rest of the page."""
    opened, closed = (re.findall(rf"<{sign}{tag}\b", text, re.IGNORECASE) for sign in ("", "/"))
    return len(opened) > len(closed)


def _collapse(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


class _VisibleText(HTMLParser):
    def __init__(self, line_count: int, hidden: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._hidden = hidden
        self.lines: list[list[str]] = [[] for _ in range(line_count)]
        self.headings: list[Heading] = []
        self._open_hidden: list[str] = []
        self._open_heading: tuple[int, int, list[str]] | None = None

    def handle_starttag(self, tag: str, attributes: object) -> None:
        if tag == "title" or re.fullmatch(r"h[1-6]", tag):
            level = 0 if tag == "title" else int(tag[1])
            self._open_heading = (self.getpos()[0], level, [])
        if tag in self._hidden:
            self._open_hidden.append(tag)
        elif tag in BLOCKS:
            self._add(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._open_hidden and tag == self._open_hidden[-1]:
            self._open_hidden.pop()
        if self._open_heading and (tag == "title" or re.fullmatch(r"h[1-6]", tag)):
            line, level, parts = self._open_heading
            if title := _collapse("".join(parts)):
                self.headings.append(Heading(line, level, title))
            self._open_heading = None
        if tag in BLOCKS:
            self._add(" ")

    def handle_data(self, data: str) -> None:
        if self._open_hidden:
            return
        if self._open_heading:
            self._open_heading[2].append(data)
        line = self.getpos()[0] - 1
        for offset, part in enumerate(data.split("\n")):
            if line + offset < len(self.lines):
                self.lines[line + offset].append(part)

    def _add(self, text: str) -> None:
        if self._open_heading:
            self._open_heading[2].append(text)
        self.lines[min(self.getpos()[0], len(self.lines)) - 1].append(text)
