"""Split code of any language where functions and classes seem to begin, by indentation.

This needs no grammar: a block begins at a line that is indented no deeper than its surroundings and
does not continue the line before. A block that looks like a definition with a body becomes a span;
a class that exceeds the limits is split again inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .line_spans import LineSpan, exceeds_limits, indentation

SHORT_DEFINITION = 3  # lines; a shorter one is joined with its neighbours

_MODIFIERS = (
    r"(?:(?:export|default|declare|pub(?:\([^)]*\))?|public|private|protected|internal|static|final"
    r"|abstract|async|unsafe|extern(?:\s+\"[^\"]*\")?|inline|constexpr|virtual|override|const|sealed"
    r"|open|data|suspend|partial|readonly|local|case|inner|shared|implicit|mutating)\s+)*"
)
_CONTAINER = re.compile(
    rf"\s*{_MODIFIERS}(?:class|struct|enum|union|trait|interface|impl|module|namespace|object"
    r"|protocol|extension|mixin|contract|record|defmodule|package)\b(?:\s*<[^>]*>)?\s*(?P<name>[\w.:]+)"
)
_FUNCTION = re.compile(
    rf"\s*{_MODIFIERS}(?:def|defp|defmacro|fn|func|function\*?|fun|sub|proc|macro|method"
    r"|CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE|TABLE|VIEW|TRIGGER))"
    r"\s+(?:\([^)]*\)\s*)?(?:self\.)?(?P<name>[\w.:$?!]+)",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(  # const name = (a) => ..., name = function ...
    rf"\s*{_MODIFIERS}(?:const|let|var)?\s*(?P<name>[\w.$]+)\s*[:=]\s*(?:async\s+)?"
    r"(?:function\b|\([^)]*\)\s*(?::[^=]+)?=>|\w+\s*=>)"
)
_C_LIKE = re.compile(  # int name(...) {, name() {, void Type::name(...)
    r"\s*(?!(?:if|for|while|switch|catch|return|else|do|throw|new|case|using|with|elif|until|unless"
    r"|foreach|match|when|try|synchronized|lock|await|yield|delete|assert|print|echo)\b)"
    r"(?:[\w<>\[\],:*&?~@.]+[\s*&]+)*(?P<name>[\w~:$]+)\s*\([^;={}]*(?:\)[^;=]*)?(?:\{.*)?$"
)
_CLOSER = re.compile(
    r"\s*(?:[\])}]|(?:end|else|elif|elsif|elseif|except|finally|catch|rescue|ensure|fi|done|esac"
    r"|then|do|begin|of|in|where)\b|\{)",
    re.IGNORECASE,
)
_LEADING = re.compile(  # comments, annotations and templates, which belong to the next line
    r"\s*(?://|/\*|\*|#(?!\s*(?:include|define|undef|if|ifdef|ifndef|endif|else|pragma)\b)|--|;|%|"
    r"@[\w.]+|\[[A-Z]\w*[^\]]*\]$|template\s*<|<!--|\"\"\"|''')"
)


def split_by_indentation(lines: Sequence[str]) -> list[LineSpan]:
    """Return spans that cover all lines that are not blank, in order."""
    return list(_spans(lines, 1, len(lines), ""))


def _spans(lines: Sequence[str], start: int, end: int, outer: str) -> Iterator[LineSpan]:
    """Yield the spans of lines start to end. `outer` is the name of the class around, or ""."""
    rest: LineSpan | None = None
    for first, last in _blocks(lines, start, end):
        definition = _definition(lines, first, last, outer)
        if definition is None:
            if rest is not None and not exceeds_limits(lines, rest.start, last):
                rest = replace(rest, end=last)
                continue
            if rest is not None:
                yield rest
            rest = LineSpan(first, last, "class" if outer else "module", outer)
            continue
        if rest is not None:
            yield rest
            rest = None
        yield from _split_class(lines, definition)
    if rest is not None:
        yield rest


def _blocks(lines: Sequence[str], start: int, end: int) -> list[tuple[int, int]]:
    """Return (first, last) line of blocks that begin at the least indentation of all lines."""
    depth = min(
        (indentation(line) for line in lines[start - 1 : end] if line.strip()),
        default=0,
    )
    starts = [start]
    before: str | None = None  # the last line that is not blank
    after_blank = False
    for number in range(start, end + 1):
        line = lines[number - 1]
        if not line.strip():
            after_blank = True
            continue
        at_depth = indentation(line) == depth
        if before is not None and at_depth and not _CLOSER.match(line):
            introduced = not after_blank and indentation(before) == depth and _LEADING.match(before)
            separate = after_blank or indentation(before) == depth or _name(line) is not None
            if separate and not introduced:
                starts.append(number)
        before, after_blank = line, False
    return [
        (first, following - 1)
        for first, following in zip(starts, [*starts[1:], end + 1], strict=True)
    ]


def _definition(lines: Sequence[str], first: int, last: int, outer: str) -> LineSpan | None:
    """Return the block as a span if it is a definition and not too short, else None."""
    while last > first and not lines[last - 1].strip():
        last -= 1
    if last - first + 1 < SHORT_DEFINITION:
        return None
    for line in lines[first - 1 : last]:
        if not line.strip() or _LEADING.match(line):
            continue
        defined = _name(line)
        if defined is None:
            return None
        name, is_container = defined
        kind = "class" if is_container else "method" if outer else "function"
        return LineSpan(first, last, kind, f"{outer}.{name}" if outer else name)
    return None


def _name(line: str) -> tuple[str, bool] | None:
    """Return the name that a line defines, and whether it can contain other definitions."""
    if match := _CONTAINER.match(line):
        return match["name"], True
    for pattern in (_FUNCTION, _ASSIGNED, _C_LIKE):
        if match := pattern.match(line):
            return match["name"], False
    return None


def _split_class(lines: Sequence[str], span: LineSpan) -> Iterator[LineSpan]:
    """Yield the spans of a class that exceeds the limits; any other definition as it is."""
    inside = _inside(lines, span)
    if span.kind != "class" or inside is None or not exceeds_limits(lines, span.start, span.end):
        yield span
        return
    parts = list(_spans(lines, *inside, span.name))
    if parts[0].kind == "class" and parts[0].name == span.name:
        parts[0] = replace(parts[0], start=span.start)
    else:
        parts.insert(0, LineSpan(span.start, inside[0] - 1, "class", span.name))
    parts[-1] = replace(parts[-1], end=span.end)
    yield from parts


def _inside(lines: Sequence[str], span: LineSpan) -> tuple[int, int] | None:
    """Return the first and last line that are indented deeper than the definition itself."""
    depth = min(indentation(line) for line in lines[span.start - 1 : span.end] if line.strip())
    deeper = [
        number
        for number in range(span.start + 1, span.end + 1)
        if lines[number - 1].strip() and indentation(lines[number - 1]) > depth
    ]
    return (deeper[0], deeper[-1]) if deeper else None
