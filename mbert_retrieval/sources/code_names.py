"""The name, the signature and the documentation of a definition in a syntax tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .grammars import Grammar

if TYPE_CHECKING:
    from tree_sitter import Node

LONGEST_SIGNATURE = 200  # characters
LONGEST_DOC = 400
LONGEST_NAME = 120

_NAME_TYPES = re.compile(
    r"identifier|_?name$|^word$|^atom$|^bareword$|^constant$|^symbol$|^sym_lit$|^alias$"
    r"|^IDENTIFIER$|constructor$|^type_identifier$|_key$|^property_identifier$|^variable$|^unquoted_argument$"
)
_HEADS = re.compile("^(?:signature|type_head|function_command|macro_command)$")
_MARKS = re.compile(
    r"^\s*(?:@(?:doc|spec)\b|/\*+!?|\*+/|//+!?|\*(?!/)|#+!?|--+\s?\|?|;+|%+|\(\*+|\{-+\|?|\"\"\"|''')"
)
_END_MARKS = re.compile(r"(?:\*+/|\*+\)|-\}|\"\"\"|''')\s*$")
_SPACE = re.compile(r"\s+")


def name_of(node: Node, grammar: Grammar) -> str:
    """What a definition defines, "" when it has no name."""
    if grammar.forms:
        return _form_name(node)
    if node.type == "impl_item":  # Rust: `impl T for S` is of S
        return _field_text(node, "type").partition("<")[0]
    if node.type == "method_declaration" and (receiver := node.child_by_field_name("receiver")):
        words = re.findall(r"\w+", _text(receiver).partition("[")[0])
        return ".".join([*words[-1:], _field_text(node, "name")])  # Go: (r *T) M
    if node.type in ("rule_set", "media_statement", "rule", "block"):
        return _line(_text(node).partition("{")[0].partition("\n")[0].partition(":")[0])
    if node.type == "init_declaration":
        return "init"
    for field in ("name", "left", "lhs", "property", "key", "pattern", "type_name"):
        if found := node.child_by_field_name(field):
            return _line(_text(found)).replace("::", ".").replace(":", ".")
    if declarator := node.child_by_field_name("declarator"):
        return _declared(declarator)
    head = next((c for c in node.named_children if _HEADS.search(c.type)), node)
    found = _first_name(head, 3)
    if node.type.endswith("_specifier"):  # an anonymous struct
        return ""
    return _line(_text(found)).replace("::", ".").replace(":", ".") if found else ""


def signature(node: Node) -> str:
    """A definition without its body, on one line."""
    text = _text(node)
    body = node.child_by_field_name("body") or next(
        (c for c in node.named_children if c.type.endswith(("body", "block"))), None
    )
    if body is not None and body.start_byte > node.start_byte:
        text = text.encode()[: body.start_byte - node.start_byte].decode("utf-8", "replace")
    else:
        text = text.partition("\n")[0]
    return _line(text).rstrip("{:= ")[:LONGEST_SIGNATURE]


def docstring(node: Node, above: list[Node]) -> str:
    """The documentation of a definition on one line: the string that its body begins with, or the
    comments above it, without their marks."""
    text = _inner_doc(node) or "\n".join(_text(comment) for comment in above)
    lines = [_END_MARKS.sub("", _MARKS.sub("", line)) for line in text.split("\n")]
    return _line(" ".join(lines))[:LONGEST_DOC]


def _inner_doc(node: Node) -> str:
    if found := node.child_by_field_name("docstring"):  # Lisp
        return _text(found).strip('"')
    body = node.child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_child_count else None
    if first is not None and first.type == "expression_statement" and first.named_child_count:
        first = first.named_children[0]
    if first is not None and first.type == "string" and body is not None and body.type == "block":
        return re.sub(r"^[rRuUbB]*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", "", _text(first))
    return ""


def _form_name(node: Node) -> str:
    """The second word of `(defn name ...)`, the first of the arguments of `def name(...) do`."""
    second = node.named_children[1] if node.named_child_count > 1 else None
    if second is None:
        return ""
    return _line(re.split(r"[\s(,\[]", _text(second).strip(), maxsplit=1)[0].strip(",\"'"))


def _declared(node: Node) -> str:
    """The name inside C's declarators: pointers, references and parameters taken off."""
    while True:
        inner = node.child_by_field_name("declarator") or next(
            (c for c in node.named_children if c.type.endswith("_declarator")), None
        )
        if inner is None:
            return _line(_text(node)).partition("(")[0].replace("::", ".").lstrip("*& ")
        node = inner


def _first_name(node: Node, depth: int) -> Node | None:
    """The first node, breadth first, that looks like a name."""
    level = [node]
    for _ in range(depth):
        level = [child for parent in level for child in parent.named_children[:6]]
        for child in level:
            if _NAME_TYPES.search(child.type) and len(child.named_children) == 0:
                return child
    return None


def _field_text(node: Node, field: str) -> str:
    found = node.child_by_field_name(field)
    return _line(_text(found)) if found is not None else ""


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()[: max(LONGEST_SIGNATURE, LONGEST_DOC)]
