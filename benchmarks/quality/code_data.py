"""Source trees with questions, for measurements of code search: made from pinned packages.

A question is the first sentence of a function's docstring (or of the comment above it, in
JavaScript), or a comment inside a function. That text is taken out of the tree, so that the answer
has to be found by the code. None of these packages gave `nano` training text.
"""

from __future__ import annotations

import ast
import io
import random
import re
import subprocess
import sys
import tarfile
import tokenize
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = (
    "httpx==0.28.1",
    "requests==2.32.3",
    "marshmallow==3.23.2",
    "bottle==0.13.2",
)
JAVASCRIPT = ("express@4.21.2", "axios@1.7.9", "commander@12.1.0")
SUFFIXES = {"python": (".py",), "javascript": (".js", ".mjs", ".ts")}
SEED = 7


@dataclass(frozen=True)
class Question:
    """text; where its answer is: a path in the tree, and lines from 1, both inclusive."""

    text: str
    path: str
    start: int
    end: int


@dataclass
class Tree:
    """root: a folder of source files; questions by what they were made of."""

    root: Path
    questions: dict[str, list[Question]] = field(default_factory=dict)


def python_tree(cache: Path, docstrings: int = 200, comments: int = 100) -> Tree:
    """The packages of `PYTHON`, unpacked in `cache` (downloaded there by pip, once)."""
    root = cache / "python"
    if not root.exists():
        wheels = cache / "wheels"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        subprocess.run([*command, str(wheels), *PYTHON], check=True)
        for archive in sorted(wheels.iterdir()):
            _unpack(archive, root, SUFFIXES["python"])
    tree = Tree(cache / "python-asked")
    by_kind: dict[str, list[Question]] = {"docstring": [], "comment": []}
    files = {}
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        files[path] = text
        by_kind["docstring"] += _docstrings(path, text)
        by_kind["comment"] += _comments(path, text)
    wanted = {"docstring": docstrings, "comment": comments}
    for kind, questions in by_kind.items():
        chosen = _sample(questions, wanted[kind])
        tree.questions[kind] = chosen
        for question in chosen:
            files[question.path] = _without(files[question.path], question, kind)
    _write(tree.root, files)
    return tree


def javascript_tree(cache: Path, comments: int = 200) -> Tree:
    """The packages of `JAVASCRIPT`, unpacked in `cache` (downloaded there by npm, once)."""
    root = cache / "javascript"
    if not root.exists():
        packed = cache / "npm"
        packed.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", *JAVASCRIPT], cwd=packed, check=True)
        for archive in sorted(packed.iterdir()):
            _unpack(archive, root / archive.stem, SUFFIXES["javascript"])
    tree = Tree(cache / "javascript-asked")
    files, questions = {}, []
    for file in sorted(root.rglob("*.js")):
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        if ".min." in path or "/dist/" in path or len(text) > 200_000:
            continue
        files[path] = text
        questions += _jsdocs(path, text)
    tree.questions["docstring"] = _sample(questions, comments)
    for question in tree.questions["docstring"]:
        files[question.path] = _without(files[question.path], question, "comment")
    _write(tree.root, files)
    return tree


def _unpack(archive: Path, root: Path, suffixes: tuple[str, ...]) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            members = {n: packed.read(n) for n in packed.namelist() if n.endswith(suffixes)}
    else:
        with tarfile.open(archive) as packed_tar:
            members = {}
            for member in packed_tar:
                file = packed_tar.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith(suffixes):
                    members[member.name] = file.read()
    for name, content in members.items():
        target = root / name
        if not target.resolve().is_relative_to(root.resolve()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _docstrings(path: str, text: str) -> list[Question]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    questions = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        sentence = _sentence(ast.get_docstring(node) or "")
        if sentence and node.end_lineno and node.end_lineno - node.body[0].lineno > 2:
            questions.append(Question(sentence, path, node.lineno, node.end_lineno))
    return questions


def _comments(path: str, text: str) -> list[Question]:
    """Comments of one line of their own inside functions."""
    questions = []
    lines = text.split("\n")
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return []
    for token in tokens:
        number, column = token.start
        if token.type != tokenize.COMMENT or column < 4 or lines[number - 1][:column].strip():
            continue
        around = [lines[n].lstrip()[:1] for n in (number - 2, number) if 0 <= n < len(lines)]
        sentence = _sentence(token.string.lstrip("# "))
        if sentence and "#" not in around:
            questions.append(Question(sentence, path, number, number))
    return questions


def _jsdocs(path: str, text: str) -> list[Question]:
    questions = []
    for match in re.finditer(
        r"^[ \t]*/\*\*(.*?)\*/\n(?=[^\n]*(?:function|\(|=>))", text, re.S | re.M
    ):
        lines = [re.sub(r"^\s*\*?\s?", "", line) for line in match[1].split("\n")]
        sentence = _sentence("\n".join(lines).strip())
        if sentence:
            start = text.count("\n", 0, match.start()) + 1
            questions.append(Question(sentence, path, start, start + match[0].count("\n")))
    return questions


def _sentence(text: str) -> str:
    """The first sentence, "" when it says too little to be a question."""
    first = re.split(r"(?<=[.!?])\s|\n\s*\n|\n\s*[@:]", text.strip(), maxsplit=1)[0]
    sentence = " ".join(re.sub(r"[`*]|:\w+:", "", first).split()).rstrip(".")
    words = re.findall(r"[A-Za-z]{2,}", sentence)
    return sentence if 4 <= len(words) <= 30 and "=" not in sentence else ""


def _sample(questions: list[Question], count: int) -> list[Question]:
    """Some of them, no text twice."""
    unique = list({question.text: question for question in questions}.values())
    return sorted(
        random.Random(SEED).sample(unique, min(count, len(unique))),
        key=lambda question: (question.path, question.start),
    )


def _without(text: str, question: Question, kind: str) -> str:
    """The file with the question's own text blanked; lines stay where they are."""
    lines = text.split("\n")
    if kind == "docstring":
        node = next(
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.lineno, node.end_lineno) == (question.start, question.end)
        )
        first, last = node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno
    else:
        first, last = question.start, question.end
        last = last - 1 if last > first else last
    for number in range(first, last + 1):
        lines[number - 1] = ""
    return "\n".join(lines)


def _write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
