"""Checks of passages that several tests share."""

from __future__ import annotations

from pathlib import Path, PurePath

from mbert_retrieval import Passage
from mbert_retrieval.sources import read_source
from mbert_retrieval.sources.languages import PROSE, language_of
from mbert_retrieval.sources.line_spans import MAX_CHARACTERS, MAX_LINES
from mbert_retrieval.sources.prose import MAX_WORDS
from mbert_retrieval.sources.split import split_into_passages


def passages_of(source: Path, **options) -> list[Passage]:
    return list(read_source(source, [], **options))


def assert_every_line_once(text: str, path: str) -> None:
    lines = text.split("\n")
    times = [0] * len(lines)
    for passage in split_into_passages(text, path):
        assert passage.start_line is not None
        assert passage.end_line is not None
        assert passage.id == f"{path}:{passage.start_line}-{passage.end_line}"
        assert passage.text == "\n".join(lines[passage.start_line - 1 : passage.end_line])
        for line in range(passage.start_line - 1, passage.end_line):
            times[line] += 1
        size = passage.end_line - passage.start_line + 1
        prose = passage.metadata["kind"] == "section"
        if prose:
            assert size == 1 or len(passage.text.split()) <= MAX_WORDS
        else:
            assert size == 1 or (size <= MAX_LINES and len(passage.text) <= MAX_CHARACTERS)
    for line, count in zip(lines, times, strict=True):
        assert count >= 1 if line.strip() else True
        assert count <= (2 if language_of(PurePath(path), lines[0]) in PROSE else 1)
