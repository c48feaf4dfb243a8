"""`Selection`: which files of a folder to index, and how to split them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..errors import InputError
from .decode import MAX_BYTES
from .wildmatch import Rule, parse_rule


@dataclass(frozen=True)
class Selection:
    """Which files of a folder to index, and how to split them. An index stores its selection.

    Args:
        include: Patterns in the notation of `.gitignore`. Only files that match one are taken, or
            files in a folder that matches one. All files if empty.
        exclude: Patterns of files and folders to leave out.
        max_bytes: The largest size of a file in bytes. Collections have no limit.
        documents: "whole" for one passage per document, "cut" to split documents, "" to split files
            but keep the records of collections whole.

    Raises:
        TypeError: If the patterns are one string.
        InputError: For a pattern that can match nothing, a limit below 1, and another value of
            `documents`.

    Example:
        >>> selection = Selection(include=("*.py",), exclude=("tests/",))
        >>> selection.includes("src/main.py"), selection.includes("README.md")
        (True, False)
        >>> selection.excludes("tests", is_folder=True)
        True
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_bytes: int = MAX_BYTES
    documents: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.include, str) or isinstance(self.exclude, str):
            raise TypeError("include and exclude must be tuples of patterns, not one string")
        if self.documents not in ("", "cut", "whole"):
            raise InputError(f'documents must be "whole", "cut" or "", it is {self.documents!r}')
        for pattern in (*self.include, *self.exclude):
            rule = parse_rule(pattern)
            if rule is None or rule.negated:
                raise InputError(f"cannot read the pattern {pattern!r}: write it as in .gitignore")
        if self.max_bytes < 1:
            raise InputError(f"the size limit must be at least 1 byte, it is {self.max_bytes}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Selection:
        """Return the selection that `to_json` described. Raises TypeError for other values."""
        for name in ("include", "exclude"):
            patterns = value.get(name, [])
            if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
                raise TypeError(f"{name} must be a list of patterns")
        if type(value.get("max_bytes", MAX_BYTES)) is not int:
            raise TypeError("max_bytes must be a number")
        return cls(
            tuple(value.get("include", ())),
            tuple(value.get("exclude", ())),
            value.get("max_bytes", MAX_BYTES),
            value.get("documents", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the values that differ from the default, as JSON can hold them."""
        default = asdict(Selection())
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value != default[name]
        }

    def includes(self, path: str) -> bool:
        """Return whether a file, by its path below the source's folder, is to be included."""
        if not self._include_rules:
            return True
        parts = path.split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        return any(
            rule.matches(path, False) or any(rule.matches(folder, True) for folder in folders)
            for rule in self._include_rules
        )

    def names_hidden(self, name: str) -> bool:
        """Return whether a pattern to include names a hidden file or folder such as `.github`."""
        return any(rule.matches(name, True) for rule in self._hidden_rules)

    def includes_suffix(self, suffix: str) -> bool:
        """Return whether a pattern to include ends with this suffix."""
        return any(pattern.lower().endswith(suffix.lower()) for pattern in self.include)

    def excludes(self, path: str, is_folder: bool) -> bool:
        """Return whether a file, or a folder and everything in it, is to be left out."""
        return any(rule.matches(path, is_folder) for rule in self._exclude_rules)

    @cached_property
    def _include_rules(self) -> list[Rule]:
        return [rule for pattern in self.include if (rule := parse_rule(pattern))]

    @cached_property
    def _hidden_rules(self) -> list[Rule]:
        names = {name for pattern in self.include for name in pattern.split("/")}
        hidden = [name for name in names if name.startswith(".")]
        return [rule for name in hidden if (rule := parse_rule(name))]

    @cached_property
    def _exclude_rules(self) -> list[Rule]:
        return [rule for pattern in self.exclude if (rule := parse_rule(pattern))]


EVERYTHING = Selection()
