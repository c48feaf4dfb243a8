"""The JSON bodies of requests and answers; the OpenAPI description is made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..search.explain import LegContribution, TokenMatch, WordMatch
from ..types import MAX_DEPTH, Mode, Passage, is_too_deep
from .limits import (
    MAX_FILTER_LENGTH,
    MAX_K,
    MAX_NAME_LENGTH,
    MAX_NAMES,
    MAX_PASSAGES,
    MAX_QUERY_LENGTH,
)
from .service import SearchRequest

MAX_LINE = 2**31
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Where = Annotated[
    str | None,
    Field(
        max_length=MAX_FILTER_LENGTH,
        description="A filter: only passages that match.",
        examples=["language = 'python' AND path LIKE 'src/%'"],
    ),
]
Languages = Annotated[
    Sequence[Name],
    Field(max_length=MAX_NAMES, description="Only passages in one of these languages."),
]
Paths = Annotated[
    Sequence[Name],
    Field(
        max_length=MAX_NAMES,
        description="Only files or folders with one of these names or patterns.",
        examples=[["src", "*_test.py"]],
    ),
]


class Strict(BaseModel):
    """A body without unknown fields and without text where a number is expected."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Query(Strict):
    query: str = Field(
        min_length=1, max_length=MAX_QUERY_LENGTH, description="What to look for, in words or code."
    )
    k: int = Field(10, ge=1, le=MAX_K, description="Number of hits at most.")
    mode: Mode = Field(
        "hybrid",
        description="How to search: hybrid (all legs), vector (late and dense), or one leg.",
    )
    where: Where = None
    language: Languages = ()
    path: Paths = ()

    def to_request(self) -> SearchRequest:
        """Return all but the query."""
        return SearchRequest(self.k, self.mode, self.where, tuple(self.language), tuple(self.path))


class Search(Query):
    marks: bool = Field(False, description="Return the spans of each text that answer.")
    explain: bool = Field(False, description="Explain the score of each hit.")

    def to_request(self) -> SearchRequest:
        """Return all but the query."""
        return replace(super().to_request(), marks=self.marks, explain=self.explain)


class Explain(Query):
    """A search, and a passage to explain."""

    id: str = Field(description="Id of the passage, which need not be among the hits.")


def _shallow(metadata: dict[str, Any]) -> dict[str, Any]:
    if is_too_deep(metadata):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    return metadata


class NewPassage(Strict):
    """A passage to add; it replaces one with the same id."""

    id: str = Field(min_length=1)
    text: str
    title: str = ""
    path: str | None = None
    start_line: int | None = Field(None, ge=0, le=MAX_LINE)
    end_line: int | None = Field(None, ge=0, le=MAX_LINE)
    metadata: Annotated[dict[str, Any], AfterValidator(_shallow)] = Field(
        default_factory=dict, description=f"JSON values, at most {MAX_DEPTH} levels deep."
    )

    def to_passage(self) -> Passage:
        return Passage(**self.model_dump())


class Add(Strict):
    passages: list[NewPassage] = Field(min_length=1, max_length=MAX_PASSAGES)


class Delete(Strict):
    ids: list[str] = Field(min_length=1, max_length=MAX_PASSAGES)


class StoredPassage(BaseModel):
    id: str
    text: str
    title: str
    path: str | None
    start_line: int | None
    end_line: int | None
    metadata: dict[str, Any]


class Document(BaseModel):
    path: str
    passages: list[StoredPassage]


class Matches(BaseModel):
    """Why a passage has its score.

    marks: (start, end, heat from 0 to 1) of the spans of the text that answer.
    """

    legs: list[LegContribution]
    tokens: list[TokenMatch]
    words: list[WordMatch]
    marks: list[tuple[int, int, float]]


class Table(BaseModel):
    """Token scores of late interaction.

    scores[i][j] is the score of the query's token i and the text's token j, whose characters are
    spans[j]. query_content, text_content: whether a token is a content token: no special token, no
    stop word, no punctuation.
    """

    query: list[str]
    query_content: list[bool]
    spans: list[tuple[int, int]]
    text_content: list[bool]
    scores: list[list[float]]


class MatchesWithTable(Matches):
    table: Table | None


class Hit(StoredPassage):
    rank: int
    score: float
    marks: list[tuple[int, int, float]] | None = None
    matches: Matches | None = None


class Age(BaseModel):
    """How old an answer is.

    as_of: when the index was last in step with its source files; null where it never was, or does
    not know them. age_s: seconds since then. stale: why it is not newer.
    """

    as_of: str | None
    age_s: float | None
    stale: str | None = None


class Hits(Age):
    """The hits of a search. commit: the commit of the index that was searched."""

    hits: list[Hit]
    commit: int
    seconds: float


class Explained(BaseModel):
    passage: StoredPassage
    matches: MatchesWithTable


class Spelling(BaseModel):
    """Words of a query that no passage has; for each, words of the index that resemble it."""

    words: dict[str, list[str]]


class Changed(BaseModel):
    """Numbers of passages.

    reused: passages whose vectors the index had already. unreadable: files and folders whose
    passages stay because they could not be read. commit: the first commit that has them.
    """

    added: int
    updated: int
    unchanged: int
    deleted: int
    reused: int
    unreadable: int
    commit: int


class Info(Age):
    """What is served.

    modes: those that answer differently. examples: questions that passages answer.
    """

    name: str
    passages: int
    commit: int
    parts: dict[str, str]
    modes: list[str]
    examples: list[str]
    facets: dict[str, dict[str, int]]
    writable: bool
    limits: dict[str, int]


class Health(BaseModel):
    status: str
    commit: int
    trouble: str | None = None


class Ready(BaseModel):
    status: str
    commit: int


class Problem(BaseModel):
    """What is wrong and what to do, in one line."""

    detail: str
