"""What goes into an index and what comes out of a search."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Ranking = list[tuple[str, float]]  # (passage id, score), best first
Mode = Literal["hybrid", "vector", "late", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "vector", "late", "dense", "lexical")


@dataclass(frozen=True)
class Passage:
    """A unit of retrieval: a function, a section, a window of lines, or a document of a corpus.

    id: unique in its index, any Unicode.
    path, start_line, end_line: where it stands in a source file (lines count from 1, both
        inclusive); None for passages that come from a collection.
    metadata: JSON values.
    """

    id: str
    text: str
    title: str = ""
    path: str | None = None
    start_line: int | None = None
    end_line: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What encoders see: title and text joined by a space (BEIR's protocol)."""
        return titled(self.title, self.text)

    @property
    def words(self) -> str:
        """What BM25 sees: the path as well, so that its words can be asked for."""
        return titled(self.path, self.content)


def titled(title: str | None, text: str) -> str:
    """Title and text joined by a space, as BEIR's protocol has it."""
    return f"{title} {text}".strip() if title else text


@dataclass(frozen=True)
class Hit:
    """One search result. `rank` counts from 1; a higher score is better."""

    rank: int
    id: str
    score: float
    path: str | None
    start_line: int | None
    end_line: int | None
    title: str
    text: str
    metadata: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
