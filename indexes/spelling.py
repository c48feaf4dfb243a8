"""Words of the lexical index that are spelled like a word that it does not have."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from difflib import get_close_matches

from ..types import Passage
from .lexical import STOP_WORDS, WORD, add, analyse
from .tables import LEXICAL_SCHEMA

SIMILARITY = 0.75  # of difflib, from 0 to 1
MIN_LENGTH = 4  # shorter words resemble too many others
MAX_WORDS = 8  # of a query
LENGTH_DIFFERENCE = 2
SECONDS = 0.5  # for reading the index's words that start with one letter


def corrections(connection: sqlite3.Connection, text: str, most: int) -> dict[str, list[str]]:
    """Return word of `text` -> words of the index that resemble it, most similar first.

    Only words that no passage has, and that have such a word. The first letter is taken as right.
    The same word in another form ("retry", "retries") counts once.

    Args:
        connection: A reader's connection to the store.
        text: What a user typed.
        most: How many words to return for each.
    """
    words = [word for word in WORD.findall(text) if len(word) >= MIN_LENGTH]
    words = [word for word in dict.fromkeys(words) if word.lower() not in STOP_WORDS]
    similar = {word: _similar(connection, word, most) for word in words[:MAX_WORDS]}
    return {word: others for word, others in similar.items() if others}


def _similar(connection: sqlite3.Connection, word: str, most: int) -> list[str]:
    stem = _stems([word])[0][0]
    if connection.execute("SELECT 1 FROM lexical_words WHERE term = ? LIMIT 1", [stem]).fetchone():
        return []
    first = stem[0]
    rows = connection.execute(
        "SELECT term, min(doc) FROM lexical_words WHERE term >= ? AND term < ? GROUP BY term",
        (first, chr(ord(first) + 1)),
    )
    deadline = time.monotonic() + SECONDS
    keys = {}
    for term, key in rows:
        if abs(len(term) - len(stem)) <= LENGTH_DIFFERENCE:
            keys[term] = key
        if time.monotonic() > deadline:
            break
    close = get_close_matches(stem, keys, most, SIMILARITY)
    return [_as_written(connection, keys[term], term) for term in close]


def _as_written(connection: sqlite3.Connection, key: int, term: str) -> str:
    """Return the shortest word of a passage that the index stores as `term`."""
    row = connection.execute("SELECT id, text, title, path FROM passages WHERE key = ?", [key])
    words = sorted(set(analyse(Passage(*row.fetchone()).words).lower().split()))
    forms = [word for word, stem in zip(words, _stems(words), strict=True) if stem[:1] == [term]]
    return min(forms, key=len, default=term)


def _stems(words: Iterable[str]) -> list[list[str]]:
    """Return the terms that the lexical index stores for each word."""
    words = list(words)
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        memory.executescript(LEXICAL_SCHEMA)
        add(memory, enumerate(words))
        stems: list[list[str]] = [[] for _ in words]
        for key, term in memory.execute("SELECT doc, term FROM lexical_words ORDER BY doc, offset"):
            stems[key].append(term)
        return stems
    finally:
        memory.close()
