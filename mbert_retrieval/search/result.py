"""`SearchResult`: the hits of one query, and all that is needed to explain them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from ..types import Hit
from .explain import Explanation, Mark, explain_passages, marks_of
from .ranked import RankedQuery


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult(RankedQuery, Sequence[Hit]):
    """The hits of one query, best first: a sequence of `Hit`.

    `Index.search` and `Index.search_many` make it. It keeps the commit that was searched, so its
    passages can be read after the index has changed.

    Attributes:
        query: The text that was searched for.
        options: `SearchOptions`, how it was searched.
        rankings: Per leg ("late", "dense", "lexical") its best (id, score): k of a single leg,
            at least 100 of each where several are fused.
        vectors: Per vector leg the query's vectors, (Q, D) float32.
        fused: The ranking after fusion and before the ranking rules; may be longer than k.
        ranking: The final (id, score) of at most k passages.

    Example:
        >>> from mbert_retrieval import Index, Passage
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/index"
        >>> index = Index.build(folder, [Passage("a", "red apple"), Passage("b", "sky")], None)
        >>> result = index.search("apple", mode="lexical")
        >>> [(hit.rank, hit.passage.id) for hit in result]
        [(1, 'a')]
        >>> result.explain()[0].words[0].word
        'apple'
    """

    @cached_property
    def hits(self) -> list[Hit]:
        """The hits, best first; their passages are read when first needed."""
        passages = self.passages([id for id, _ in self.ranking])
        return [
            Hit(rank, score, passage)
            for rank, ((_, score), passage) in enumerate(
                zip(self.ranking, passages, strict=True), start=1
            )
        ]

    def explain(self, ids: str | Sequence[str] | None = None) -> list[Explanation]:
        """Explain why passages have their scores; nothing is searched or encoded again.

        Args:
            ids: A passage or several to explain, not necessarily among the hits; the hits where
                None.

        Returns:
            One `Explanation` per passage: contributions of the legs, tokens and words that match.

        Raises:
            NotFoundError: The index has no passage with such an id.
        """
        if ids is None:
            ids = [hit.passage.id for hit in self]
        return explain_passages(self, [ids] if isinstance(ids, str) else ids)

    def marks(self) -> list[list[Mark]]:
        """Return for each hit the spans of its text that answer the query."""
        return marks_of(self, [hit.passage for hit in self])

    def __len__(self) -> int:
        return len(self.ranking)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | list[Hit]:
        return self.hits[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __repr__(self) -> str:
        return f"SearchResult({self.query!r}, {len(self)} hits, mode={self.options.mode!r})"
