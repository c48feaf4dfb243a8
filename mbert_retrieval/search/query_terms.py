"""The terms of a query as BM25 sees them, and a pattern that finds them in a text."""

from __future__ import annotations

import re

from ..indexes.lexical import STOP_WORDS, analyse


def content_terms(query: str) -> list[str]:
    """Return the query's distinct terms in order, in lower case.

    Stop words are left out unless there is nothing else.
    """
    terms = [term.lower() for term in re.split(r"[\s_]+", analyse(query)) if term]
    content = [term for term in terms if term not in STOP_WORDS]
    return list(dict.fromkeys(content or terms))


def term_pattern(query: str) -> re.Pattern[str] | None:
    """Return a pattern that matches the query's terms in a text; None where it has none."""
    terms = sorted(content_terms(query), key=lambda term: (-len(term), term))
    if not terms:
        return None
    return re.compile("|".join(map(_bounded, terms)), re.IGNORECASE)


def _bounded(term: str) -> str:
    """A short term matches entire words only: `is` does not match in `this`."""
    return rf"(?<![^\W_]){re.escape(term)}(?![^\W_])" if len(term) < 4 else re.escape(term)
