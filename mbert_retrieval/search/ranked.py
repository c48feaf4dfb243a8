"""`RankedQuery`: a query, what each leg returned for it, and the ranking made of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..indexes.folder import IndexFolder
from ..types import Passage, Ranking
from .encoders import IndexEncoders
from .options import SearchOptions

LEXICAL = "lexical"


@dataclass(frozen=True, eq=False, repr=False)
class RankedQuery:
    """The base of `SearchResult`, which documents the attributes."""

    query: str
    options: SearchOptions
    rankings: dict[str, Ranking]
    vectors: dict[str, np.ndarray]
    fused: Ranking
    ranking: Ranking
    folder: IndexFolder
    encoders: IndexEncoders
    _cache: dict[str, Passage] = field(default_factory=dict)

    @property
    def has_ranking_rules(self) -> bool:
        """Whether the ranking rules apply: in a hybrid of several legs."""
        return self.options.mode == "hybrid" and len(self.rankings) > 1

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """Return the passages of `ids` in the commit that was searched, each read once.

        Raises NotFoundError for an unknown id.
        """
        missing = [id for id in dict.fromkeys(ids) if id not in self._cache]
        if missing:
            self._cache.update(zip(missing, self.folder.passages(missing), strict=True))
        return [self._cache[id] for id in ids]
