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
    """pattern: matches an entry's name, or, when `whole_path`, its path below the rule's folder.
    negated: takes back in; folders_only: does not hold for files."""

    pattern: re.Pattern[str]
    whole_path: bool
    negated: bool
    folders_only: bool

    def matches(self, path: str, folder: bool) -> bool:
        if self.folders_only and not folder:
            return False
        name = path if self.whole_path else path.rpartition("/")[2]
        return self.pattern.fullmatch(name) is not None


def parse_rule(line: str) -> Rule | None:
    """The rule that a line states, or None for blank lines, comments and broken patterns."""
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
    """Spaces at the end do not count, unless a backslash stands before."""
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and len(stripped) < len(line) else stripped


def _translate(pattern: str) -> str | None:
    """A wildcard pattern as a regular expression; None for one that matches nothing."""
    # git compares what stands before the first wildcard apart, so "**" after it counts as first
    wildcard = re.search(r"[*?\[\\]", pattern)
    beginning = wildcard.start() if wildcard else 0
    regex, place = "", 0
    while place < len(pattern):
        character = pattern[place]
        if character == "*":
            end = place
            while pattern[end : end + 1] == "*":
                end += 1
            between = place in (0, beginning) or pattern[place - 1] == "/"
            if end - place > 1 and between and end == len(pattern):
                regex += ".*"
            elif end - place > 1 and between and pattern[end] == "/":
                regex += "(?:.*/)?"
                end += 1
            else:
                regex += "[^/]*"
            place = end
        elif character == "?":
            regex += "[^/]"
            place += 1
        elif character == "[":
            found = _bracket(pattern, place + 1)
            if found is None:
                return None
            choice, place = found
            regex += choice
        elif character == "\\":
            if place + 1 == len(pattern):
                return None
            regex += re.escape(pattern[place + 1])
            place += 2
        else:
            regex += re.escape(character)
            place += 1
    return regex


def _bracket(pattern: str, place: int) -> tuple[str, int] | None:
    """What `[...]`, whose inside begins at `place`, means, and where it ends; None when it does
    not end."""
    negated = pattern[place : place + 1] in ("!", "^")
    place += negated
    items: list[str] = []
    first = True
    while True:
        if place >= len(pattern):
            return None
        if pattern[place] == "]" and not first:
            break
        first = False
        if match := re.compile(r"\[:(\w+):\]").match(pattern, place):
            if match[1] not in _CLASSES:
                return None
            items.append(_CLASSES[match[1]])
            place = match.end()
            continue
        low, place = _character(pattern, place)
        items.append(re.escape(low))  # counts even where the range that it begins is empty
        if pattern[place : place + 1] == "-" and pattern[place + 1 : place + 2] not in ("", "]"):
            high, place = _character(pattern, place + 1)
            if low <= high:
                items.append(f"{re.escape(low)}-{re.escape(high)}")
    inside = "".join(items)
    if negated:
        return f"[^/{inside}]", place + 1
    return (f"(?!/)[{inside}]" if inside else r"(?!)"), place + 1


def _character(pattern: str, place: int) -> tuple[str, int]:
    """The character at `place`, a backslash before it taken off, and the place after it."""
    if pattern[place] == "\\" and place + 1 < len(pattern):
        place += 1
    return pattern[place], place + 1
