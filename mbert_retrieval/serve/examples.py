"""Queries to try on an index, from what its passages say of themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..types import Passage

SAMPLED = 60  # passages to choose from
MOST_SENTENCES, MOST_NAMES = 4, 2
SENTENCE = re.compile(r"[^.!?:;()`<>\n]{20,70}(?=[.!?:\n]|$)")
WORDS = range(4, 11)  # of a sentence
NAME_LENGTHS = range(6, 41)


def example_queries(passages: Sequence[Passage]) -> list[str]:
    """Return first sentences of documentation, headings, and names, that stand in the passages.

    Args:
        passages: Some of an index, from all over it.

    Returns:
        At most six, each from another file, sentences first.
    """
    sentences: dict[str | None, str] = {}
    names: dict[str | None, str] = {}
    for passage in passages:
        said = str(passage.metadata.get("doc", "")) or _heading(passage)
        match = SENTENCE.match(said)
        if match and len(match[0].split()) in WORDS:
            sentences.setdefault(passage.path, match[0].strip())
        elif "signature" in passage.metadata:
            name = str(passage.metadata.get("name", "")).rpartition(".")[2]
            if len(name) in NAME_LENGTHS and not name.startswith(("_", "test")):
                names.setdefault(passage.path, name)
    return [
        *list(dict.fromkeys(sentences.values()))[:MOST_SENTENCES],
        *list(dict.fromkeys(names.values()))[:MOST_NAMES],
    ]


def _heading(passage: Passage) -> str:
    """Return the title of prose: the last of nested headings, or a document's title."""
    if "signature" in passage.metadata or passage.title == passage.path:
        return ""
    return passage.title.rpartition(" > ")[2].strip()
