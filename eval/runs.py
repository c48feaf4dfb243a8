"""Runs (what a system retrieved) and TREC's run files (`query Q0 document rank score tag`)."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import InputError
from .files import line_error, read_lines, write_text_file

Run = dict[str, dict[str, float]]
"""Maps each query id to the scores of its retrieved documents by id, best first."""


def write_run(path: str | Path, run: Run, tag: str) -> None:
    """Write a TREC run file. Scores are written with all digits, so that their order is preserved.

    Args:
        path: The file.
        run: The rankings by query id, each best first.
        tag: Name of the system, for the last column; spaces become hyphens.

    Raises:
        InputError: An id contains a space, or the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_run(f"{folder}/bm25.trec", {"q1": {"d2": 1.5, "d1": 0.5}}, "BM25")
        ...     read_run(f"{folder}/bm25.trec")
        {'q1': {'d2': 1.5, 'd1': 0.5}}
    """
    tag = "-".join(tag.split())
    lines = []
    for query, ranking in run.items():
        for rank, (document, score) in enumerate(ranking.items(), start=1):
            for identifier in (query, document):
                if identifier.split() != [identifier]:
                    raise InputError(
                        f"the id {identifier!r} has a space in it, and a TREC run file separates "
                        "its columns by spaces: write no run file"
                    )
            lines.append(f"{query} Q0 {document} {rank} {float(score)!r} {tag}\n")
    write_text_file(Path(path), "".join(lines))


def read_run(path: str | Path) -> Run:
    """Read a TREC run file. Documents are ordered by score, as in trec_eval; ranks are ignored.

    Args:
        path: The file.

    Returns:
        The rankings by query id, each best first.

    Raises:
        InputError: The file is empty, or a line has a wrong number of columns, a score that is not
            a finite number, or a document that the query retrieved before; the message names the
            line.
    """
    path = Path(path)
    run: Run = {}
    for line, text in read_lines(path):
        columns = text.split()
        if len(columns) != 6:
            raise line_error(
                path,
                line,
                f"{len(columns)} columns, expected 6 (query Q0 document rank score tag)",
            )
        query, _, document, _, score, _ = columns
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise line_error(path, line, f"the score {score!r} is not a finite number")
        ranking = run.setdefault(query, {})
        if document in ranking:
            raise line_error(path, line, f"document {document!r} is retrieved twice for {query!r}")
        ranking[document] = value
    if not run:
        raise InputError(f"{path} contains no results")
    return {
        query: dict(sorted(ranking.items(), key=lambda item: item[1], reverse=True))
        for query, ranking in run.items()
    }
