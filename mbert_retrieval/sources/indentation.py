"""Code of any language cut where functions and classes seem to begin, by indentation.

No grammar: a block begins at a line that is indented no deeper than its surroundings and does not
belong to what comes before. What looks like a definition with a body becomes a unit, and a class
that is too long for one is cut again inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .line_ranges import Unit, indentation, is_long

SHORT_DEFINITION = 3  # lines; shorter ones are joined with their neighbours

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
_LEADING = re.compile(  # comments, annotations and templates, which belong to what follows
    r"\s*(?://|/\*|\*|#(?!\s*(?:include|define|undef|if|ifdef|ifndef|endif|else|pragma)\b)|--|;|%|"
    r"@[\w.]+|\[[A-Z]\w*[^\]]*\]$|template\s*<|<!--|\"\"\"|''')"
)


def code_units(lines: Sequence[str]) -> list[Unit]:
    return list(_units(lines, 1, len(lines), ""))


def _units(lines: Sequence[str], start: int, end: int, outer: str) -> Iterator[Unit]:
    """Lines start to end. outer: the name of the class that they are the inside of, or ""."""
    loose: Unit | None = None
    for first, last in _blocks(lines, start, end):
        definition = _definition(lines, first, last, outer)
        if definition is None:
            if loose is not None and not is_long(lines, loose.start, last):
                loose = replace(loose, end=last)
                continue
            if loose is not None:
                yield loose
            loose = Unit(first, last, "class" if outer else "module", outer)
            continue
        if loose is not None:
            yield loose
            loose = None
        yield from _opened(lines, definition)
    if loose is not None:
        yield loose


def _blocks(lines: Sequence[str], start: int, end: int) -> list[tuple[int, int]]:
    """Lines start to end as runs of lines, each beginning at the least indentation of all."""
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
            led_in = not after_blank and indentation(before) == depth and _LEADING.match(before)
            apart = after_blank or indentation(before) == depth or _name(line) is not None
            if apart and not led_in:
                starts.append(number)
        before, after_blank = line, False
    return [
        (first, following - 1)
        for first, following in zip(starts, [*starts[1:], end + 1], strict=True)
    ]


def _definition(lines: Sequence[str], first: int, last: int, outer: str) -> Unit | None:
    """The block as a unit, when it defines something and is not too short to stand alone."""
    while last > first and not lines[last - 1].strip():
        last -= 1
    if last - first + 1 < SHORT_DEFINITION:
        return None
    for line in lines[first - 1 : last]:
        if not line.strip() or _LEADING.match(line):
            continue
        found = _name(line)
        if found is None:
            return None
        name, container = found
        kind = "class" if container else "method" if outer else "function"
        return Unit(first, last, kind, f"{outer}.{name}" if outer else name)
    return None


def _name(line: str) -> tuple[str, bool] | None:
    """What a line defines, and whether that holds other definitions."""
    if match := _CONTAINER.match(line):
        return match["name"], True
    for pattern in (_FUNCTION, _ASSIGNED, _C_LIKE):
        if match := pattern.match(line):
            return match["name"], False
    return None


def _opened(lines: Sequence[str], unit: Unit) -> Iterator[Unit]:
    """A class that is too long cut at what it defines; anything else as it is."""
    inside = _inside(lines, unit)
    if unit.kind != "class" or inside is None or not is_long(lines, unit.start, unit.end):
        yield unit
        return
    parts = list(_units(lines, *inside, unit.name))
    if parts[0].kind == "class" and parts[0].name == unit.name:
        parts[0] = replace(parts[0], start=unit.start)
    else:
        parts.insert(0, Unit(unit.start, inside[0] - 1, "class", unit.name))
    parts[-1] = replace(parts[-1], end=unit.end)
    yield from parts


def _inside(lines: Sequence[str], unit: Unit) -> tuple[int, int] | None:
    """The lines of a definition that are indented deeper than its first, from first to last."""
    depth = min(indentation(line) for line in lines[unit.start - 1 : unit.end] if line.strip())
    deeper = [
        number
        for number in range(unit.start + 1, unit.end + 1)
        if lines[number - 1].strip() and indentation(lines[number - 1]) > depth
    ]
    return (deeper[0], deeper[-1]) if deeper else None
