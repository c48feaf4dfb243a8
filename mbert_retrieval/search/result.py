"""What the parts of an index say to a question, and how it becomes one ranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..types import Ranking
from .fusion import fuse

LEXICAL_WEIGHT = 0.3  # of BM25 in fusion; the vectors share the rest. By benchmarks/ranking.py
LEG_DEPTH = 100  # the least number of passages that each leg gives to fusion


@dataclass(frozen=True)
class SearchResult:
    """To one question; see `Index.answers`.

    k, mode: as it was asked. rankings: of each part that answered, its best (id, score), k of one
    part alone, LEG_DEPTH or more of several. vectors: of each leg that answered, (Q, D) float32,
    the question's.
    """

    question: str
    k: int
    mode: str
    rankings: dict[str, Ranking]
    vectors: dict[str, np.ndarray]

    def combined(self) -> Ranking:
        """The best of all parts together: more than k where a rule may yet reorder them."""
        return combine(self.rankings, self.k if len(self.rankings) == 1 else self.depth)

    @property
    def depth(self) -> int:
        return max(self.k, LEG_DEPTH)


def combine(legs: Mapping[str, Ranking], k: int, only: str | None = None) -> Ranking:
    """The k best of the rankings of an index's parts. only: what this part alone adds."""
    if len(legs) == 1:
        return next(iter(legs.values()))[:k]
    lexical = LEXICAL_WEIGHT if "lexical" in legs else 0.0
    each = (1 - lexical) / sum(name != "lexical" for name in legs)
    shares = {name: lexical if name == "lexical" else each for name in legs}
    weights = [share if only in (None, name) else 0.0 for name, share in shares.items()]
    return fuse(list(legs.values()), k, weights)
