"""One line of a `.gitignore`, matched as git's wildmatch does."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


@dataclass(frozen=True)
class Rule:
    """A line of a `.gitignore`.

    Args:
        pattern: Matches the name of an entry.
        whole_path: The pattern matches the entry's path below the rule's folder instead.
        negated: The rule includes again what an earlier rule ignores.
        folders_only: The rule does not apply to files.
    """

    pattern: re.Pattern[str]
    whole_path: bool
    negated: bool
    folders_only: bool

    def matches(self, path: str, is_folder: bool) -> bool:
        """Return whether the rule applies to an entry, by its path below the rule's folder."""
        if self.folders_only and not is_folder:
            return False
        name = path if self.whole_path else path.rpartition("/")[2]
        return self.pattern.fullmatch(name) is not None


def parse_rule(line: str) -> Rule | None:
    """Return the rule of a line, or None for blank lines, comments and invalid patterns."""
    line = line.removesuffix("\r")
    if line.startswith("#"):
        return None
    line = _without_trailing_spaces(line)
    negated = line.startswith("!")
    line = line[1:] if negated else line
    folders_only = line.endswith("/")
    line = line[:-1] if folders_only else line
    whole_path = "/" in line
    regex = _translate(line.removeprefix("/"))
    if not line or regex is None:
        return None
    return Rule(re.compile(regex, re.DOTALL), whole_path, negated, folders_only)


def _without_trailing_spaces(line: str) -> str:
    """Remove spaces at the end, except one that a backslash escapes."""
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and len(stripped) < len(line) else stripped


def _translate(pattern: str) -> str | None:
    """Return a wildcard pattern as a regular expression, None if it matches nothing.

    The expression needs little time for any path, although Python tries all ways to match: a part
    between two wildcards is an atomic group, which matches once, as far left as possible. That
    loses no match, because a wildcard follows that takes any rest.
    """
    parts = _parts(pattern)
    if parts is None:
        return None
    folders: list[str] = []  # the expressions between "**/" and "**/"
    names: list[str] = [""]  # of one of them: the expressions between "*" and "*"
    regex = ""
    for part in [*parts, None]:
        if part == _STAR:
            names.append("")
        elif part not in (_FOLDERS, _REST, "/", None):
            names[-1] += part
        else:
            regex += _name_regex(names)
            names = [""]
            if part in (_FOLDERS, None):
                folders.append(regex)
                regex = ""
            else:
                regex += part
    first, *others = folders
    for number, other in enumerate(others, start=1):
        anywhere = f"(?:|.*?/){other}"
        first += anywhere if number == len(others) else f"(?>{anywhere})"
    return first


_STAR, _FOLDERS, _REST = "*", "**/", ".*"


def _name_regex(names: list[str]) -> str:
    """Return the expression of a name in a path, from those of its parts between stars."""
    first, *others = names
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{part})" for part in middle if part) + f"[^/]*{last}"


def _parts(pattern: str) -> list[str] | None:
    """Return the expressions of a pattern's characters, and _STAR, _FOLDERS and _REST.

    None if it matches nothing.
    """
    # git compares the text before the first wildcard separately, so a "**" there counts as first
    wildcard = re.search(r"[*?\[\\]", pattern)
    beginning = wildcard.start() if wildcard else 0
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "*":
            end = position
            while pattern[end : end + 1] == "*":
                end += 1
            between = position in (0, beginning) or pattern[position - 1] == "/"
            if end - position > 1 and between and end == len(pattern):
                parts.append(_REST)
            elif end - position > 1 and between and pattern[end] == "/":
                parts.append(_FOLDERS)
                end += 1
            else:
                parts.append(_STAR)
            position = end
        elif character == "?":
            parts.append("[^/]")
            position += 1
        elif character == "[":
            bracket = _bracket(pattern, position + 1)
            if bracket is None:
                return None
            parts.append(bracket[0])
            position = bracket[1]
        elif character == "\\":
            if position + 1 == len(pattern):
                return None
            parts.append(re.escape(pattern[position + 1]))
            position += 2
        else:
            parts.append(re.escape(character))
            position += 1
    return parts


def _bracket(pattern: str, position: int) -> tuple[str, int] | None:
    """Return the regular expression of a `[...]` and the position after it.

    `position` is where its inside begins. None if it has no end.
    """
    negated = pattern[position : position + 1] in ("!", "^")
    position += negated
    items: list[str] = []
    first = True
    while True:
        if position >= len(pattern):
            return None
        if pattern[position] == "]" and not first:
            break
        first = False
        if match := re.compile(r"\[:(\w+):\]").match(pattern, position):
            if match[1] not in _CLASSES:
                return None
            items.append(_CLASSES[match[1]])
            position = match.end()
            continue
        low, position = _character(pattern, position)
        items.append(re.escape(low))  # matches even if the range that it begins is empty
        if pattern.startswith("-", position) and pattern[position + 1 : position + 2] not in (
            "",
            "]",
        ):
            high, position = _character(pattern, position + 1)
            if low <= high:
                items.append(f"{re.escape(low)}-{re.escape(high)}")
    inside = "".join(items)
    if negated:
        return f"[^/{inside}]", position + 1
    return (f"(?!/)[{inside}]" if inside else r"(?!)"), position + 1


def _character(pattern: str, position: int) -> tuple[str, int]:
    """Return the character at `position`, without an escaping backslash, and the next position."""
    if pattern[position] == "\\" and position + 1 < len(pattern):
        position += 1
    return pattern[position], position + 1
