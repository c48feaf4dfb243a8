"""What a system retrieved, and TREC's file of it (`query Q0 document rank score tag`)."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import InputError
from .files import fault, read_lines, write_whole

Run = dict[str, dict[str, float]]
"""Query id to document id to score, best first."""


def write_run(path: str | Path, run: Run, tag: str) -> None:
    """Write a run file. Scores keep every digit, so that no order is lost.

    Raises InputError for an id or tag that the format cannot hold, or when the file cannot be
    written.
    """
    tag = "-".join(tag.split())
    lines = []
    for query, ranking in run.items():
        for rank, (document, score) in enumerate(ranking.items(), start=1):
            for identifier in (query, document):
                if identifier.split() != [identifier]:
                    raise InputError(
                        f"the id {identifier!r} has a space in it, and a TREC run file separates "
                        "its columns by spaces: leave the run file out"
                    )
            lines.append(f"{query} Q0 {document} {rank} {float(score)!r} {tag}\n")
    write_whole(Path(path), "".join(lines))


def read_run(path: str | Path) -> Run:
    """Read a run file. The score decides the order, as in trec_eval; the rank column is not read.

    Raises InputError, naming the line, for a wrong number of columns, a score that is not a finite
    number, or a document retrieved twice for a query; and for a file without lines.
    """
    path = Path(path)
    run: Run = {}
    for line, text in read_lines(path):
        columns = text.split()
        if len(columns) != 6:
            raise fault(
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
            raise fault(path, line, f"the score {score!r} is not a finite number")
        ranking = run.setdefault(query, {})
        if document in ranking:
            raise fault(path, line, f"document {document!r} is retrieved twice for {query!r}")
        ranking[document] = value
    if not run:
        raise InputError(f"{path} holds no results")
    return {
        query: dict(sorted(ranking.items(), key=lambda item: item[1], reverse=True))
        for query, ranking in run.items()
    }
