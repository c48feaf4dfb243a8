"""`mbert-search`: ask an index, or serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import places, serving
from .console import NOTHING_FOUND, new_app, run

app = new_app("Search an index, or serve it.")


@app.command()
def query(
    text: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="What to look for, in words or code.")
    ],
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            metavar="DIR",
            help="The index. Default: the nearest .mbert from here upward.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many results.")] = 10,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="hybrid (all that the index has), late, dense, vector (both), or lexical.",
        ),
    ] = "hybrid",
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER", help="Only passages such as: language = 'python' AND kind = 'class'."
        ),
    ] = None,
    nprobe: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Lists followed for each query vector."),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Passages scored in full. Default: by size."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why each was found; with --json as `matches`.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("-n", "--line-number", help="Print path:line:text, as grep -n.")
    ] = False,
    files: Annotated[
        bool, typer.Option("-l", "--files-with-matches", help="Print each file once, as grep -l.")
    ] = False,
    counts: Annotated[
        bool, typer.Option("-c", "--count", help="Print path:count of lines, as grep -c.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line and nothing else.")
    ] = False,
) -> None:
    """Find the passages that answer TEXT best. Exit code 1 when there is none."""
    from ..index import Index
    from .printing import Form, print_hits

    form = Form(json, explain, lines, files, counts)
    form.check()
    target = Index.open(places.index_from_here(index))
    question = " ".join(text)
    given = {"nprobe": nprobe, "candidates": candidates}
    tuning = {name: value for name, value in given.items() if value is not None}
    hits = target.search(question, k, mode, where, tuning)
    if hits:
        _, root = places.remembered(target.folder.settings, target.folder.path)
        print_hits(target, question, hits, form, root, k, mode, where, tuning)
    else:
        raise typer.Exit(NOTHING_FOUND)


serving.add_to(app)


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
