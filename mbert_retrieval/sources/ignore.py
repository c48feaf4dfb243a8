"""`.gitignore` and `.ignore` files, with git's rules of precedence.

An entry of a folder is judged by itself, with the folders above it known not to be ignored: as in
git, nothing below an ignored folder can be taken back in. (Why not pathspec: it judges whole paths,
and takes `!*/` for a rule about the files inside folders.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .wildmatch import Rule, parse_rule

RULE_FILES = (".gitignore", ".ignore")  # of two in one folder the later has the last word


@dataclass(frozen=True)
class Rules:
    """The rules of one folder. base: the folder, ending in a slash; entries are matched by what
    follows it. rules: in the order of the file, of which the last that matches decides."""

    base: str
    rules: tuple[Rule, ...]

    @cached_property
    def _any(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """What matches whatever a rule for names, or one for whole paths, matches."""
        both = []
        for whole_path in (False, True):
            patterns = [r.pattern.pattern for r in self.rules if r.whole_path == whole_path]
            both.append(re.compile("|".join(f"(?:{p})" for p in patterns) or r"(?!)", re.DOTALL))
        return both[0], both[1]

    def decide(self, path: str, folder: bool) -> bool | None:
        """True ignored, False taken back in, None when no rule matches."""
        inside = path[len(self.base) :]
        names, paths = self._any
        if not (names.fullmatch(inside.rpartition("/")[2]) or paths.fullmatch(inside)):
            return None  # as for nearly all entries
        for rule in reversed(self.rules):
            if rule.matches(inside, folder):
                return not rule.negated
        return None


@dataclass(frozen=True)
class IgnoreRules:
    """All rules that hold for the entries of a folder, the nearest first."""

    chain: tuple[Rules, ...] = ()

    @classmethod
    def above(cls, folder: Path) -> IgnoreRules:
        """What holds in `folder` by the folders above it, up to the repository's top."""
        top = repository_top(folder)
        if top is None:
            return cls()
        rules = cls()._with(top, [".git/info/exclude"])
        between = [parent for parent in folder.parents if parent.is_relative_to(top)]
        for parent in reversed(between):
            rules = rules.within(parent)
        return rules

    def within(
        self, folder: str | os.PathLike[str], names: Container[str] = RULE_FILES
    ) -> IgnoreRules:
        """With the rules of `folder` itself, whose entries are to be judged. names: of the entries
        that it has, where that is known."""
        return self._with(folder, [name for name in RULE_FILES if name in names])

    def ignores(self, path: str, folder: bool) -> bool:
        """Whether an entry of the folder, by its full path, is ignored."""
        for rules in self.chain:
            decision = rules.decide(path, folder)
            if decision is not None:
                return decision
        return False

    def _with(self, folder: str | os.PathLike[str], names: list[str]) -> IgnoreRules:
        rules = [rule for name in names for rule in _read_rules(os.path.join(folder, name))]
        if not rules:
            return self
        return IgnoreRules((Rules(os.path.join(folder, ""), tuple(rules)), *self.chain))


def repository_top(folder: Path) -> Path | None:
    """The nearest folder, `folder` or above, that holds `.git`."""
    return next((f for f in (folder, *folder.parents) if (f / ".git").exists()), None)


def _read_rules(file: str) -> list[Rule]:
    """The rules of a file; none where it is not there or cannot be read."""
    try:
        content = Path(file).read_bytes()
    except OSError:
        return []
    lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n")
    return [rule for line in lines if (rule := parse_rule(line)) is not None]
