"""Ranking rules: a query that is a name puts the definition of that name first.

Such a query is one word, or several words that only code has (`max_retries readHeader`). Names
inside a sentence are left alone: raising their definitions lost on docstrings
(`benchmarks/quality/ranking.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..types import Passage, Ranking

BOOST = 1.0  # share of the best score that is added to a definition's score
DEFINITIONS = ("function", "method", "class", "table")
_NAME = re.compile(r"[^\W\d]\w*")
_CODE = re.compile(r".*(?:[^\W_]_[^\W_]|[a-z\d][A-Z])")


def names_in(query: str) -> set[str]:
    """Return the names that a query asks for; none where it is a sentence."""
    words = _NAME.findall(query)
    if len(query.split()) > 1 and not all(_CODE.match(word) for word in words):
        return set()
    return set(words)


def definitions_first(
    query: str, ranking: Ranking, passages: Callable[[Sequence[str]], list[Passage]]
) -> Ranking:
    """Raise the definitions of the names that the query asks for.

    `passages` returns the passages of ids; it is not called where the query asks for no name.
    """
    names = names_in(query)
    if not names or not ranking:
        return ranking
    boost = BOOST * abs(ranking[0][1])
    ids = [id for id, _ in ranking]
    raised = [
        (id, score + boost if _defines(passage, names) else score)
        for (id, score), passage in zip(ranking, passages(ids), strict=True)
    ]
    return sorted(raised, key=lambda hit: (-hit[1], hit[0]))


def _defines(passage: Passage, names: set[str]) -> bool:
    name = str(passage.metadata.get("name", ""))
    return passage.metadata.get("kind") in DEFINITIONS and re.split(r"[.:#]", name)[-1] in names
