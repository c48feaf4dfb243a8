"""Why a passage was found: what each part of the index gave it, and which words matched which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..index import Index
from ..indexes.engine import NO_TUNING
from ..packed import Packed
from ..types import Passage
from .alignment import Alignment, alignments_of
from .query_words import telling_words, word_pattern
from .result import SearchResult, combine

if TYPE_CHECKING:
    from ..indexes.filtering import Filter

Mark = tuple[int, int, float]


@dataclass(frozen=True)
class LegShare:
    """What a part of the index ("late", "dense", "lexical") said of a passage, or what it gets as
    the "definition" of a name.

    rank: from 1; None when the passage is not among the part's best.
    score: the part's own; None when it gives none, as BM25 to a passage without a word.
    share: what it adds to the passage's score in the search.
    """

    leg: str
    rank: int | None
    score: float | None
    share: float


@dataclass(frozen=True)
class TokenMatch:
    """A token of the query and the token of the passage that it matched best.

    start, end: characters of the query and of the passage's text; None for what is not in it
        (special tokens, the title). part: "text" or "title", None for a special token.
    line: in the passage's file.
    score: the inner product of their vectors; MaxSim is the sum of all.
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
    """A word of the query, its part of the passage's BM25 score, and where the text has it."""

    word: str
    score: float
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Explanation:
    """marks: (start, end, 0 to 1) of the pieces of the text that answer the query."""

    id: str
    legs: list[LegShare]
    tokens: list[TokenMatch] = field(default_factory=list)
    words: list[WordMatch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    alignment: Alignment | None = None

    def to_json(self, table: bool = False) -> dict[str, Any]:
        """table: with all scores of late interaction, token by token."""
        value: dict[str, Any] = {
            "legs": [vars(leg) for leg in self.legs],
            "tokens": [vars(token) for token in self.tokens],
            "words": [vars(word) for word in self.words],
            "marks": self.marks,
        }
        if table:
            value["table"] = self.alignment.to_json() if self.alignment else None
        return value


def explain(
    index: Index,
    question: str,
    ids: Sequence[str],
    k: int = 10,
    mode: str = "hybrid",
    where: str | Filter | None = None,
    tuning: Mapping[str, int] = NO_TUNING,
) -> list[Explanation]:
    """Why `Index.search` with these parameters gives these passages the scores that it does.

    ids: need not be among what it finds. Raises InputError as it, and for an unknown id.
    """
    (found,) = index.answers([question], k, mode, where, tuning)
    return explained(index, found, ids, tuning)


def explained(
    index: Index, found: SearchResult, ids: Sequence[str], tuning: Mapping[str, int] = NO_TUNING
) -> list[Explanation]:
    """As `explain`, of a search that was made: nothing is searched or encoded again, but scores
    of passages that a part did not find."""
    passages = index.folder.passages(ids)
    if not passages:
        return []
    question = found.question
    shares = _leg_shares(index, found, ids, tuning)
    if found.mode == "hybrid" and len(found.rankings) > 1:
        _add_definitions(index, found, shares)
    words = _word_matches(index, question, passages) if "lexical" in found.rankings else {}
    alignments = _alignments(index, found, passages)
    explanations = []
    for place, passage in enumerate(passages):
        alignment = alignments[place]
        explanations.append(
            Explanation(
                passage.id,
                shares[passage.id],
                _token_matches(alignment, passage) if alignment else [],
                words.get(passage.id, []),
                _marks(question, passage, alignment),
                alignment,
            )
        )
    return explanations


def marks_of(index: Index, found: SearchResult, passages: Sequence[Passage]) -> list[list[Mark]]:
    """Of each passage the pieces of its text that answer the question, with a heat of 0 to 1: by
    late interaction where it took part in the search, else the question's words."""
    return [
        _marks(found.question, passage, alignment)
        for passage, alignment in zip(passages, _alignments(index, found, passages), strict=True)
    ]


def _alignments(
    index: Index, found: SearchResult, passages: Sequence[Passage]
) -> Sequence[Alignment | None]:
    vectors = found.vectors.get("late")
    if vectors is None:
        return [None] * len(passages)
    return alignments_of(index, found.question, vectors, passages)


def _marks(question: str, passage: Passage, alignment: Alignment | None) -> list[Mark]:
    if alignment is not None:
        return alignment.marks(passage.text)
    pattern = word_pattern(question)
    return [(*match.span(), 1.0) for match in pattern.finditer(passage.text)] if pattern else []


def _leg_shares(
    index: Index, found: SearchResult, ids: Sequence[str], tuning: Mapping[str, int]
) -> dict[str, list[LegShare]]:
    rankings = found.rankings
    shares: dict[str, list[LegShare]] = {id: [] for id in ids}
    for leg, ranking in rankings.items():
        places = {id: (rank, score) for rank, (id, score) in enumerate(ranking, start=1)}
        given = dict(combine(rankings, sum(map(len, rankings.values())), only=leg))
        missing = [id for id in shares if id not in places]
        below = _scores_of(index, found, leg, missing, tuning) if missing else {}
        for id, given_here in shares.items():
            rank, score = places.get(id, (None, below.get(id)))
            given_here.append(LegShare(leg, rank, score, given.get(id, 0.0)))
    return shares


def _add_definitions(
    index: Index, found: SearchResult, shares: Mapping[str, list[LegShare]]
) -> None:
    """What a definition gets for the name that was asked for."""
    before = found.combined()
    fused = dict(before)
    for id, score in index.definitions_first(found.question, before):
        if id in shares and score > fused[id]:
            shares[id].append(LegShare("definition", None, None, score - fused[id]))


def _scores_of(
    index: Index, found: SearchResult, leg: str, ids: Sequence[str], tuning: Mapping[str, int]
) -> dict[str, float]:
    """A part's own scores of a few passages."""
    if leg == "lexical":
        return _word_scores(index, found.question, ids)
    queries = Packed.from_sequences([found.vectors[leg]])
    (ranking,) = index.folder.search_vectors(queries, len(ids), _among(ids), leg, tuning)
    return dict(ranking)


def _word_scores(index: Index, words: str, ids: Sequence[str]) -> dict[str, float]:
    (ranking,) = index.folder.search_lexical([words], len(ids), _among(ids))
    return dict(ranking)


def _among(ids: Sequence[str]) -> str:
    quoted = ", ".join("'" + id.replace("'", "''") + "'" for id in ids)
    return f"id IN ({quoted})"


def _word_matches(
    index: Index, question: str, passages: Sequence[Passage]
) -> dict[str, list[WordMatch]]:
    """BM25 is a sum over words, so each word searched alone gives its part of the score."""
    matches: dict[str, list[WordMatch]] = {passage.id: [] for passage in passages}
    for word in telling_words(question):
        pattern = word_pattern(word)
        scores = _word_scores(index, word, list(matches))
        for passage in passages:
            if (score := scores.get(passage.id)) is not None:
                found = pattern.finditer(passage.text) if pattern else ()
                spans = [match.span() for match in found]
                matches[passage.id].append(WordMatch(word, score, spans))
    return matches


def _token_matches(alignment: Alignment, passage: Passage) -> list[TokenMatch]:
    query, content = alignment.query, alignment.content
    matches = []
    for place, (chosen, span) in enumerate(
        zip(alignment.best.tolist(), query.spans.tolist(), strict=True)
    ):
        start, end = content.spans[chosen].tolist()
        inside, in_query = start >= 0, span[0] >= 0
        line = None
        if inside and passage.start_line is not None:
            line = passage.start_line + passage.text.count("\n", 0, start)
        matches.append(
            TokenMatch(
                query.names[place],
                span[0] if in_query else None,
                span[1] if in_query else None,
                content.names[chosen],
                start if inside else None,
                end if inside else None,
                "text" if inside else "title" if alignment.in_title[chosen] else None,
                line,
                float(alignment.scores[place, chosen]),
            )
        )
    return matches
