"""Read the name, the signature and the documentation of a definition in a syntax tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .grammar import Grammar

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_SIGNATURE = 200  # characters
MAX_DOC = 400  # characters

_NAME_TYPES = re.compile(
    r"identifier|_?name$|^word$|^atom$|^bareword$|^constant$|^symbol$|^sym_lit$|^alias$"
    r"|^IDENTIFIER$|constructor$|^type_identifier$|_key$|^property_identifier$|^variable$|^unquoted_argument$"
)
_NAME_PARENTS = re.compile("^(?:signature|type_head|function_command|macro_command)$")
_COMMENT_MARK = re.compile(
    r"^\s*(?:@(?:doc|spec)\b|/\*+!?|\*+/|//+!?|\*(?!/)|#+!?|--+\s?\|?|;+|%+|\(\*+|\{-+\|?|\"\"\"|''')"
)
_COMMENT_END = re.compile(r"(?:\*+/|\*+\)|-\}|\"\"\"|''')\s*$")
_SPACE = re.compile(r"\s+")


def definition_name(node: Node, grammar: Grammar) -> str:
    """Return the name of a definition, "" if it has none."""
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
        if name := node.child_by_field_name(field):
            return _line(_text(name)).replace("::", ".").replace(":", ".")
    if declarator := node.child_by_field_name("declarator"):
        return _declared(declarator)
    head = next((c for c in node.named_children if _NAME_PARENTS.search(c.type)), node)
    if node.type.endswith("_specifier"):  # an anonymous struct
        return ""
    name = _first_name(head, 3)
    return _line(_text(name)).replace("::", ".").replace(":", ".") if name else ""


def signature(node: Node) -> str:
    """Return a definition without its body, on one line."""
    text = _text(node)
    body = node.child_by_field_name("body") or next(
        (c for c in node.named_children if c.type.endswith(("body", "block"))), None
    )
    if body is not None and body.start_byte > node.start_byte:
        text = text.encode()[: body.start_byte - node.start_byte].decode("utf-8", "replace")
    else:
        text = text.partition("\n")[0]
    return _line(text).rstrip("{:= ")[:MAX_SIGNATURE]


def documentation(node: Node, comments_above: list[Node]) -> str:
    """Return the documentation of a definition on one line, without comment marks.

    It is the string that the body begins with, else the comments above.
    """
    text = _docstring(node) or "\n".join(_text(comment) for comment in comments_above)
    lines = [_COMMENT_END.sub("", _COMMENT_MARK.sub("", line)) for line in text.split("\n")]
    return _line(" ".join(lines))[:MAX_DOC]


def _docstring(node: Node) -> str:
    if string := node.child_by_field_name("docstring"):  # Lisp
        return _text(string).strip('"')
    body = node.child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_child_count else None
    if first is not None and first.type == "expression_statement" and first.named_child_count:
        first = first.named_children[0]
    if first is not None and first.type == "string" and body is not None and body.type == "block":
        return re.sub(r"^[rRuUbB]*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", "", _text(first))
    return ""


def _form_name(node: Node) -> str:
    """Return the second word of `(defn name ...)` or of `def name(...) do`."""
    second = node.named_children[1] if node.named_child_count > 1 else None
    if second is None:
        return ""
    return _line(re.split(r"[\s(,\[]", _text(second).strip(), maxsplit=1)[0].strip(",\"'"))


def _declared(node: Node) -> str:
    """Return the name in a C declarator, without pointers, references and parameters."""
    while True:
        inner = node.child_by_field_name("declarator") or next(
            (c for c in node.named_children if c.type.endswith("_declarator")), None
        )
        if inner is None:
            return _line(_text(node)).partition("(")[0].replace("::", ".").lstrip("*& ")
        node = inner


def _first_name(node: Node, depth: int) -> Node | None:
    """Return the first node, breadth first, that looks like a name."""
    level = [node]
    for _ in range(depth):
        level = [child for parent in level for child in parent.named_children[:6]]
        for child in level:
            if _NAME_TYPES.search(child.type) and len(child.named_children) == 0:
                return child
    return None


def _field_text(node: Node, field: str) -> str:
    child = node.child_by_field_name(field)
    return _line(_text(child)) if child is not None else ""


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()[: max(MAX_SIGNATURE, MAX_DOC)]
