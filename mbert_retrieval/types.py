"""What goes into an index and what comes out of a search."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Ranking = list[tuple[str, float]]  # (passage id, score), best first
Mode = Literal["hybrid", "vector", "late", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "vector", "late", "dense", "lexical")
# levels of metadata; SQLite reads 1,000 levels of JSON, and Python as many as its stack has left
MAX_DEPTH = 64


@dataclass(frozen=True)
class Passage:
    """A unit of retrieval: a function, a section, a window of lines, or a document of a corpus.

    Args:
        id: Identifier, unique within an index; any Unicode text.
        text: The text itself.
        title: Title; encoders and BM25 read it before the text.
        path: Path of the source file, None for a passage that comes from a collection.
        start_line: First line in that file, counted from 1.
        end_line: Last line in that file, inclusive.
        metadata: JSON values, which filters can name (`where="language = 'python'"`).

    Example:
        >>> Passage(id="1", text="def add(a, b): ...", title="add").content
        'add def add(a, b): ...'
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
        """The text that encoders read: title and text joined by a space (BEIR's protocol)."""
        return titled(self.title, self.text)

    @property
    def words(self) -> str:
        """The text that BM25 reads: path and content, so that words of the path match too."""
        return titled(self.path, self.content)

    @property
    def document(self) -> str:
        """What the passage belongs to: its file, the record it was cut from, or itself."""
        return self.path or str(self.metadata.get("document") or self.id)


def is_too_deep(metadata: Any) -> bool:
    """Return whether a JSON value has more than MAX_DEPTH levels of objects and arrays.

    Args:
        metadata: The value; one that contains itself has no last level.

    Returns:
        True for a value that no index takes.

    Example:
        >>> is_too_deep({"author": {"names": ["Ann"]}})
        False
    """
    level = {id(metadata): metadata}
    for _ in range(MAX_DEPTH):
        containers = [each for each in level.values() if isinstance(each, dict | list | tuple)]
        level = {
            id(inner): inner
            for outer in containers
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        }
        if not level:
            return False
    return any(isinstance(each, dict | list | tuple) for each in level.values())


def titled(title: str | None, text: str) -> str:
    """Join title and text by a space, as BEIR's protocol does."""
    return f"{title} {text}".strip() if title else text


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Args:
        rank: Position in the result, counted from 1.
        score: Score of the leg, or of the fusion of several; higher is better.
        passage: The passage itself.

    Example:
        >>> Hit(rank=1, score=0.5, passage=Passage("a", "text")).to_json()["id"]
        'a'
    """

    rank: int
    score: float
    passage: Passage

    def to_json(self) -> dict[str, Any]:
        """Return rank, score and the passage's fields as one flat JSON object."""
        passage = asdict(self.passage)
        order = ("path", "start_line", "end_line", "title", "text", "metadata")
        return {
            "rank": self.rank,
            "id": self.passage.id,
            "score": self.score,
            **{name: passage[name] for name in order},
        }
