"""What a source is, found out by looking, and its passages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..types import Passage
from .code import code_units
from .html import html_lines
from .languages import PROSE, language_of
from .prose import MAX_WORDS, Heading, headings, sections, word_windows
from .text import display_path
from .tree import tree_units
from .units import Unit, fitted, trimmed

BEIR_CORPUS = "corpus.jsonl"


def existing(path: str | Path) -> Path:
    """The source's full path. Raises InputError when there is nothing."""
    path = Path(path)
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        raise InputError(f"no such file or folder: {path}") from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise InputError(f"cannot read {str(path)!r}: {error}") from None


def source_root(sources: Sequence[str | Path]) -> Path:
    """The folder that the paths of passages are relative to: the one folder that is the source, or
    the nearest that holds all sources. Collections do not count: their passages have no path."""
    paths = [path for path in map(existing, sources) if not collection_file(path)]
    folders = [path if path.is_dir() else path.parent for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


def cut(text: str, path: str, whole: bool = False) -> Iterator[Passage]:
    """A file's text in passages: every line that is not blank is in one. Code is in one only; of
    prose a passage may repeat the end of the one before.

    whole: prose is one passage.
    """
    lines = text.split("\n")
    language = language_of(PurePosixPath(path), lines[0])
    if language == "html":
        lines, found = html_lines(text)
        yield from document(lines, found, path, language, whole)
    elif language in PROSE:
        yield from document(lines, list(headings(lines, language)), path, language, whole)
    else:
        units = tree_units(lines, language)
        for unit in fitted(lines, code_units(lines) if units is None else units):
            yield _passage(lines, unit, path, language)


def document(
    lines: Sequence[str], found: Sequence[Heading], path: str, language: str, whole: bool = False
) -> Iterator[Passage]:
    """A document's lines in passages, as `cut`. found: its headings."""
    if whole:
        title = min(found, key=lambda heading: heading[:2], default=(1, 1, ""))[2]
        for unit in trimmed(lines, [Unit(1, len(lines), "document", title)]):
            yield _passage(lines, unit, path, language)
        return
    for unit in trimmed(lines, sections(lines, found)):
        passage = _passage(lines, unit, path, language)
        if unit.start < unit.end or len(passage.text.split()) <= 2 * MAX_WORDS:
            yield passage
            continue
        for number, piece in enumerate(word_windows(passage.text), start=1):
            id = f"{passage.id}#{number}" if number > 1 else passage.id
            yield replace(passage, id=id, text=piece)


def _passage(lines: Sequence[str], unit: Unit, path: str, language: str) -> Passage:
    return Passage(
        id=f"{path}:{unit.start}-{unit.end}",
        text="\n".join(lines[unit.start - 1 : unit.end]),
        title=unit.name,
        path=path,
        start_line=unit.start,
        end_line=unit.end,
        metadata=_metadata(language, unit),
    )


def _metadata(language: str, unit: Unit) -> dict[str, str]:
    facts = {"language": language, "kind": unit.kind, "name": unit.name}
    told = {"signature": unit.signature, "doc": unit.doc}
    return facts | {key: value for key, value in told.items() if value}


def collection_file(path: Path) -> Path | None:
    """The `.jsonl` file to read when the source is a collection, else None."""
    if path.is_dir():
        corpus = path / BEIR_CORPUS
        return corpus if corpus.is_file() else None
    return path if path.suffix.lower() in (".jsonl", ".ndjson") and path.is_file() else None


def shown(path: Path, root: Path) -> str:
    """A file's path as passages carry it: relative to `root`, or whole when it is outside."""
    return display_path(path.relative_to(root) if path.is_relative_to(root) else path)
