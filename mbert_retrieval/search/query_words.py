"""The telling words of a query, and where they stand in a text."""

from __future__ import annotations

import re

from ..indexes.lexical import STOP_WORDS, analyse


def telling_words(query: str) -> list[str]:
    """The query's words as BM25 takes them apart, in lower case, without stop words unless nothing
    else is left; each once, in order."""
    words = [word.lower() for word in re.split(r"[\s_]+", analyse(query)) if word]
    telling = [word for word in words if word not in STOP_WORDS]
    return list(dict.fromkeys(telling or words))


def word_pattern(query: str) -> re.Pattern[str] | None:
    """Matches the query's telling words inside text; None when there are none."""
    words = sorted(telling_words(query), key=lambda word: (-len(word), word))
    if not words:
        return None
    return re.compile("|".join(map(_whole, words)), re.IGNORECASE)


def _whole(word: str) -> str:
    """A short word only as a whole one: `is` is not in `this`."""
    return rf"(?<![^\W_]){re.escape(word)}(?![^\W_])" if len(word) < 4 else re.escape(word)
