"""Late interaction, token by token: what MaxSim (Khattab and Zaharia 2020) took its sum over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..encoders.spans import TokenSpans, document_token_spans, query_token_spans
from ..indexes.lexical import PART, STOP_WORDS
from ..types import Passage

if TYPE_CHECKING:
    from ..encoders.base import BaseEncoder
    from ..index import Index

SHOWN = 0.4  # heat from which a match tells a reader something
LEG = "late"


@dataclass(frozen=True)
class Alignment:
    """A query's tokens against those of a passage.

    scores: (Q, T) float32 inner products, of the vectors as the index keeps them.
    query, content: the tokens; spans of `content` are in the passage's `text`, (-1, -1) for what
        is not in it (special tokens and the title).
    in_title: (T,) bool.
    """

    query: TokenSpans
    content: TokenSpans
    in_title: np.ndarray
    scores: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """(Q,) int64: the passage's token that each query token matched."""
        return self.scores.argmax(axis=1)

    def heat(self) -> np.ndarray:
        """(T,) float32, 0 to 1: how strongly each token of the passage answers a telling token of
        the query. 0 is no better than the passage's average token, 1 a perfect match."""
        telling = [
            place
            for place, (name, (start, _)) in enumerate(
                zip(self.query.names, self.query.spans.tolist(), strict=True)
            )
            if start >= 0 and name.lower() not in STOP_WORDS and any(map(str.isalnum, name))
        ]
        if not telling:
            return np.zeros(len(self.content), np.float32)
        scores = self.scores[telling]
        usual = np.minimum(scores.mean(axis=1, keepdims=True), np.float32(0.99))
        return ((scores - usual) / (1 - usual)).clip(0, 1).max(axis=0)

    def marks(self, text: str) -> list[tuple[int, int, float]]:
        """(start, end, heat) of the pieces of `text` that answer the query, in order and apart; the
        tokens of a word, or of a part of an identifier, count as one."""
        heat = self.heat()
        words: dict[tuple[int, int], float] = {}
        parts = [match.span() for match in PART.finditer(text)]
        starts = np.array([start for start, _ in parts], dtype=np.int64)
        for (start, end), warmth in zip(self.content.spans.tolist(), heat.tolist(), strict=True):
            place = int(np.searchsorted(starts, start, side="right")) - 1
            if start < 0 or warmth < SHOWN or place < 0 or start >= parts[place][1]:
                continue
            word = parts[place][0], max(end, parts[place][1])
            if text[slice(*word)].lower() in STOP_WORDS:
                continue
            words[word] = max(warmth, words.get(word, 0.0))
        marks: list[tuple[int, int, float]] = []
        for (start, end), warmth in sorted(words.items()):
            if not marks or start >= marks[-1][1]:
                marks.append((start, end, round(warmth, 3)))
        return marks

    def to_json(self) -> dict[str, Any]:
        """The whole table, for the tokens that stand in the passage's text."""
        inside = self.content.spans[:, 0] >= 0
        return {
            "query": self.query.names,
            "telling": [start >= 0 for start in self.query.spans[:, 0].tolist()],
            "spans": self.content.spans[inside].tolist(),
            "scores": np.round(self.scores[:, inside].astype(float), 3).tolist(),
        }


def alignments_of(
    index: Index, question: str, vectors: np.ndarray, passages: Sequence[Passage]
) -> list[Alignment]:
    """Each passage's vectors against those of the question, by the index's late-interaction part.

    vectors: (Q, D) float32, the question's.
    The stored vectors are taken where there is one for each token, so that the scores are the ones
    that ranked the passage; where tokens were pooled, the passage is encoded again.
    """
    encoder = cast("BaseEncoder", index.encoders.of_queries(LEG))
    pieces = query_token_spans(encoder, question)
    found = []
    for passage in passages:
        content = document_token_spans(encoder, passage.content)
        kept = index.folder.vectors(passage.id, LEG)
        if len(kept) != len(content) or encoder.pool_factor != 1:
            kept = encoder.encode_unpooled(passage.content)
        in_text = _in_text(content, passage)
        in_title = (content.spans[:, 0] >= 0) & (in_text.spans[:, 0] < 0)
        found.append(Alignment(pieces, in_text, in_title, vectors @ kept.T))
    return found


def _in_text(pieces: TokenSpans, passage: Passage) -> TokenSpans:
    """With spans in the passage's `text` instead of its `content`, of which it is a part."""
    text = passage.text
    begins = passage.content.rfind(text.strip()) - (len(text) - len(text.lstrip()))
    spans = pieces.spans - begins
    outside = (spans[:, 0] < 0) | (spans[:, 1] > len(text)) | (pieces.spans[:, 0] < 0)
    spans[outside] = -1
    return TokenSpans(spans, pieces.names)
