"""Which files of a folder are wanted, and how they are cut: kept with the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..errors import InputError
from .text import MAX_BYTES
from .wildmatch import Rule, parse_rule


@dataclass(frozen=True)
class Selection:
    """include, exclude: patterns in `.gitignore`'s notation, of files (all when there is none) and
    of files and folders; max_bytes: of one file. documents: "whole", one passage
    each; "cut" into passages; "" for files cut and the records of collections whole.

    Raises InputError for a pattern that matches nothing and for a limit under 1.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_bytes: int = MAX_BYTES
    documents: str = ""

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            rule = parse_rule(pattern)
            if rule is None or rule.negated:
                raise InputError(f"cannot read the pattern {pattern!r}: write it as in .gitignore")
        if self.max_bytes < 1:
            raise InputError(f"the size limit must be at least 1 byte, it is {self.max_bytes}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Selection:
        return cls(
            tuple(value.get("include", ())),
            tuple(value.get("exclude", ())),
            value.get("max_bytes", MAX_BYTES),
            value.get("documents", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """What differs from the default."""
        default = asdict(Selection())
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value != default[name]
        }

    def takes(self, path: str) -> bool:
        """Whether a file is wanted. path: below the source's folder."""
        if not self._included:
            return True
        parts = path.split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        return any(
            rule.matches(path, False) or any(rule.matches(folder, True) for folder in folders)
            for rule in self._included
        )

    def asks_for(self, suffix: str) -> bool:
        """Whether a pattern to include ends as such files do."""
        return any(pattern.lower().endswith(suffix.lower()) for pattern in self.include)

    def leaves_out(self, path: str, folder: bool) -> bool:
        """Whether a file or folder, and all that is in it, is not wanted."""
        return any(rule.matches(path, folder) for rule in self._excluded)

    @cached_property
    def _included(self) -> list[Rule]:
        return [rule for pattern in self.include if (rule := parse_rule(pattern))]

    @cached_property
    def _excluded(self) -> list[Rule]:
        return [rule for pattern in self.exclude if (rule := parse_rule(pattern))]


EVERYTHING = Selection()
