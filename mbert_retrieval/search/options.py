"""How to search: the options that travel together, and what every query must satisfy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..indexes.filtering import Filter, parse_where
from ..indexes.validation import check_k, check_text
from ..types import MODES, Mode


@dataclass(frozen=True)
class SearchOptions:
    """See `Index.search` for the meaning of each. Raises InputError or TypeError for a bad one."""

    k: int = 10
    mode: Mode = "hybrid"
    where: str | Filter | None = None
    tuning: Mapping[str, int] = field(default_factory=dict)
    group: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_k(self.k))
        if self.mode not in MODES:
            raise InputError(f"unknown mode {self.mode!r}: use one of {', '.join(MODES)}")
        if isinstance(self.where, str):
            object.__setattr__(self, "where", parse_where(self.where))
        elif not (self.where is None or isinstance(self.where, Filter)):
            raise TypeError(
                f"where must be a filter expression such as \"language = 'python'\", "
                f"not {type(self.where).__name__}"
            )


def check_query(text: Any) -> None:
    """Raise TypeError where the query is no string, InputError where it is empty or no Unicode."""
    if not isinstance(text, str):
        raise TypeError(f"the query must be a string, not {type(text).__name__}")
    check_text(text, "the query")
    if not text.strip():
        raise InputError("the query is empty: say what to look for")


def check_texts(texts: Any) -> list[str]:
    """Return several queries as a list. Raise TypeError where they are something else."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError("texts must be a list of strings; `search` takes a single one")
    listed = list(texts)
    for text in listed:
        if not isinstance(text, str):
            raise TypeError(f"texts must be a list of strings, not of {type(text).__name__}")
        check_text(text, "the query")
    return listed
