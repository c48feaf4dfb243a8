"""BM25 by SQLite's FTS5.

Text is analysed here first: an identifier (`readHTTPHeader`, `max_retries`) stays whole and its
parts are added behind it; Chinese and Japanese characters, which come without spaces, become words
of one character. FTS5 then folds case and diacritics and stems English (Porter).

The table keeps no copy of the text. To remove an entry FTS5 must be given its analysed text again,
so a change to `analyse` needs a new format version (`manifest.VERSION`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from ..types import Passage
from .filtering import Filter

SCHEMA = """
CREATE VIRTUAL TABLE lexical USING fts5 (
    content, content = '', tokenize = "porter unicode61 remove_diacritics 2"
);
CREATE VIRTUAL TABLE lexical_words USING fts5vocab (lexical, instance);
"""

WORD = re.compile(r"\w+")
# the parts of an identifier: HTTP|Header, read|HTTP, sha|256, and runs of other letters
PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")

# dropped from queries. "if", "in", "is", "not", "all", "any" and their like stay: they tell much
# of code, and a little of prose
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
    """The words that are indexed for `text`, with a space between each."""
    words = []
    for word in WORD.findall(UNSPACED.sub(r" \1 ", text)):
        words.append(word)
        parts = PART.findall(word)
        if len(parts) > 1:
            words += parts
    return " ".join(words)


def add(connection: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Index (key, content) rows."""
    connection.executemany(
        "INSERT INTO lexical (rowid, content) VALUES (?, ?)",
        ((key, analyse(content)) for key, content in rows),
    )


def remove(connection: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Remove (key, content) rows; the content must be what was added."""
    connection.executemany(
        "INSERT INTO lexical (lexical, rowid, content) VALUES ('delete', ?, ?)",
        ((key, analyse(content)) for key, content in rows),
    )


def optimize(connection: sqlite3.Connection) -> None:
    """Merge the index's parts into one, which is smaller and faster to search."""
    connection.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")


def match_expression(text: str) -> str:
    """The FTS5 query for what a user typed: any of its words, stop words dropped unless nothing
    else is left. "" when it holds no word. No FTS5 syntax of the user's gets through."""
    words = [word for word in re.split(r"[\s_]+", analyse(text)) if word]
    words = list(dict.fromkeys(word.lower() for word in words))
    telling = [word for word in words if word not in STOP_WORDS]
    return " OR ".join(f'"{word}"' for word in telling or words)


def search(
    connection: sqlite3.Connection, text: str, k: int, where: Filter | None
) -> list[tuple[str, float]]:
    """The k best (id, BM25 score), best first, equal scores by id.

    where: only passages that satisfy it are considered.
    """
    expression = match_expression(text)
    if not expression:
        return []
    condition, parameters = "", [expression]
    if where is not None:
        # "+": look each match up among those allowed, do not look each of those up in the index
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
    return [(id, score) for id, score in rows]


def problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Compares the lexical index, word by word, with one made anew from the passages."""
    rows = connection.execute("SELECT key, id, text, title, path FROM passages ORDER BY key")
    # the averages of nothing have more than one form
    averages = (
        "SELECT block FROM lexical_data WHERE id = 1 AND EXISTS (SELECT 1 FROM lexical_docsize)"
    )
    anew = sqlite3.connect("", isolation_level=None)  # in a temporary file
    try:
        anew.executescript(SCHEMA + "BEGIN;")
        add(anew, ((key, Passage(*rest).words) for key, *rest in rows))
        for what, select in (
            ("the words", "SELECT term, doc, offset FROM lexical_words"),
            ("the lengths", "SELECT id, sz FROM lexical_docsize ORDER BY id"),
            ("the averages", averages),
        ):
            pairs = zip_longest(connection.execute(select), anew.execute(select))
            if any(here != there for here, there in pairs):
                yield f"{what} of the lexical index are not those of its passages"
    finally:
        anew.close()
