"""Code cut at its functions, methods and types, by tree-sitter.

One cutter for all languages; what differs between them stands in `grammars`. A file that is broken
has a tree too: what the grammar understands of it is cut, the rest lies between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from .code_names import docstring, name_of, signature
from .grammars import GRAMMARS, Grammar
from .line_ranges import Unit, is_long

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

WHOLE = 20  # lines; a type or module no longer than this stays whole
GATHERED = {"rule": 20, "key": 20}  # kinds that join their neighbours, up to so many lines
DEEPEST = 12  # nested definitions that are opened
WRAPPED = 6  # wrappers of one definition, at most
HELD = 3  # nodes down to the type or object that has a name: `const a = Object.freeze({...})`
CONTAINERS = ("class", "module")
_CLOSING = re.compile(r"\W*(?:end\w*|fi|done)?\W*")


def tree_units(lines: Sequence[str], language: str) -> list[Unit] | None:
    """The units of a file, or None when there is no table for its language."""
    grammar = GRAMMARS.get(language)
    if grammar is None:
        return None
    source = "\n".join(lines).encode("utf-8", "replace")
    root = _parser(grammar.name).parse(source).root_node
    cutter = _Cutter(lines, grammar)
    units = cutter.units(cutter.children(root), 1, len(lines), Unit(1, 1, "module"), 0)
    return list(_gathered(lines, units))


@cache
def _parser(grammar: str) -> Parser:
    from tree_sitter_language_pack import get_parser

    return get_parser(grammar)  # type: ignore[arg-type]


@dataclass
class _Found:
    """A definition. node: it with its wrappers; inner: it alone; lead: the first line of what
    belongs to it from above."""

    node: Node
    inner: Node
    kind: str
    name: str
    lead: int
    comments: list[Node]


class _Cutter:
    def __init__(self, lines: Sequence[str], grammar: Grammar) -> None:
        self.lines, self.grammar = lines, grammar
        self.openers: set[int] = set()  # lines that transparent nodes begin with: `else:`, `#if A`

    def units(
        self, nodes: Iterator[Node], start: int, end: int, outer: Unit, depth: int
    ) -> Iterator[Unit]:
        """Lines start to end: each definition among `nodes` a unit, and what lies between them
        units of what holds them, `outer`."""
        following = start
        for found in self._definitions(nodes, start):
            first, last = self._first_line(found, following), min(_last_line(found.node), end)
            if first < following or last < first:
                continue  # on the line of the one before
            inside = depth == 0 or following > outer.start  # not with the head of a class
            if inside and self._only_opens(following, first, last):
                first = following
            if first > following:
                yield replace(outer, start=following, end=first - 1)
            unit = self._unit(found, first, last, outer)
            body = self._body(found)
            opened = last - first >= WHOLE or is_long(self.lines, first, last)
            if unit.kind in CONTAINERS and body is not None and opened and depth < DEEPEST:
                yield from self.units(self.children(body), first, last, unit, depth + 1)
            else:
                yield unit
            following = last + 1
        if following <= end:
            yield replace(outer, start=following, end=end)

    def children(self, node: Node) -> Iterator[Node]:
        """What stands in a node, with the insides of transparent and broken nodes."""
        waiting = list(reversed(node.named_children))
        while waiting:
            child = waiting.pop()
            if not self._is_transparent(child):
                yield child
                continue
            inside = child.named_children
            if inside and inside[0].start_byte > child.start_byte and child.type != "ERROR":
                self.openers.add(child.start_point.row + 1)
            waiting += reversed(inside)

    def _is_transparent(self, node: Node) -> bool:
        grammar = self.grammar
        if node.type in grammar.transparent or node.type == "ERROR":
            return True
        if node.type in grammar.invoked:
            called = node.named_children[0].type in grammar.transparent
            return called or self._held(node) is not None
        if node.type in grammar.wrappers:
            return self._defined(node) is None
        return bool(grammar.forms) and grammar.forms.get(_first_word(node)) == ""

    def _definitions(self, nodes: Iterator[Node], start: int) -> Iterator[_Found]:
        """The definitions among `nodes`; those that are equations of one name are one."""
        held: _Found | None = None
        lead: list[Node] = []
        for node in nodes:
            if self._leads(node):
                lead.append(node)
                continue
            lead = _adjoining(lead, node)
            found = self._defined(node)
            if found is None:
                lead = []
                continue
            inner, kind = found
            comments = [one for one in lead if one.start_point.row + 1 >= start]
            first = (comments[0] if comments else node).start_point.row + 1
            new = _Found(node, inner, kind, name_of(inner, self.grammar), first, comments)
            lead = []
            if self._continues(held, new):
                assert held is not None
                held.node = new.node
                continue
            if held is not None:
                yield held
            held = new
        if held is not None:
            yield held

    def _leads(self, node: Node) -> bool:
        if node.type == "unary_operator":  # Elixir's attributes, of which some are of the module
            return (node.text or b"").startswith((b"@doc", b"@spec", b"@impl", b"@deprecated"))
        return "comment" in node.type or node.type in self.grammar.leading

    def _continues(self, held: _Found | None, new: _Found) -> bool:
        same = held is not None and (held.kind, held.name) == (new.kind, new.name)
        return self.grammar.equations and same and new.kind == "function"

    def _defined(self, node: Node, depth: int = 0) -> tuple[Node, str] | None:
        """(definition, kind) when a node is one or wraps one."""
        grammar = self.grammar
        if grammar.forms:
            kind = grammar.forms.get(_first_word(node))
            return (node, kind) if kind else None
        if kind := grammar.kinds.get(node.type):
            return node, kind
        if node.type in grammar.assigned:
            held = [*node.named_children, *(node.children[-1:] if node.child_count else [])]
            inside = [*held, *(inner for child in held for inner in child.named_children[:1])]
            if any(child.type in grammar.values for child in inside):
                return node, "function"
            if self._held(node, depth) is not None:
                return node, "class"
        if depth < WRAPPED and (node.type in grammar.wrappers or node.type in grammar.assigned):
            for child in node.named_children:
                if found := self._defined(child, depth + 1):
                    return found
        return None

    def _held(self, node: Node, depth: int = 0) -> Node | None:
        """The type, or the object with functions in it, that a node names."""
        inner = node
        for _ in range(HELD):
            if not inner.named_child_count:
                return None
            inner = inner.named_children[-1]
            if inner.type in self.grammar.types:
                return inner
            if inner.type in self.grammar.objects and depth < WRAPPED:
                members = inner.named_children
                return inner if any(self._defined(one, depth + 1) for one in members) else None
        return None

    def _body(self, found: _Found) -> Node | None:
        """What holds the members of a definition."""
        inner = found.inner
        if inner.type in self.grammar.assigned:
            inner = self._held(inner) or inner
        body = inner.child_by_field_name("body") or inner.child_by_field_name("declarations")
        if body is not None:
            return body
        for child in reversed(inner.named_children):
            if child.type.endswith(("body", "block", "_list", "declarations", "binding")):
                return child.child_by_field_name("body") or child
        return inner

    def _unit(self, found: _Found, first: int, last: int, outer: Unit) -> Unit:
        kind = "method" if found.kind == "function" and outer.kind == "class" else found.kind
        name = f"{outer.name}.{found.name}" if outer.name and found.name else found.name
        if found.kind == "function" and "." in found.name and not outer.name:
            kind = "method"  # (r *T) M, T::m
        return Unit(
            first,
            last,
            kind,
            name or outer.name,
            signature(found.inner),
            docstring(found.inner, found.comments),
        )

    def _only_opens(self, start: int, first: int, last: int) -> bool:
        """Whether the lines from `start` up to a definition, `first` to `last`, say no more than in
        what blocks it stands, and fit into its passage."""
        before = [n for n in range(start, first) if self.lines[n - 1].strip()]
        return (
            any(n in self.openers for n in before)
            and all(n in self.openers or _CLOSING.fullmatch(self.lines[n - 1]) for n in before)
            and not is_long(self.lines, start, last)
        )

    def _first_line(self, found: _Found, following: int) -> int:
        """With the comments above, unless these make it too long for one passage."""
        own = found.node.start_point.row + 1
        last = _last_line(found.node)
        lead = max(found.lead, following)
        fits = is_long(self.lines, own, last) or not is_long(self.lines, lead, last)
        return lead if fits else own


def _first_word(node: Node) -> str:
    first = node.named_children[0] if node.named_child_count else None
    return (first.text or b"").decode("utf-8", "replace") if first is not None else ""


def _adjoining(lead: list[Node], node: Node) -> list[Node]:
    """Of the comments before a node those that reach down to it without a blank line."""
    kept: list[Node] = []
    below = node.start_point.row
    for comment in reversed(lead):
        if _last_line(comment) < below:
            break
        kept.insert(0, comment)
        below = comment.start_point.row
    return kept


def _last_line(node: Node) -> int:
    row, column = node.end_point
    return row if column == 0 and row > node.start_point.row else row + 1


def _gathered(lines: Sequence[str], units: Iterator[Unit]) -> Iterator[Unit]:
    """Small rules and keys joined with their neighbours, and what only closes a block with what is
    inside it, so that every passage says something."""
    held: Unit | None = None
    for unit in units:
        if held is not None and _joins(lines, held, unit):
            held = replace(held, end=unit.end)
            continue
        if held is not None:
            yield held
        held = unit
    if held is not None:
        yield held


def _joins(lines: Sequence[str], held: Unit, unit: Unit) -> bool:
    if held.kind == unit.kind and unit.kind in GATHERED:
        return unit.end - held.start < GATHERED[unit.kind]
    tail = lines[unit.start - 1 : unit.end]
    return (
        any(map(str.strip, tail))
        and not is_long(lines, held.start, unit.end)
        and all(map(_CLOSING.fullmatch, tail))
    )
