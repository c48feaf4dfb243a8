"""BM25 with SQLite's FTS5.

Text is analysed here first: the words of an identifier (`readHTTPHeader`, `max_retries`) are added
after it; Chinese and Japanese characters, which are written without spaces, become words of one
character. FTS5 then folds case and diacritics and stems English (Porter).

The table has no copy of the text. To remove an entry, FTS5 must be given its analysed text again,
so a change to `analyse` needs a new format version (`manifest.VERSION`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from ..types import Passage
from .filtering import Filter
from .recorded import check_types
from .tables import LEXICAL_SCHEMA

WORD = re.compile(r"\w+")
# the words of an identifier: HTTP|Header, read|HTTP, sha|256, and runs of other letters
PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")

# removed from queries. Words such as "if", "in", "is", "not", "all", "any" stay: they are frequent
# in prose, but distinguish code
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about also an and are as at be been being but by can could did do does for from had has
        have he her his how i into it its me my of on or our she should so such that the their then
        there these they this to too very was we were what when where which who why will with would
        you your""",
    )
)


def analyse(text: str) -> str:
    """Return the words that are indexed for `text`, separated by spaces.

    Example:
        >>> analyse("maxRetries = 3")
        'maxRetries max Retries 3'
    """
    words = []
    for word in WORD.findall(UNSPACED.sub(r" \1 ", text)):
        words.append(word)
        parts = PART.findall(word)
        if len(parts) > 1:
            words += parts
    return " ".join(words)


def add(connection: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Add (key, content) rows to the index."""
    connection.executemany(
        "INSERT INTO lexical (rowid, content) VALUES (?, ?)",
        ((key, analyse(content)) for key, content in rows),
    )


def remove(connection: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Remove (key, content) rows from the index; the content must be what was added."""
    connection.executemany(
        "INSERT INTO lexical (lexical, rowid, content) VALUES ('delete', ?, ?)",
        ((key, analyse(content)) for key, content in rows),
    )


def optimize(connection: sqlite3.Connection) -> None:
    """Merge the internal segments of FTS5 into one, which is smaller and faster to search."""
    connection.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")


def match_expression(text: str) -> str:
    """Return the FTS5 query for a user's text: any of its words, without stop words.

    Stop words remain if there are no others. The query is "" if there are no words. Each word is
    quoted, so that FTS5 syntax in the text has no effect.

    Example:
        >>> match_expression("where are the retries")
        '"retries"'
    """
    words = [word for word in re.split(r"[\s_]+", analyse(text)) if word]
    words = list(dict.fromkeys(word.lower() for word in words))
    content_words = [word for word in words if word not in STOP_WORDS]
    return " OR ".join(f'"{word}"' for word in content_words or words)


def search(
    connection: sqlite3.Connection, text: str, k: int, where: Filter | None
) -> list[tuple[str, float]]:
    """Return the k best (id, BM25 score), best first, equal scores by id.

    Args:
        connection: A reader's connection to the store.
        text: What a user typed.
        k: At least 1.
        where: Consider only passages that satisfy this filter.
    """
    expression = match_expression(text)
    if not expression:
        return []
    condition, parameters = "", [expression]
    if where is not None:
        # "+" makes SQLite look up each match among the allowed passages, not the other way round
        condition = f"AND +rowid IN (SELECT key FROM passages WHERE {where.sql})"
        parameters += where.parameters
    rows = connection.execute(
        f"""
        WITH hits AS MATERIALIZED (
            SELECT rowid AS key, -bm25(lexical) AS score FROM lexical
            WHERE lexical MATCH ? {condition}
        ),
        last AS (SELECT score FROM hits ORDER BY score DESC LIMIT 1 OFFSET ?)
        SELECT id, score FROM hits JOIN passages USING (key)
        WHERE score >= ifnull((SELECT score FROM last), 0) ORDER BY score DESC, id LIMIT ?
        """,
        [*parameters, k - 1, k],
    )
    ranking = [(id, score) for id, score in rows]
    for hit in ranking:
        check_types(hit, (str, float), "the lexical index")
    return ranking


def problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield differences, word by word, from an index built anew from the passages."""
    rows = connection.execute("SELECT key, id, text, title, path FROM passages ORDER BY key")
    # the averages of an empty index have more than one form
    averages = (
        "SELECT block FROM lexical_data WHERE id = 1 AND EXISTS (SELECT 1 FROM lexical_docsize)"
    )
    rebuilt = sqlite3.connect("", isolation_level=None)  # in a temporary file
    try:
        rebuilt.executescript(LEXICAL_SCHEMA + "BEGIN;")
        add(rebuilt, ((key, Passage(*rest).words) for key, *rest in rows))
        for what, select in (
            ("the words", "SELECT term, doc, offset FROM lexical_words"),
            ("the lengths", "SELECT id, sz FROM lexical_docsize ORDER BY id"),
            ("the averages", averages),
        ):
            pairs = zip_longest(connection.execute(select), rebuilt.execute(select))
            if any(stored != expected for stored, expected in pairs):
                yield f"{what} of the lexical index are not those of its passages"
    finally:
        rebuilt.close()
