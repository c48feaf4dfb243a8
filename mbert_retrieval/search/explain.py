"""Explain a hit: what each leg contributed, and which tokens and words matched which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..packed import Packed
from ..types import Passage
from .alignment import Alignment, align
from .fusion import fuse_legs
from .query_terms import content_terms, term_pattern
from .ranked import LEXICAL, RankedQuery
from .ranking import definitions_first

Mark = tuple[int, int, float]  # start and end in the text, heat from 0 to 1


@dataclass(frozen=True)
class LegContribution:
    """What a leg contributed to a passage's score, or the ranking rule "definition".

    rank: in the leg's ranking, from 1; None where the passage is not in it.
    score: the leg's own score; None where it gives none, as BM25 to a passage without a term.
    share: what the leg adds to the passage's final score.
    """

    leg: str
    rank: int | None
    score: float | None
    share: float


@dataclass(frozen=True)
class TokenMatch:
    """A token of the query and the passage token that matches it best.

    query_start, query_end, start, end: characters of the query and of the passage's text; None
        for special tokens and for the title.
    part: "text" or "title", None for a special token. line: line in the passage's file.
    score: inner product of their vectors; MaxSim is the sum over the query's tokens.
    """

    query: str
    query_start: int | None
    query_end: int | None
    text: str
    start: int | None
    end: int | None
    part: Literal["text", "title"] | None
    line: int | None
    score: float


@dataclass(frozen=True)
class WordMatch:
    """A term of the query, its share of the passage's BM25 score, and its spans in the text."""

    word: str
    score: float
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Explanation:
    """Why a passage has its score. marks: spans of the text that answer the query."""

    id: str
    legs: list[LegContribution]
    tokens: list[TokenMatch] = field(default_factory=list)
    words: list[WordMatch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    alignment: Alignment | None = None

    def to_json(self, table: bool = False) -> dict[str, Any]:
        """Return a JSON object; with `table`, also all token scores of late interaction."""
        value: dict[str, Any] = {
            "legs": [vars(leg) for leg in self.legs],
            "tokens": [vars(token) for token in self.tokens],
            "words": [vars(word) for word in self.words],
            "marks": self.marks,
        }
        if table:
            value["table"] = self.alignment.to_json() if self.alignment else None
        return value


def explain_passages(result: RankedQuery, ids: Sequence[str]) -> list[Explanation]:
    """See `SearchResult.explain`. Only scores that a leg did not return are looked up."""
    passages = result.passages(ids)
    if not passages:
        return []
    contributions = _leg_contributions(result, ids)
    words = _word_matches(result, passages) if LEXICAL in result.rankings else {}
    explanations = []
    for passage, alignment in zip(passages, align(result, passages), strict=True):
        explanations.append(
            Explanation(
                passage.id,
                contributions[passage.id],
                _token_matches(alignment, passage) if alignment else [],
                words.get(passage.id, []),
                _marks(result.query, passage, alignment),
                alignment,
            )
        )
    return explanations


def marks_of(result: RankedQuery, passages: Sequence[Passage]) -> list[list[Mark]]:
    """Return for each passage the spans of its text that answer the query, with their heat.

    By late interaction where it took part in the search, else the query's terms.
    """
    return [
        _marks(result.query, passage, alignment)
        for passage, alignment in zip(passages, align(result, passages), strict=True)
    ]


def _marks(query: str, passage: Passage, alignment: Alignment | None) -> list[Mark]:
    if alignment is not None:
        return alignment.marks()
    pattern = term_pattern(query)
    return [(*match.span(), 1.0) for match in pattern.finditer(passage.text)] if pattern else []


def _leg_contributions(result: RankedQuery, ids: Sequence[str]) -> dict[str, list[LegContribution]]:
    rankings = result.rankings
    contributions: dict[str, list[LegContribution]] = {id: [] for id in ids}
    for leg, ranking in rankings.items():
        ranked = {id: (rank, score) for rank, (id, score) in enumerate(ranking, start=1)}
        shares = dict(fuse_legs(rankings, sum(map(len, rankings.values())), only=leg))
        unranked = [id for id in contributions if id not in ranked]
        below = _leg_scores(result, leg, unranked) if unranked else {}
        for id, entries in contributions.items():
            rank, score = ranked.get(id, (None, below.get(id)))
            entries.append(LegContribution(leg, rank, score, shares.get(id, 0.0)))
    if result.has_ranking_rules:
        fused = dict(result.fused)
        for id, score in definitions_first(result.query, result.fused, result.passages):
            if id in contributions and score > fused[id]:
                boost = LegContribution("definition", None, None, score - fused[id])
                contributions[id].append(boost)
    return contributions


def _leg_scores(result: RankedQuery, leg: str, ids: Sequence[str]) -> dict[str, float]:
    """Return a leg's own scores of a few passages."""
    if leg == LEXICAL:
        return _bm25_scores(result, result.query, ids)
    queries = Packed.from_sequences([result.vectors[leg]])
    (ranking,) = result.folder.search_vectors(
        queries, len(ids), _id_filter(ids), leg, result.options.tuning
    )
    return dict(ranking)


def _bm25_scores(result: RankedQuery, words: str, ids: Sequence[str]) -> dict[str, float]:
    (ranking,) = result.folder.search_lexical([words], len(ids), _id_filter(ids))
    return dict(ranking)


def _id_filter(ids: Sequence[str]) -> str:
    quoted = ", ".join("'" + id.replace("'", "''") + "'" for id in ids)
    return f"id IN ({quoted})"


def _word_matches(result: RankedQuery, passages: Sequence[Passage]) -> dict[str, list[WordMatch]]:
    """BM25 sums over terms, so each term searched alone gives its share of the score."""
    matches: dict[str, list[WordMatch]] = {passage.id: [] for passage in passages}
    for term in content_terms(result.query):
        pattern = term_pattern(term)
        scores = _bm25_scores(result, term, list(matches))
        for passage in passages:
            if (score := scores.get(passage.id)) is not None:
                spans = (
                    [match.span() for match in pattern.finditer(passage.text)] if pattern else []
                )
                matches[passage.id].append(WordMatch(term, score, spans))
    return matches


def _token_matches(alignment: Alignment, passage: Passage) -> list[TokenMatch]:
    query, content = alignment.query, alignment.content
    matches = []
    for row, (best, (query_start, query_end)) in enumerate(
        zip(alignment.best.tolist(), query.spans.tolist(), strict=True)
    ):
        start, end = content.spans[best].tolist()
        in_text, in_query = start >= 0, query_start >= 0
        line = None
        if in_text and passage.start_line is not None:
            line = passage.start_line + passage.text.count("\n", 0, start)
        matches.append(
            TokenMatch(
                query.names[row],
                query_start if in_query else None,
                query_end if in_query else None,
                content.names[best],
                start if in_text else None,
                end if in_text else None,
                "text" if in_text else "title" if alignment.in_title[best] else None,
                line,
                float(alignment.scores[row, best]),
            )
        )
    return matches
