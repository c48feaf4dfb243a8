"""Late interaction, token by token: what MaxSim (Khattab and Zaharia 2020) sums up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..indexes.lexical import PART, STOP_WORDS
from ..types import Passage
from .ranked import RankedQuery

if TYPE_CHECKING:
    from ..encoders.spans import TokenSpans

MIN_HEAT = 0.4  # heat from which a match tells a reader something
LEG = "late"


@dataclass(frozen=True)
class Alignment:
    """A query's tokens against those of a passage.

    scores: (Q, T) float32 inner products of the vectors as the index stores them.
    query, content: the tokens; spans of `content` are in the passage's `text`, (-1, -1) for what
        is not in it (special tokens and the title).
    in_title: (T,) bool.
    text: the passage's text.
    """

    query: TokenSpans
    content: TokenSpans
    in_title: np.ndarray
    scores: np.ndarray
    text: str

    @property
    def best(self) -> np.ndarray:
        """(Q,) int64: index of the passage token that each query token matches best."""
        best: np.ndarray = self.scores.argmax(axis=1)
        return best

    def query_content(self) -> list[bool]:
        """Return whether each token of the query is a content token: no special token, no stop
        word, no punctuation."""
        return [
            start >= 0 and name.lower() not in STOP_WORDS and any(map(str.isalnum, name))
            for name, (start, _) in zip(self.query.names, self.query.spans.tolist(), strict=True)
        ]

    def text_content(self) -> list[bool]:
        """Return the same of the passage's tokens; part of a longer word is no stop word."""
        content, text = [], self.text
        for start, end in self.content.spans.tolist():
            word = text[start:end].strip() if start >= 0 else ""
            around = text[max(start - 1, 0) : start] + text[end : end + 1]
            stop_word = word.lower() in STOP_WORDS and not any(map(str.isalnum, around))
            content.append(any(map(str.isalnum, word)) and not stop_word)
        return content

    def heat(self) -> np.ndarray:
        """(T,) float32 in 0..1: how strongly each passage token answers a content token of the
        query. 0 is no better than the passage's average token, 1 is a perfect match."""
        content_tokens = [row for row, is_content in enumerate(self.query_content()) if is_content]
        if not content_tokens:
            return np.zeros(len(self.content), np.float32)
        scores = self.scores[content_tokens]
        average = np.minimum(scores.mean(axis=1, keepdims=True), np.float32(0.99))
        heat: np.ndarray = ((scores - average) / (1 - average)).clip(0, 1).max(axis=0)
        return heat

    def marks(self) -> list[tuple[int, int, float]]:
        """Return (start, end, heat) of the disjoint spans of the text that answer the query.

        The tokens of a word, or of one component of an identifier, count as one span.
        """
        text = self.text
        words: dict[tuple[int, int], float] = {}
        components = [match.span() for match in PART.finditer(text)]
        starts = np.array([start for start, _ in components], dtype=np.int64)
        spans = self.content.spans.tolist()
        for (start, end), heat in zip(spans, self.heat().tolist(), strict=True):
            index = int(np.searchsorted(starts, start, side="right")) - 1
            if start < 0 or heat < MIN_HEAT or index < 0 or start >= components[index][1]:
                continue
            word = components[index][0], max(end, components[index][1])
            if text[slice(*word)].lower() in STOP_WORDS:
                continue
            words[word] = max(heat, words.get(word, 0.0))
        marks: list[tuple[int, int, float]] = []
        for (start, end), heat in sorted(words.items()):
            if not marks or start >= marks[-1][1]:
                marks.append((start, end, round(heat, 3)))
        return marks

    def to_json(self) -> dict[str, Any]:
        """Return the table of scores for the tokens that are in the passage's text."""
        inside = self.content.spans[:, 0] >= 0
        return {
            "query": self.query.names,
            "query_content": self.query_content(),
            "text_content": np.array(self.text_content(), bool)[inside].tolist(),
            "spans": self.content.spans[inside].tolist(),
            "scores": np.round(self.scores[:, inside].astype(float), 3).tolist(),
        }


def align(result: RankedQuery, passages: Sequence[Passage]) -> Sequence[Alignment | None]:
    """Compare the query's vectors with those of each passage.

    None where the late leg took no part or its encoder does not tell its tokens.

    The stored vectors are used where there is one per token, so that the scores are the ones that
    ranked the passage. Where tokens were pooled, the passage is encoded again.
    """
    vectors = result.vectors.get(LEG)  # (Q, D)
    if vectors is None:
        return [None] * len(passages)
    # imported here, so that a query by words alone does not load the encoders
    from ..encoders.base import BaseEncoder
    from ..encoders.spans import document_token_spans, query_token_spans

    encoder = result.encoders.query_encoder(LEG)
    if not isinstance(encoder, BaseEncoder):  # of the user's own: its tokens are not known
        return [None] * len(passages)
    query = query_token_spans(encoder, result.query)
    alignments = []
    for passage in passages:
        content = document_token_spans(encoder, passage.content)
        stored = result.folder.vectors(passage.id, LEG)  # (T, D)
        if len(stored) != len(content) or encoder.pool_factor != 1:
            stored = encoder.encode_unpooled(passage.content)
        in_text = _spans_in_text(content, passage)
        in_title = (content.spans[:, 0] >= 0) & (in_text.spans[:, 0] < 0)
        alignments.append(Alignment(query, in_text, in_title, vectors @ stored.T, passage.text))
    return alignments


def _spans_in_text(tokens: TokenSpans, passage: Passage) -> TokenSpans:
    """Shift spans from the passage's `content` to its `text`, which is the end of it."""
    text = passage.text
    start = passage.content.rfind(text.strip()) - (len(text) - len(text.lstrip()))
    spans = tokens.spans - start
    outside = (spans[:, 0] < 0) | (spans[:, 1] > len(text)) | (tokens.spans[:, 0] < 0)
    spans[outside] = -1
    return replace(tokens, spans=spans)
