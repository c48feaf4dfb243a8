"""Split code at its functions, methods and types, by the syntax trees of tree-sitter.

One splitter serves all languages; what differs between them is in `languages`. An invalid file has
a syntax tree too: the definitions that the grammar understands become spans, and so does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from .code_names import definition_name, documentation, signature
from .grammar import Grammar
from .languages import LANGUAGES
from .line_spans import LineSpan, exceeds_limits

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

SMALL_CONTAINER = 20  # lines; a class or module that is no longer is not split
JOINED_KINDS = {"rule": 20, "key": 20}  # kind -> lines up to which neighbours are joined
MAX_NESTING = 12  # levels of classes and modules that are split
MAX_WRAPPERS = 6  # nodes around one definition
VALUE_DEPTH = 3  # nodes from a name down to its type or object: `const a = Object.freeze({...})`
CONTAINERS = ("class", "module")
_CLOSING = re.compile(r"\W*(?:end\w*|fi|done)?\W*")


def split_by_syntax(lines: Sequence[str], language: str) -> list[LineSpan] | None:
    """Return spans that cover all lines, or None if the language has no grammar."""
    entry = LANGUAGES.get(language)
    if entry is None or entry.grammar is None:
        return None
    source = "\n".join(lines).encode("utf-8", "replace")
    root = _parser(entry.grammar.name).parse(source).root_node
    splitter = _Splitter(lines, entry.grammar)
    spans = splitter.spans(splitter.children(root), 1, len(lines), LineSpan(1, 1, "module"), 0)
    return list(_join_small_spans(lines, spans))


@cache
def _parser(grammar: str) -> Parser:
    from tree_sitter_language_pack import get_parser

    return get_parser(grammar)  # type: ignore[arg-type]


@dataclass
class _Definition:
    """A definition in a syntax tree.

    Args:
        node: Its node with all wrappers.
        inner: Its node without wrappers.
        kind: Of the span that it becomes.
        name: Its own name, not qualified.
        first_line: Of the comments above, or of the node if there are none.
        comments: The comments and other leading nodes above.
    """

    node: Node
    inner: Node
    kind: str
    name: str
    first_line: int
    comments: list[Node]


class _Splitter:
    def __init__(self, lines: Sequence[str], grammar: Grammar) -> None:
        self.lines, self.grammar = lines, grammar
        self.openers: set[int] = set()  # first lines of transparent nodes: `else:`, `#if A`

    def spans(
        self, nodes: Iterator[Node], start: int, end: int, outer: LineSpan, depth: int
    ) -> Iterator[LineSpan]:
        """Yield spans that cover lines start to end.

        Each definition among `nodes` is a span of its own; the lines between definitions are spans
        of what contains them, `outer`.
        """
        next_line = start
        for definition in self._definitions(nodes, start):
            first = self._first_line(definition, next_line)
            last = min(_last_line(definition.node), end)
            if first < next_line or last < first:
                continue  # on the line of the definition before
            inside = depth == 0 or next_line > outer.start  # not together with a class's head
            if inside and self._only_opens_blocks(next_line, first, last):
                first = next_line
            if first > next_line:
                yield replace(outer, start=next_line, end=first - 1)
            span = self._span(definition, first, last, outer)
            body = self._body(definition)
            is_large = last - first >= SMALL_CONTAINER or exceeds_limits(self.lines, first, last)
            if span.kind in CONTAINERS and body is not None and is_large and depth < MAX_NESTING:
                yield from self.spans(self.children(body), first, last, span, depth + 1)
            else:
                yield span
            next_line = last + 1
        if next_line <= end:
            yield replace(outer, start=next_line, end=end)

    def children(self, node: Node) -> Iterator[Node]:
        """Yield the children of a node, with transparent and broken nodes replaced by theirs."""
        pending = list(reversed(node.named_children))
        while pending:
            child = pending.pop()
            if not self._is_transparent(child):
                yield child
                continue
            inside = child.named_children
            if inside and inside[0].start_byte > child.start_byte and child.type != "ERROR":
                self.openers.add(child.start_point.row + 1)
            pending += reversed(inside)

    def _is_transparent(self, node: Node) -> bool:
        grammar = self.grammar
        if node.type in grammar.transparent or node.type == "ERROR":
            return True
        if node.type in grammar.calls:
            calls_function = node.named_children[0].type in grammar.transparent
            return calls_function or self._named_value(node) is not None
        if node.type in grammar.wrappers:
            return self._find_definition(node) is None
        return bool(grammar.transparent_forms) and _first_word(node) in grammar.transparent_forms

    def _definitions(self, nodes: Iterator[Node], start: int) -> Iterator[_Definition]:
        """Yield the definitions among `nodes`; clauses of one function are one definition."""
        previous: _Definition | None = None
        leading: list[Node] = []
        for node in nodes:
            if self._is_leading(node):
                leading.append(node)
                continue
            leading = _adjoining(leading, node)
            inner_and_kind = self._find_definition(node)
            if inner_and_kind is None:
                leading = []
                continue
            inner, kind = inner_and_kind
            comments = [comment for comment in leading if comment.start_point.row + 1 >= start]
            leading = []
            first_line = (comments[0] if comments else node).start_point.row + 1
            name = definition_name(inner, self.grammar)
            current = _Definition(node, inner, kind, name, first_line, comments)
            if previous is not None and self._is_next_clause(previous, current):
                previous.node = current.node
                continue
            if previous is not None:
                yield previous
            previous = current
        if previous is not None:
            yield previous

    def _is_leading(self, node: Node) -> bool:
        if node.type == "unary_operator":  # Elixir: other attributes belong to the module
            return (node.text or b"").startswith((b"@doc", b"@spec", b"@impl", b"@deprecated"))
        return "comment" in node.type or node.type in self.grammar.leading

    def _is_next_clause(self, previous: _Definition, current: _Definition) -> bool:
        same = (previous.kind, previous.name) == (current.kind, current.name)
        return self.grammar.merge_clauses and same and current.kind == "function"

    def _find_definition(self, node: Node, depth: int = 0) -> tuple[Node, str] | None:
        """Return (definition, kind) if a node is a definition or wraps one."""
        grammar = self.grammar
        if grammar.forms:
            kind = grammar.forms.get(_first_word(node))
            return (node, kind) if kind else None
        if kind := grammar.kinds.get(node.type):
            return node, kind
        if node.type in grammar.assignments:
            values = [*node.named_children, *(node.children[-1:] if node.child_count else [])]
            inside = [*values, *(inner for child in values for inner in child.named_children[:1])]
            if any(child.type in grammar.function_values for child in inside):
                return node, "function"
            if self._named_value(node, depth) is not None:
                return node, "class"
        is_wrapper = node.type in grammar.wrappers or node.type in grammar.assignments
        if depth < MAX_WRAPPERS and is_wrapper:
            for child in node.named_children:
                if definition := self._find_definition(child, depth + 1):
                    return definition
        return None

    def _named_value(self, node: Node, depth: int = 0) -> Node | None:
        """Return the type, or the object with functions in it, that a node gives a name to."""
        inner = node
        for _ in range(VALUE_DEPTH):
            if not inner.named_child_count:
                return None
            inner = inner.named_children[-1]
            if inner.type in self.grammar.type_values:
                return inner
            if inner.type in self.grammar.object_values and depth < MAX_WRAPPERS:
                has_functions = any(
                    self._find_definition(member, depth + 1) for member in inner.named_children
                )
                return inner if has_functions else None
        return None

    def _body(self, definition: _Definition) -> Node | None:
        """Return the node that contains the members of a definition."""
        inner = definition.inner
        if inner.type in self.grammar.assignments:
            inner = self._named_value(inner) or inner
        body = inner.child_by_field_name("body") or inner.child_by_field_name("declarations")
        if body is not None:
            return body
        for child in reversed(inner.named_children):
            if child.type.endswith(("body", "block", "_list", "declarations", "binding")):
                return child.child_by_field_name("body") or child
        return inner

    def _span(self, definition: _Definition, first: int, last: int, outer: LineSpan) -> LineSpan:
        kind, name = definition.kind, definition.name
        if kind == "function" and (outer.kind == "class" or ("." in name and not outer.name)):
            kind = "method"  # in a class, or (r *T) M in Go, T::m in C++
        return LineSpan(
            first,
            last,
            kind,
            f"{outer.name}.{name}" if outer.name and name else name or outer.name,
            signature(definition.inner),
            documentation(definition.inner, definition.comments),
        )

    def _only_opens_blocks(self, start: int, first: int, last: int) -> bool:
        """Return whether the lines above a definition only open the blocks around it.

        The definition is on lines `first` to `last`, and the lines above begin at `start`. They
        must also fit into one passage with it.
        """
        above = [n for n in range(start, first) if self.lines[n - 1].strip()]
        return (
            any(n in self.openers for n in above)
            and all(n in self.openers or _CLOSING.fullmatch(self.lines[n - 1]) for n in above)
            and not exceeds_limits(self.lines, start, last)
        )

    def _first_line(self, definition: _Definition, next_line: int) -> int:
        """Return the first line with the comments above, unless these exceed the limits."""
        own = definition.node.start_point.row + 1
        last = _last_line(definition.node)
        with_comments = max(definition.first_line, next_line)
        fits = exceeds_limits(self.lines, own, last) or not exceeds_limits(
            self.lines, with_comments, last
        )
        return with_comments if fits else own


def _first_word(node: Node) -> str:
    first = node.named_children[0] if node.named_child_count else None
    return (first.text or b"").decode("utf-8", "replace") if first is not None else ""


def _adjoining(leading: list[Node], node: Node) -> list[Node]:
    """Return those of the comments before a node that touch it, without a blank line between."""
    adjoining: list[Node] = []
    below = node.start_point.row
    for comment in reversed(leading):
        if _last_line(comment) < below:
            break
        adjoining.insert(0, comment)
        below = comment.start_point.row
    return adjoining


def _last_line(node: Node) -> int:
    row, column = node.end_point
    return row if column == 0 and row > node.start_point.row else row + 1


def _join_small_spans(lines: Sequence[str], spans: Iterator[LineSpan]) -> Iterator[LineSpan]:
    """Yield spans that all say something.

    Small rules and keys are joined with their neighbours, and lines that only close a block are
    joined with what is in it.
    """
    previous: LineSpan | None = None
    for span in spans:
        if previous is not None and _belong_together(lines, previous, span):
            previous = replace(previous, end=span.end)
            continue
        if previous is not None:
            yield previous
        previous = span
    if previous is not None:
        yield previous


def _belong_together(lines: Sequence[str], previous: LineSpan, span: LineSpan) -> bool:
    if previous.kind == span.kind and span.kind in JOINED_KINDS:
        return span.end - previous.start < JOINED_KINDS[span.kind]
    tail = lines[span.start - 1 : span.end]
    return (
        any(map(str.strip, tail))
        and not exceeds_limits(lines, previous.start, span.end)
        and all(map(_CLOSING.fullmatch, tail))
    )
