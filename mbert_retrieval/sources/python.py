"""Python cut at its functions, methods and classes, by its own parser."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence

from .units import Unit, is_long

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
SHORT_CLASS = 20  # lines; a class no longer than this stays whole


def python_units(lines: Sequence[str]) -> list[Unit] | None:
    """The units of a file, or None when it does not parse (a template, another version)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the code that is read, not about us
            tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return list(_units(lines, tree.body, 1, len(lines), "module", ""))


def _units(
    lines: Sequence[str], body: list[ast.stmt], start: int, end: int, kind: str, name: str
) -> Iterator[Unit]:
    """Lines start to end: each definition of `body` a unit, and what lies between them units of
    `kind` and `name`, which are those of what holds them."""
    following = start
    for node in body:
        if not isinstance(node, (*Function, ast.ClassDef)):
            continue
        first = _first_line(lines, node, following)
        last = node.end_lineno or node.lineno
        if first > following:
            yield Unit(following, first - 1, kind, name)
        inner = f"{name}.{node.name}" if name else node.name
        if isinstance(node, Function):
            yield Unit(first, last, "method" if kind == "class" else "function", inner)
        elif last - first < SHORT_CLASS and not is_long(lines, first, last):
            yield Unit(first, last, "class", inner)
        else:
            yield from _units(lines, node.body, first, last, "class", inner)
        following = last + 1
    if following <= end:
        yield Unit(following, end, kind, name)


def _first_line(lines: Sequence[str], node: ast.stmt, earliest: int) -> int:
    """Where a definition begins: with its decorators, and the comment right above them unless that
    makes it too long for one passage."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    last = node.end_lineno or node.lineno
    commented = first
    while commented > earliest and lines[commented - 2].lstrip().startswith("#"):
        commented -= 1
    fits = is_long(lines, first, last) or not is_long(lines, commented, last)
    return commented if fits else first
