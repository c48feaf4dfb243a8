"""A query that is a name puts the name's definition first.

That is a query of one word, or of words that only code has (`max_retries readHeader`). Names inside
a sentence are left alone: raising their definitions lost on docstrings. `benchmarks/ranking.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..types import Ranking

BOOST = 1.0  # of the best score, added to that of a definition
DEFINITIONS = ("function", "method", "class", "table")
_NAME = re.compile(r"[^\W\d]\w*")
_CODE = re.compile(r".*(?:[^\W_]_[^\W_]|[a-z\d][A-Z])")


def names_in(query: str) -> set[str]:
    """The names that a query asks for, none when it is a sentence."""
    words = _NAME.findall(query)
    if len(query.split()) > 1 and not all(_CODE.match(word) for word in words):
        return set()
    return set(words)


def definitions_first(
    ranking: Ranking, names: set[str], facts: Mapping[str, tuple[str, str]]
) -> Ranking:
    """A ranking with the definitions of `names` raised. facts: id -> (qualified name, kind)."""
    if not ranking:
        return ranking
    added = BOOST * abs(ranking[0][1])

    def raised(id: str, score: float) -> float:
        name, kind = facts.get(id, ("", ""))
        defines = kind in DEFINITIONS and re.split(r"[.:#]", name)[-1] in names
        return score + added if defines else score

    return sorted(
        ((id, raised(id, score)) for id, score in ranking), key=lambda hit: (-hit[1], hit[0])
    )
