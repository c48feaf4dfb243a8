"""`where`: a boolean expression over passages, in SQL's notation.

    language = 'python' AND NOT (path LIKE 'tests/%' OR start_line > 100)
    year BETWEEN 1990 AND 1999 AND author.name IN ('Knuth', 'Dijkstra') AND doi IS NOT NULL

A name is a column (id, path, start_line, end_line, title, text) or else a key of the metadata
(`a.b` reaches into objects; `metadata.path` is the key even though a column has that name; "double
quotes" allow any characters). The expression is parsed here and written anew with every value as a
parameter, so that no SQL of the user reaches the database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from . import text_patterns
from .validation import check_text

COLUMNS = ("id", "path", "start_line", "end_line", "title", "text")
KEYWORDS = {"and", "or", "not", "in", "like", "glob", "between", "is", "null", "true", "false"}
DEEPEST, MOST_TOKENS = 50, 10_000

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^']|'')*') |
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])) |
    (?P<name>(?:[^\W\d]\w*|"[^"]+")(?:\.(?:\w+|"[^"]+"))*) |
    (?P<operator><=|>=|<>|!=|==|=|<|>) |
    (?P<mark>[(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Filter:
    """A condition on passages.

    Args:
        sql: An SQL expression over table `passages`.
        parameters: The values of its parameters, in order.
        keys: JSON paths of the metadata keys that it names.
    """

    sql: str
    parameters: list[Any]
    keys: dict[str, str] = field(default_factory=dict)


def parse_where(where: str) -> Filter:
    """Parse an expression; see the module for the syntax.

    Args:
        where: The expression, such as "language = 'python'".

    Returns:
        The filter, for `where` of a search.

    Raises:
        TypeError: If it is not a string.
        InputError: If it cannot be parsed.

    Example:
        >>> parse_where("start_line > 100").sql
        '(passages.start_line > ?)'
    """
    if not isinstance(where, str):
        raise TypeError(f"a filter must be text, not {type(where).__name__}")
    check_text(where, "the filter")
    parser = _Parser(where)
    sql = parser.either(0)
    if parser.kind:
        raise parser.error(f"{parser.text!r} does not belong there")
    return Filter(sql, parser.parameters, parser.keys)


def narrowed(
    where: str | None,
    pattern: str | None = None,
    languages: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> Filter | None:
    """Combine several conditions, all of which a passage must meet.

    Args:
        where: An expression; see `parse_where`.
        pattern: A regular expression of Python that matches somewhere in the text. It cannot be
            part of `where`, because matching may take unlimited time, and a server accepts
            `where` from anybody.
        languages: Names of programming languages, one of which the passage has.
        paths: Patterns, one of which matches the path or the end of it; `*` matches slashes too.
            A pattern without wildcards is a file or a folder.

    Returns:
        The filter; None if there are no conditions.

    Raises:
        InputError: If a condition cannot be parsed.
    """
    conditions = [parse_where(where)] if where is not None else []
    for value in (pattern or "", *languages, *paths):
        check_text(value, "the pattern, language or path of the filter")
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(f"cannot read the regular expression {pattern!r}: {error}") from None
        conditions.append(Filter("(passages.text REGEXP ?)", [pattern]))
    if languages:
        marks = ", ".join("?" * len(languages))
        condition = f"(json_extract(passages.metadata, '$.language') IN ({marks}))"
        names = [name.lower() for name in languages]
        conditions.append(Filter(condition, list(names), {"language": "$.language"}))
    if paths:
        globs = []
        for path in paths:
            ends = [path] if re.search(r"[*?\[]", path) else [path, path.rstrip("/") + "/*"]
            globs += [glob for end in ends for glob in (end, f"*/{end}")]
        conditions.append(_any_path(globs))
    if not conditions:
        return None
    parameters = [value for each in conditions for value in each.parameters]
    keys = {name: key for each in conditions for name, key in each.keys.items()}
    return Filter(_join([f"({each.sql})" for each in conditions], "AND"), parameters, keys)


def _any_path(globs: Sequence[str]) -> Filter:
    terms = [text_patterns.condition("GLOB", "passages.path", [], "?", [glob]) for glob in globs]
    # the first condition makes SQLite read the index of paths instead of the passages
    sql = f"(passages.path IS NOT NULL AND {_join([sql for sql, _ in terms], 'OR')})"
    return Filter(sql, [value for _, parameters in terms for value in parameters])


class _Parser:
    """Recursive descent; each method consumes what it parses and returns SQL."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tokens: list[tuple[str, str]] = []
        self.parameters: list[Any] = []
        self.keys: dict[str, str] = {}
        offset = 0
        while where[offset:].strip():
            match = _TOKEN.match(where, offset)
            if match is None:
                raise self.error(f"cannot read {where[offset:].strip()[:20]!r}")
            kind, text = match.lastgroup or "", match.group(match.lastgroup or 0)
            if kind == "name" and text.lower() in KEYWORDS:
                kind, text = text.lower(), text.upper()
            self.tokens.append((kind, text))
            offset = match.end()
        if len(self.tokens) > MOST_TOKENS:
            raise self.error(f"it has more than {MOST_TOKENS} words")
        self.position = 0

    def error(self, why: str) -> InputError:
        shown = self.where if len(self.where) <= 200 else self.where[:200] + "..."
        return InputError(f"filter {shown!r}: {why}")

    @property
    def kind(self) -> str:
        return self.tokens[self.position][0] if self.position < len(self.tokens) else ""

    @property
    def text(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else "the end"

    def take(self, *kinds: str) -> str:
        """Consume the next token if it has one of these kinds. Return its text, else ""."""
        if self.kind not in kinds:
            return ""
        text = self.text
        self.position += 1
        return text

    def mark(self, mark: str) -> bool:
        if self.kind == "mark" and self.text == mark:
            self.position += 1
            return True
        return False

    def either(self, depth: int) -> str:
        if depth > DEEPEST:
            raise self.error(f"it is nested more than {DEEPEST} deep")
        terms = [self.both(depth)]
        while self.take("or"):
            terms.append(self.both(depth))
        return _join(terms, "OR")

    def both(self, depth: int) -> str:
        terms = [self.negated(depth)]
        while self.take("and"):
            terms.append(self.negated(depth))
        return _join(terms, "AND")

    def negated(self, depth: int) -> str:
        flips = 0
        while self.take("not"):
            flips += 1
        inner = self.condition(depth)
        return f"(NOT {inner})" if flips % 2 else inner

    def condition(self, depth: int) -> str:
        if self.mark("("):
            inner = self.either(depth + 1)
            if not self.mark(")"):
                raise self.error(f"expected ')' before {self.text!r}")
            return inner
        start = len(self.parameters)
        left = self.operand()
        if operator := self.take("operator"):
            return f"({left} {operator} {self.operand()})"
        if self.take("is"):
            negation = "NOT " if self.take("not") else ""
            if not self.take("null"):
                raise self.error("IS is followed by NULL or NOT NULL")
            return f"({left} IS {negation}NULL)"
        negation = "NOT " if self.take("not") else ""
        if word := self.take("like", "glob"):
            end = len(self.parameters)
            right = self.operand()
            before, of_right = self.parameters[start:end], self.parameters[end:]
            sql, self.parameters[start:] = text_patterns.condition(
                word, left, before, right, of_right
            )
            return f"(NOT {sql})" if negation else f"({sql})"
        if self.take("between"):
            low = self.operand()
            if not self.take("and"):
                raise self.error("BETWEEN is followed by two values with AND between them")
            return f"({left} {negation}BETWEEN {low} AND {self.operand()})"
        if self.take("in"):
            return f"({left} {negation}IN {self.values()})"
        if negation:
            raise self.error(f"expected LIKE, GLOB, BETWEEN or IN after NOT, not {self.text!r}")
        return left

    def values(self) -> str:
        if not self.mark("("):
            raise self.error("IN is followed by values in parentheses")
        values = [self.operand()]
        while self.mark(","):
            values.append(self.operand())
        if not self.mark(")"):
            raise self.error(f"expected ',' or ')' before {self.text!r}")
        return f"({', '.join(values)})"

    def operand(self) -> str:
        if text := self.take("string"):
            return self.parameter(text[1:-1].replace("''", "'"))
        if text := self.take("number"):
            try:
                number = float(text) if re.search(r"[.eE]", text) else int(text)
                return self.parameter(number if abs(number) < 2**63 else float(number))
            except (OverflowError, ValueError):
                raise self.error(f"the number {text[:20]}... has too many digits") from None
        if text := self.take("true", "false"):
            return "1" if text == "TRUE" else "0"
        if text := self.take("name"):
            return self.column(text)
        raise self.error(f"expected a name or a value, not {self.text!r}")

    def parameter(self, value: Any) -> str:
        self.parameters.append(value)
        return "?"

    def column(self, name: str) -> str:
        steps = [quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|(\w+)', name)]
        if len(steps) == 1 and steps[0] in COLUMNS:
            return f"passages.{steps[0]}"
        if len(steps) > 1 and steps[0] == "metadata":
            steps = steps[1:]
        self.keys[name] = "$" + "".join(f'."{step}"' for step in steps)
        return f"json_extract(passages.metadata, {self.parameter(self.keys[name])})"


def _join(terms: list[str], word: str) -> str:
    """Join terms in a balanced tree: SQLite limits the depth of an expression, not its length."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    return f"({_join(terms[:middle], word)} {word} {_join(terms[middle:], word)})"
