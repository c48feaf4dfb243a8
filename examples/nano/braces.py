"""Documented functions of languages with braces: a comment above a function is its description."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from extract import MAX_LINES, MIN_LINES, Pair, shortened, summary_of
from questions import name_query, web_query

LANGUAGES = {
    ".js": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".go": "golang",
    ".rs": "rust",
}
LONGEST_SIGNATURE = 6  # lines until the brace that opens the body

_OPENING = re.compile(r"^\s*(/\*\*|///|//(?!/))")
_MARGIN = re.compile(r"^\s*(?:/\*\*+|\*+/|\*|///|//)\s?|\s*\*/\s*$")
_LINK = re.compile(r"\{@\w+\s+([^}|]*)[^}]*\}|\[`?([\w:.]+)`?\](?!\()")
_ATTRIBUTE = re.compile(r"^\s*(#\[|@\w+)")
_NOT_FUNCTION = re.compile(
    r"^\s*(?:export |default |pub(?:\([a-z]+\))? |abstract |declare |unsafe )*"
    r"(?:class|interface|enum|struct|trait|impl|mod|type|namespace|module|if|for|while|switch|return)\b"
)
_NAME = re.compile(
    r"(?:function\*?|fn|func(?:\s*\([^)]*\))?)\s+(\w+)|([\w$]+)\s*(?:=|:)\s*(?:async\s*)?(?:function|\()|"
    r"([\w$]+)\s*[(<]"
)


def _comment(lines: list[str], first: int) -> int:
    """The line after the comment that begins on line `first`."""
    match = _OPENING.match(lines[first])
    assert match
    last = first
    if match[1] == "/**":
        while last < len(lines) and "*/" not in lines[last]:
            last += 1
        return last + 1
    while last < len(lines) and lines[last].lstrip().startswith(match[1]):
        last += 1
    return last


def _body_end(lines: list[str], first: int) -> int | None:
    """The line after the brace that closes the function on line `first`."""
    depth, opened = 0, False
    for i in range(first, min(len(lines), first + MAX_LINES + 1)):
        code = re.sub(r"//.*|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "", lines[i])
        opened |= "{" in code
        depth += code.count("{") - code.count("}")
        if opened and depth <= 0:
            return i + 1
        if not opened and (i - first >= LONGEST_SIGNATURE or code.rstrip().endswith(";")):
            return None
    return None


def _dedented(lines: list[str]) -> str:
    margin = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    return "\n".join(line[margin:].rstrip() for line in lines)


def function_pairs(path: str, text: str, random: Random) -> Iterator[Pair]:
    """The documented functions of a file, as for Python: half of the documents with the comment."""
    language = next(name for suffix, name in LANGUAGES.items() if path.endswith(suffix))
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        if not _OPENING.match(lines[i]):
            i += 1
            continue
        first, i = i, _comment(lines, i)
        start = i
        while start < len(lines) and _ATTRIBUTE.match(lines[start]):
            start += 1
        if start >= len(lines) or _NOT_FUNCTION.match(lines[start]) or "(" not in lines[start]:
            continue
        end = _body_end(lines, start)
        if end is None or end - start < MIN_LINES:
            continue
        comment = "\n".join(_MARGIN.sub("", _MARGIN.sub("", line)) for line in lines[first:i])
        summary = summary_of(_LINK.sub(lambda m: (m[1] or m[2]).strip(), comment))
        if not 3 <= len(summary.split()) <= 40 or not summary.isascii() or "@" in summary:
            continue
        bare = shortened(_dedented(lines[start:end]))
        full = shortened(_dedented(lines[first:end]))
        style, query = random.random(), summary
        if style < 0.45:
            query = web_query(summary, random) or summary
        elif style < 0.65 and (match := _NAME.search(lines[start])):
            name = next(group for group in match.groups() if group)
            query = name_query(name.strip("_$"), "", random) or summary
        query = re.sub(r"\bpython\b", language, query)
        yield Pair(query, full if random.random() < 0.5 else bare, "function", bare)
        i = end
