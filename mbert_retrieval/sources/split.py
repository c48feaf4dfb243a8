"""Split a file's text into passages: code at its definitions, documents at their headings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ..types import Passage
from .languages import PROSE, language_of
from .line_spans import LineSpan, fit_to_limits, trim_blank_lines
from .prose import MAX_WORDS, Heading, find_headings, split_by_headings, split_words


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
        from .html import read_html

        lines, headings = read_html(text)
        yield from split_document(lines, headings, path, language, as_one)
    elif language in PROSE:
        headings = list(find_headings(lines, language))
        yield from split_document(lines, headings, path, language, as_one)
    else:
        from .syntax_tree import split_by_syntax

        spans = split_by_syntax(lines, language)
        if spans is None:
            from .indentation import split_by_indentation

            spans = split_by_indentation(lines)
        for span in fit_to_limits(lines, spans):
            yield _passage(lines, span, path, language)


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
        as_one: Keep the document as one passage, titled by its first heading.

    Yields:
        Passages in the order of their lines.
    """
    if as_one:
        title = min(headings, key=lambda heading: heading[:2], default=Heading(1, 1, "")).title
        for span in trim_blank_lines(lines, [LineSpan(1, len(lines), "document", title)]):
            yield _passage(lines, span, path, language)
        return
    for span in trim_blank_lines(lines, split_by_headings(lines, headings)):
        passage = _passage(lines, span, path, language)
        if span.start < span.end or len(passage.text.split()) <= 2 * MAX_WORDS:
            yield passage
            continue
        for number, piece in enumerate(split_words(passage.text), start=1):
            id = f"{passage.id}#{number}" if number > 1 else passage.id
            yield replace(passage, id=id, text=piece)


def _passage(lines: Sequence[str], span: LineSpan, path: str, language: str) -> Passage:
    metadata = {"language": language, "kind": span.kind, "name": span.name}
    optional = {"signature": span.signature, "doc": span.doc}
    return Passage(
        id=f"{path}:{span.start}-{span.end}",
        text="\n".join(lines[span.start - 1 : span.end]),
        title=span.name,
        path=path,
        start_line=span.start,
        end_line=span.end,
        metadata=metadata | {key: value for key, value in optional.items() if value},
    )
