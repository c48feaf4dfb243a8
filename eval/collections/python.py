"""A collection of Python functions of pinned packages; queries are their docstrings.

`nano` was not trained on these packages (RESERVED in examples/nano/gather.py). They are fetched by
pip as wheels with fixed hashes and read as archives; nothing is installed or run.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import InputError
from .build import Entry, write_collection

REQUIREMENTS = Path(__file__).with_name("python.txt")
DOCUMENTS, QUERIES = 4000, 500
FEWEST_LINES = 3  # of a function without its docstring
FEWEST_WORDS, MOST_WORDS = 5, 60  # of a query
_SKIPPED = re.compile(r"(^|/)(_?vendor(ed)?|third_?party|_?externals?|tests?|testing)/", re.I)
_FIELDS = re.compile(
    r"\s*(:\w|>>>|@\w|(args?|arguments|parameters|returns?|raises|yields?|usage|examples?)\s*(:|$))",
    re.IGNORECASE,
)


def collect(folder: Path, progress: Callable[[int], None] | None = None) -> tuple[int, int]:
    """Build the collection.

    Args:
        folder: The BEIR folder to create.
        progress: Called with the number of packages read so far.

    Returns:
        Numbers of documents and queries.

    Raises:
        InputError: The packages cannot be fetched, or the folder exists already.
    """
    if folder.exists():
        raise InputError(f"{folder} already exists: remove it first")
    entries: list[Entry] = []
    with TemporaryDirectory() as scratch:
        archives = _download(Path(scratch))
        for done, archive in enumerate(archives, start=1):
            entries += wheel_entries(archive)
            if progress is not None:
                progress(done)
        names = [archive.name for archive in archives]
    sources = {"made_by": "mbert-eval collect python", "packages": names}
    return write_collection(folder, entries, documents=DOCUMENTS, queries=QUERIES, sources=sources)


def wheel_entries(archive: Path) -> list[Entry]:
    """Return an entry for each function with a docstring in a wheel's Python files."""
    package = archive.name.partition("-")[0]
    entries = []
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist()):
            if not name.endswith(".py") or _SKIPPED.search(name):
                continue
            try:
                source = wheel.read(name).decode("utf-8")
            except UnicodeDecodeError:
                continue
            entries += file_entries(source, f"{package}:{name}")
    return entries


def file_entries(source: str, name: str) -> list[Entry]:
    """Return the entries of one file, with `name` as the prefix of their ids."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    lines = source.splitlines()
    entries = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node)
        query = _query(docstring or "")
        code = _without_docstring(node, lines)
        if query and len(code.splitlines()) >= FEWEST_LINES:
            entries.append(Entry(f"{name}:{node.lineno}", code, query))
    return entries


def _query(docstring: str) -> str:
    """Return the first paragraph as one line; empty if it is too short or too long."""
    lines = []
    for line in docstring.strip().splitlines():
        if not line.strip() or _FIELDS.match(line):
            break
        lines.append(line.strip())
    text = " ".join(lines)
    return text if FEWEST_WORDS <= len(text.split()) <= MOST_WORDS else ""


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    first = node.body[0]
    end = node.end_lineno or node.lineno
    if not ast.get_docstring(node) or len(node.body) < 2 or first.end_lineno is None:
        return "" if len(node.body) < 2 else textwrap.dedent("\n".join(lines[start - 1 : end]))
    remaining = lines[start - 1 : first.lineno - 1] + lines[first.end_lineno : end]
    return textwrap.dedent("\n".join(remaining)).strip("\n")


def _download(folder: Path) -> list[Path]:
    """Download the wheels of REQUIREMENTS with pip, which checks their hashes."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    command += ["--platform", "any", "--implementation", "py", "--abi", "none"]
    command += ["--dest", str(folder), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else f"exit code {done.returncode}"
        raise InputError(f"pip could not fetch the packages of {REQUIREMENTS.name}: {reason}")
    return sorted(folder.glob("*.whl"))
