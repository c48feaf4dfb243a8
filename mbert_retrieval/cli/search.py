"""`mbert-search`: search an index, or serve it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, cast

import typer

from . import locate, serving
from .console import NOTHING_FOUND, new_app, run
from .locate import NearIndex, QueryEncoderName
from .match_limit import limited_matches
from .sync_sources import update_before_query

if TYPE_CHECKING:
    from ..types import Mode

app = new_app("Search an index, or serve it.")


@app.command()
def query(
    text: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="What to look for, in words or code.")
    ],
    index: NearIndex = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many results.")] = 10,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="hybrid (all legs), late, dense, vector (late and dense), or lexical.",
        ),
    ] = "hybrid",
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Only passages that match, for example language = 'python' AND kind = 'class'.",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("-e", "--regexp", metavar="REGEX", help="Only passages whose text matches."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only passages in this language (can be repeated)."),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only files or folders with this name or pattern (can be repeated).",
        ),
    ] = None,
    group: Annotated[
        bool, typer.Option("--group", help="Show each document once, by its best passage.")
    ] = False,
    nprobe: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="plaid, IVF: lists visited per query vector. Default: by size."
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Passages scored in full. Default: by size."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain each hit; with --json as `matches`.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("-n", "--line-number", help="Print path:line:text, like grep -n.")
    ] = False,
    files: Annotated[
        bool, typer.Option("-l", "--files-with-matches", help="Print each file once, like grep -l.")
    ] = False,
    counts: Annotated[
        bool, typer.Option("-c", "--count", help="Print path:count of lines, like grep -c.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update/--no-update",
            help="First read the files that changed since they were indexed.",
        ),
    ] = True,
    encoder: QueryEncoderName = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line and nothing else.")
    ] = False,
) -> None:
    """Find the passages that answer TEXT best. Exit code 1 where there is none."""
    from ..index import Index
    from ..indexes import IndexFolder
    from ..indexes.filtering import narrowed
    from ..search.encoders import IndexEncoders
    from ..sync.provenance import Provenance
    from .output import OutputForm, print_result

    form = OutputForm(json, explain, lines, files, counts)
    form.check()
    folder = IndexFolder.open(locate.index_from_here(index))
    target = Index(folder, IndexEncoders(folder, name=encoder))
    if update:
        update_before_query(target)
    given = {"nprobe": nprobe, "candidates": candidates}
    tuning = {name: value for name, value in given.items() if value is not None}
    filtered = narrowed(where, pattern, language or (), path or ())
    with limited_matches() if pattern is not None else nullcontext():
        result = target.search(" ".join(text), k, cast("Mode", mode), filtered, tuning, group)
    if not result:
        raise typer.Exit(NOTHING_FOUND)
    print_result(result, form, Provenance.of(target.folder).root)


serving.add_to(app)


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
