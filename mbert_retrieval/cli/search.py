"""`mbert-search`: ask an index, or serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..sync.provenance import remembered
from . import locate, serving
from .console import NOTHING_FOUND, new_app, run
from .syncing import before_query

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
    pattern: Annotated[
        str | None,
        typer.Option("-e", "--regexp", metavar="REGEX", help="Only passages that match it."),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only passages in this language.")
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only files or folders of this name or pattern."),
    ] = None,
    group: Annotated[
        bool, typer.Option("--group", help="Each document once, by its best passage.")
    ] = False,
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
    update: Annotated[
        bool,
        typer.Option(
            "--update/--no-update", help="Read files that changed since they were indexed, first."
        ),
    ] = True,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line and nothing else.")
    ] = False,
) -> None:
    """Find the passages that answer TEXT best. Exit code 1 when there is none."""
    from ..index import Index
    from ..indexes.filtering import narrowed
    from .output import Form, print_hits

    form = Form(json, explain, lines, files, counts)
    form.check()
    target = Index.open(locate.index_from_here(index))
    if update:
        before_query(target, target.folder.path)
    question = " ".join(text)
    given = {"nprobe": nprobe, "candidates": candidates}
    tuning = {name: value for name, value in given.items() if value is not None}
    chosen = narrowed(where, pattern, language or (), path or ())
    hits, found = target.find(question, k, mode, chosen, tuning, group)
    if hits:
        _, root = remembered(target.folder.settings, target.folder.path)
        print_hits(target, found, hits, form, root, tuning)
    else:
        raise typer.Exit(NOTHING_FOUND)


serving.add_to(app)


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
