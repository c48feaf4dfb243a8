"""Split a file's text into passages: code at its definitions, documents at their headings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ..types import Passage
from .html import html_lines
from .indentation import code_units
from .languages import PROSE, language_of
from .line_ranges import Unit, fitted, trimmed
from .prose import MAX_WORDS, Heading, headings, sections, word_windows
from .syntax_tree import tree_units


def split_into_passages(text: str, path: str, as_one: bool = False) -> Iterator[Passage]:
    """Split a file's text into passages, so that every line that is not blank is in one.

    A line of code is in exactly one passage. A passage of prose may repeat the last lines of the
    passage before.

    Args:
        text: The file's text, with "\\n" at line ends.
        path: The file's path; the language follows from its name, and passages state it.
        as_one: Keep a document (prose or HTML) as one passage.

    Yields:
        Passages from the top of the file to the end. Their `metadata` has "language", "kind" and
        "name", and for definitions "signature" and "doc" if there are any.

    Example:
        >>> text = "import os\\n\\ndef size(path):\\n    return os.stat(path).st_size\\n"
        >>> [(passage.id, passage.title) for passage in split_into_passages(text, "files.py")]
        [('files.py:1-1', ''), ('files.py:3-4', 'size')]
    """
    lines = text.split("\n")
    language = language_of(PurePosixPath(path), lines[0])
    if language == "html":
        lines, html_headings = html_lines(text)
        yield from split_document(lines, html_headings, path, language, as_one)
    elif language in PROSE:
        yield from split_document(lines, list(headings(lines, language)), path, language, as_one)
    else:
        units = tree_units(lines, language)
        for unit in fitted(lines, code_units(lines) if units is None else units):
            yield _passage(lines, unit, path, language)


def split_document(
    lines: Sequence[str],
    headings: Sequence[Heading],
    path: str,
    language: str,
    as_one: bool = False,
) -> Iterator[Passage]:
    """Split a document into passages at its headings.

    Args:
        lines: The lines of the document.
        headings: Its headings in the order of their lines.
        path: The path that passages state.
        language: The "language" of their metadata.
        as_one: Keep the document as one passage, titled by its highest heading.

    Yields:
        Passages in the order of their lines.
    """
    if as_one:
        title = min(headings, key=lambda heading: heading[:2], default=(1, 1, ""))[2]
        for unit in trimmed(lines, [Unit(1, len(lines), "document", title)]):
            yield _passage(lines, unit, path, language)
        return
    for unit in trimmed(lines, sections(lines, headings)):
        passage = _passage(lines, unit, path, language)
        if unit.start < unit.end or len(passage.text.split()) <= 2 * MAX_WORDS:
            yield passage
            continue
        for number, piece in enumerate(word_windows(passage.text), start=1):
            id = f"{passage.id}#{number}" if number > 1 else passage.id
            yield replace(passage, id=id, text=piece)


def _passage(lines: Sequence[str], unit: Unit, path: str, language: str) -> Passage:
    metadata = {"language": language, "kind": unit.kind, "name": unit.name}
    optional = {"signature": unit.signature, "doc": unit.doc}
    return Passage(
        id=f"{path}:{unit.start}-{unit.end}",
        text="\n".join(lines[unit.start - 1 : unit.end]),
        title=unit.name,
        path=path,
        start_line=unit.start,
        end_line=unit.end,
        metadata=metadata | {key: value for key, value in optional.items() if value},
    )
