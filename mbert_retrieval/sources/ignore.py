"""`.gitignore` and `.ignore` files, with git's rules of precedence.

Each entry of a folder is judged on its own, after the folders above it were found not to be
ignored: as in git, nothing below an ignored folder can be included again. (pathspec does not fit:
it judges whole paths, and reads `!*/` as a rule for the files inside folders as well.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InputError
from .decode import read_bytes
from .repository import exclude_files, repository_top
from .wildmatch import Rule, parse_rule

RULE_FILES = (".gitignore", ".ignore")  # in one folder, the rules of the second come last


@dataclass(frozen=True)
class FolderRules:
    """The ignore rules of one folder.

    Args:
        prefix: The folder with a slash at the end. Rules see the rest of an entry's path.
        rules: In the order of the file. The last that matches an entry decides.
    """

    prefix: str
    rules: tuple[Rule, ...]

    @cached_property
    def _any_rule(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Patterns that match if any rule for names, or any rule for whole paths, matches."""
        patterns = []
        for whole_path in (False, True):
            parts = [r.pattern.pattern for r in self.rules if r.whole_path == whole_path]
            patterns.append(re.compile("|".join(f"(?:{p})" for p in parts) or r"(?!)", re.DOTALL))
        return patterns[0], patterns[1]

    def decide(self, path: str, is_folder: bool) -> bool | None:
        """Return True for ignored, False for included again, None if no rule matches."""
        relative = path[len(self.prefix) :]
        names, paths = self._any_rule
        if not (names.fullmatch(relative.rpartition("/")[2]) or paths.fullmatch(relative)):
            return None  # fast path: nearly all entries
        for rule in reversed(self.rules):
            if rule.matches(relative, is_folder):
                return not rule.negated
        return None


@dataclass(frozen=True)
class IgnoreRules:
    """All rules that apply to the entries of a folder: its own first, then those of its parents."""

    by_folder: tuple[FolderRules, ...] = ()

    @classmethod
    def above(cls, folder: Path) -> IgnoreRules:
        """Return the rules of the folders above `folder`, up to the top of its repository."""
        top = repository_top(folder)
        if top is None:
            return cls()
        rules = cls()
        for file in exclude_files(top):
            rules = rules._with(top, [str(file)])
        between = [parent for parent in folder.parents if parent.is_relative_to(top)]
        for parent in reversed(between):
            rules = rules.within(parent)
        return rules

    def within(
        self, folder: str | os.PathLike[str], names: Container[str] = RULE_FILES
    ) -> IgnoreRules:
        """Return these rules with those of `folder` added.

        Args:
            folder: A folder; its entries can then be judged.
            names: The names of its entries, if they are known. Spares reading absent files.

        Returns:
            New rules, or these if the folder has none.
        """
        return self._with(folder, [name for name in RULE_FILES if name in names])

    def ignores(self, path: str, is_folder: bool) -> bool:
        """Return whether an entry of the folder, by its full path, is ignored."""
        for rules in self.by_folder:
            decision = rules.decide(path, is_folder)
            if decision is not None:
                return decision
        return False

    def _with(self, folder: str | os.PathLike[str], names: list[str]) -> IgnoreRules:
        rules = [rule for name in names for rule in _read_rules(os.path.join(folder, name))]
        if not rules:
            return self
        return IgnoreRules((FolderRules(os.path.join(folder, ""), tuple(rules)), *self.by_folder))


def _read_rules(file: str) -> list[Rule]:
    """Return the rules of a file, none if it does not exist or cannot be read."""
    try:
        content = read_bytes(Path(file))
    except InputError:  # also too large, or a pipe
        return []
    lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n")
    return [rule for line in lines if (rule := parse_rule(line)) is not None]
