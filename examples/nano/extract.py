"""Training pairs from one file: documented functions, commented blocks, documentation prose."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from questions import name_query, web_query

MIN_LINES, MAX_LINES = 3, 80
MAX_CHARACTERS = 1500
SECTION_WORDS = (60, 200)
PROSE_WORDS = (40, 200)

_ROLE = re.compile(r":[\w:+-]+:`[~!]?([^`<]*?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?|\[([^\]]+)\]\([^)]*\)")
_MARKS = re.compile(r"``|`_?|\*\*|\*(?=\w)|(?<=\w)\*|!\[|<[^>\n]{1,80}>")
_DIRECTIVE = re.compile(r"^(\s*)\.\. .*(?:\n(?:\1[ \t]+\S.*|[ \t]*(?=\n|\Z)))*", re.MULTILINE)
_FIELD = re.compile(
    r"^\s*(?:[:@]\w+|>>>|\w+:\s*$|[-=~^*#]{3,}\s*$|"
    r"(?:Parameters|Returns|Args|Examples?|Notes)\b\s*:?$)"
)
_SIGNATURE = re.compile(r"^[\w.]+ ?\(.*\)(?: ?->.*)?$")
_SENTENCE = re.compile(r"(?<=[a-z0-9)\]`'\"][.!?])\s+(?=[A-Z\[(`'\"])")
_NOT_PROSE = re.compile(
    r"^\s*(?:>>>|\$ |[-*+•] |\d+[.)] |[:@|]|\w+ ?: |\w+:\s*$|\w+ \([^)]*\): |\w+\(.*\)$)|"
    r"Permission is hereby granted|Licensed under|WITHOUT WARRANT",
    re.MULTILINE,
)
_CITATION = re.compile(
    r"(?:\s(?:in|from|of|by|see|to|as|shown|described|given|according|and))*,?\s+\[[\w-]+\]_,?"
)
_LISTING = (
    "Parameters|Other Parameters|Returns|Yields|Raises|Warns|Attributes|Methods|See Also|"
    "References|Examples?"
)
_NUMPY_LISTING = re.compile(
    rf"^(?:{_LISTING})\n-{{3,}}\n(?:(?!\w[\w ]*\n-{{3,}}\n).*(?:\n|\Z))*?"
    r"(?=\w[\w ]*\n-{3,}\n|\Z)",
    re.MULTILINE,
)
_GOOGLE_LISTING = re.compile(
    rf"^(?:Args|Arguments|{_LISTING}):[ \t]*\n(?:[ \t]+.*\n?|\n)*", re.MULTILINE
)
_HEADING_LINE = re.compile(r"^.*\n[ \t]*([-=~^*#+\"'`])\1{2,}[ \t]*$", re.MULTILINE)
_CODE_COMMENT = re.compile(
    r"[=(){}\[\]<>]|https?:|\b(?:todo|noqa|fixme|xxx|copyright|pylint)\b", re.I
)
_COMMENT = re.compile(r"^([ \t]+)# (\S.*)$")


@dataclass
class Pair:
    query: str | None
    document: str
    kind: str  # function, comment, section or prose
    bare: str  # the document without its docstring, for the comparison with test data


def without_markup(text: str) -> str:
    """Remove the inline markup of reST and Markdown, but not its words."""
    text = _CITATION.sub("", _ROLE.sub(r"\1", text))
    text = _LINK.sub(lambda m: m[1] or m[2], text)
    return _MARKS.sub("", text)


def first_sentence(paragraph: str) -> tuple[str, str]:
    sentence, *rest = _SENTENCE.split(" ".join(paragraph.split()), maxsplit=1)
    return sentence, rest[0] if rest else ""


def summary_of(docstring: str) -> str:
    """The first sentence of a docstring, without fields, examples and signatures."""
    lines: list[str] = []
    for line in without_markup(docstring).strip().splitlines():
        if _FIELD.match(line) or (lines and not line.strip()):
            break
        if line.strip() and not _SIGNATURE.match(line.strip()):
            lines.append(line)
    return first_sentence(" ".join(lines))[0]


def is_prose(paragraph: str) -> bool:
    """Sentences of words, rather than a list, a table, code or parameters."""
    tokens = paragraph.split()
    words = sum(bool(re.fullmatch(r"[(\"']?[A-Za-z][A-Za-z'-]*[.,;:!?)\"']*", t)) for t in tokens)
    return (
        len(tokens) >= 8
        and words >= 0.75 * len(tokens)
        and paragraph.isascii()
        and not _NOT_PROSE.search(paragraph)
    )


def passages(text: str, shortest: int, longest: int) -> Iterator[str]:
    """Consecutive prose paragraphs joined up to `longest` words, each of at least `shortest`."""
    text = _HEADING_LINE.sub("\n", _DIRECTIVE.sub("\n", text))
    gathered: list[str] = []
    for paragraph in re.split(r"\n\s*\n", without_markup(text)):
        if not is_prose(paragraph):
            continue
        words = paragraph.split()
        if len(gathered) + len(words) > longest and len(gathered) >= shortest:
            yield " ".join(gathered)
            gathered = []
        gathered = (gathered + words)[:longest]
        if len(gathered) >= 0.7 * longest:
            yield " ".join(gathered)
            gathered = []
    if len(gathered) >= shortest:
        yield " ".join(gathered)


def prose_pair(passage: str, random: Random) -> Pair:
    """The first sentence against the rest, or the passage alone for pure distillation."""
    sentence, rest = first_sentence(passage)
    if random.random() < 0.7 and 4 <= len(sentence.split()) <= 40 and len(rest.split()) >= 25:
        return Pair(sentence, rest, "prose", rest)
    return Pair(None, passage, "prose", passage)


def shortened(code: str) -> str:
    """Whole lines, about MAX_CHARACTERS of them."""
    if len(code) <= MAX_CHARACTERS:
        return code
    return code[: code.rfind("\n", 0, MAX_CHARACTERS)].rstrip()


def _is_trivial(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Raise)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def function_pair(
    node: ast.FunctionDef | ast.AsyncFunctionDef, owner: str, lines: list[str], random: Random
) -> Pair | None:
    """A documented function and one query for it, or None if it is not worth a pair."""
    docstring = ast.get_docstring(node)
    if not docstring or node.name.startswith("test") or _is_trivial(node.body[1:]):
        return None
    if any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
        return None
    summary = summary_of(docstring)
    if not 3 <= len(summary.split()) <= 40 or not summary.isascii():
        return None
    first, last = node.body[0].lineno, node.body[0].end_lineno
    head, tail = lines[node.lineno - 1 : first - 1], lines[last : node.end_lineno]
    if not MIN_LINES <= len(head) + len(tail) + 1 <= MAX_LINES or not head:
        return None
    bare = shortened(textwrap.dedent("\n".join(head + tail)))
    full = shortened(textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])))
    document = full if random.random() < 0.5 else bare
    style = random.random()
    query: str | None = summary
    if style < 0.45:
        query = web_query(summary, random) or summary
    elif style < 0.65:
        query = name_query(node.name.strip("_"), owner, random) or summary
    return Pair(query, document, "function", bare)


def docstring_pairs(docstring: str, random: Random) -> Iterator[Pair]:
    """The prose of a docstring: its summary against the first passage, the others by themselves."""
    summary = summary_of(docstring)
    _, _, rest = docstring.partition("\n\n")
    rest = _GOOGLE_LISTING.sub("\n", _NUMPY_LISTING.sub("\n", rest + "\n"))
    for i, passage in enumerate(passages(rest, *PROSE_WORDS)):
        if i == 0 and 4 <= len(summary.split()) <= 40:
            yield Pair(summary, passage, "prose", passage)
        else:
            yield prose_pair(passage, random)


def comment_pairs(lines: list[str], random: Random) -> Iterator[Pair]:
    """A comment of at least four words against the block of code below it."""
    i = 0
    while i < len(lines):
        match = _COMMENT.match(lines[i])
        if not match:
            i += 1
            continue
        indent, words = match[1], []
        while i < len(lines) and (match := _COMMENT.match(lines[i])) and match[1] == indent:
            words.append(match[2])
            i += 1
        start = i
        while i < len(lines) and lines[i].startswith(indent) and not _COMMENT.match(lines[i]):
            i += 1
        comment = first_sentence(without_markup(" ".join(words)))[0]
        if not 3 <= i - start <= 25 or not 4 <= len(comment.split()) <= 25:
            continue
        if _CODE_COMMENT.search(comment) or not comment.isascii():
            continue
        query = web_query(comment, random) if random.random() < 0.4 else comment
        block = shortened(textwrap.dedent("\n".join(lines[start:i])))
        yield Pair(query or comment, block, "comment", block)


def python_pairs(source: str, random: Random) -> Iterator[Pair]:
    """All pairs of a Python file; none if it does not parse."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = source.splitlines()
    owners: list[tuple[ast.AST, str]] = [(tree, "")]
    while owners:
        parent, owner = owners.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef):
                owners.append((node, node.name))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                owners.append((node, owner))
                if pair := function_pair(node, owner, lines, random):
                    yield pair
            elif isinstance(node, ast.If | ast.Try | ast.With):
                owners.append((node, owner))
                continue
            else:
                continue
            if docstring := ast.get_docstring(node):
                yield from docstring_pairs(docstring, random)
    if docstring := ast.get_docstring(tree):
        yield from docstring_pairs(docstring, random)
    yield from comment_pairs(lines, random)


def sections(text: str, markdown: bool) -> Iterator[tuple[str, str, str]]:
    """(parent title, title, body) of each section of a reST or Markdown document."""
    if markdown:
        text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
        heading = re.compile(r"^(?P<level>#{1,6}) +(?P<title>.+?) *#*$", re.MULTILINE)
    else:
        heading = re.compile(
            r"^(?P<title>\S.*)\n(?P<level>[-=~^*#+\"'`:.])(?P=level){2,}[ \t]*$", re.MULTILINE
        )
    levels: list[str] = []  # heading styles from the outermost, in order of appearance
    titles: list[str] = []
    headings = list(heading.finditer(text))
    for match, following in pairwise([*headings, None]):
        style = match["level"]
        if style not in levels:
            levels.append(style)
        depth = len(style) - 1 if markdown else levels.index(style)
        title = without_markup(match["title"]).strip()
        titles = [*titles[:depth], title]
        parent = titles[-2] if len(titles) > 1 else ""
        yield parent, title, text[match.end() : following.start() if following else None]


def document_pairs(text: str, markdown: bool, random: Random) -> Iterator[Pair]:
    """Section titles against the start of their sections, and the passages after it."""
    for parent, title, body in sections(text, markdown):
        for i, passage in enumerate(passages(body, *SECTION_WORDS)):
            if (
                i
                or not re.fullmatch(r"[ -~]*[A-Za-z]{3}[ -~]*", title)
                or re.search(r"[=(){}]", title)
            ):
                yield prose_pair(passage, random)
                continue
            alone = len(title.split()) >= 3 and random.random() < 0.5
            query = title if alone or not parent else f"{parent}: {title}"
            yield Pair(query, passage, "section", passage)


def file_pairs(path: str, text: str, random: Random) -> Iterator[Pair]:
    """All pairs of a file, by its suffix."""
    if path.endswith(".py"):
        yield from python_pairs(text, random)
    else:
        yield from document_pairs(text, path.endswith(".md"), random)
