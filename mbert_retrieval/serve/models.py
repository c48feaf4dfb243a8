"""What requests and answers look like, and the limits that requests must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..search.explain import LegContribution, TokenMatch, WordMatch
from ..types import Mode, Passage
from .limits import (
    LARGEST_K,
    LONGEST_FILTER,
    LONGEST_NAME,
    LONGEST_QUERY,
    MOST_NAMES,
    MOST_PASSAGES,
)
from .service import Asked

LARGEST_LINE = 2**31
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Where = Annotated[
    str | None,
    Field(
        max_length=LONGEST_FILTER,
        description="Only such passages.",
        examples=["language = 'python' AND path LIKE 'src/%'"],
    ),
]
Languages = Annotated[
    Sequence[Name],
    Field(max_length=MOST_NAMES, description="Only passages in one of these languages."),
]
Paths = Annotated[
    Sequence[Name],
    Field(
        max_length=MOST_NAMES,
        description="Only files or folders of one of these names or patterns.",
        examples=[["src", "*_test.py"]],
    ),
]


class Strict(BaseModel):
    """Takes no unknown fields, and no text for a number."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Query(Strict):
    query: str = Field(min_length=1, max_length=LONGEST_QUERY, description="In words or code.")
    k: int = Field(10, ge=1, le=LARGEST_K, description="How many hits at most.")
    mode: Mode = Field("hybrid", description="Which parts of the index answer.")
    where: Where = None
    language: Languages = ()
    path: Paths = ()

    @property
    def asked(self) -> Asked:
        return Asked(self.k, self.mode, self.where, tuple(self.language), tuple(self.path))


class Search(Query):
    marks: bool = Field(False, description="Say which pieces of each text answer.")
    explain: bool = Field(False, description="Say why each was found.")

    @property
    def asked(self) -> Asked:
        return replace(super().asked, marks=self.marks, explain=self.explain)


class Explain(Query):
    """A search, and one of its passages."""

    id: str = Field(description="Of the passage; it need not be among the hits.")


class NewPassage(Strict):
    """A passage to add, or to put in the place of the one with its id."""

    id: str = Field(min_length=1)
    text: str
    title: str = ""
    path: str | None = None
    start_line: int | None = Field(None, ge=0, le=LARGEST_LINE)
    end_line: int | None = Field(None, ge=0, le=LARGEST_LINE)
    metadata: dict[str, Any] = Field(default_factory=dict)

    def to_passage(self) -> Passage:
        return Passage(**self.model_dump())


class Add(Strict):
    passages: list[NewPassage] = Field(min_length=1, max_length=MOST_PASSAGES)


class Delete(Strict):
    ids: list[str] = Field(min_length=1, max_length=MOST_PASSAGES)


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
    """marks: (start, end, heat from 0 to 1) of the pieces of the text that answer."""

    legs: list[LegContribution]
    tokens: list[TokenMatch]
    words: list[WordMatch]
    marks: list[tuple[int, int, float]]


class Table(BaseModel):
    """Late interaction: scores[i][j] of the query's token i and the text's token j, which stands
    at spans[j]. telling: whether the query's token is of its text."""

    query: list[str]
    telling: list[bool]
    spans: list[tuple[int, int]]
    scores: list[list[float]]


class MatchesWithTable(Matches):
    table: Table | None


class Hit(StoredPassage):
    rank: int
    score: float
    marks: list[tuple[int, int, float]] | None = None
    matches: Matches | None = None


class Hits(BaseModel):
    """commit: of the index, that was searched."""

    hits: list[Hit]
    commit: int
    seconds: float


class Explained(BaseModel):
    passage: StoredPassage
    matches: MatchesWithTable


class Changed(BaseModel):
    """How many passages; reused: whose vectors were there already; commit: from which on they can
    be found."""

    added: int
    updated: int
    unchanged: int
    deleted: int
    reused: int
    commit: int


class Info(BaseModel):
    name: str
    passages: int
    commit: int
    parts: dict[str, str]
    modes: list[str]
    facets: dict[str, dict[str, int]]
    writable: bool
    limits: dict[str, int]


class Health(BaseModel):
    status: str
    commit: int
    trouble: str | None = None


class Problem(BaseModel):
    """What is wrong and what to do, in a line."""

    detail: str
