"""`mbert-search`: search an index, or serve it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from . import locate, serving
from .blas import limit_blas_threads
from .console import NOTHING_FOUND, new_app, run
from .match_limit import limited_matches
from .options import json_lines, near_index, query_encoder
from .sync_sources import update_before_query

if TYPE_CHECKING:
    from ..types import Mode

app = new_app("mbert-search", "Search an index, or serve it.")


@app.command()
@click.argument(
    "text", nargs=-1, required=True, metavar="TEXT...", help="What to look for, in words or code."
)
@near_index
@click.option("-k", type=int, default=10, metavar="N", help="How many results.")
@click.option(
    "--mode",
    default="hybrid",
    metavar="MODE",
    help="hybrid (all legs), late, dense, vector (late and dense), or lexical.",
)
@click.option(
    "--where",
    metavar="FILTER",
    help="Only passages that match, for example language = 'python' AND kind = 'class'.",
)
@click.option(
    "-e", "--regexp", "pattern", metavar="REGEX", help="Only passages whose text matches."
)
@click.option(
    "--language",
    multiple=True,
    metavar="NAME",
    help="Only passages in this language (can be repeated).",
)
@click.option(
    "--path",
    multiple=True,
    metavar="GLOB",
    help="Only files or folders with this name or pattern (can be repeated).",
)
@click.option("--group", is_flag=True, help="Show each document once, by its best passage.")
@click.option(
    "--nprobe",
    type=click.IntRange(min=1),
    metavar="N",
    help="plaid, IVF: lists visited per query vector. Default: by size.",
)
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    metavar="N",
    help="Passages scored in full. Default: by size.",
)
@click.option("--explain", is_flag=True, help="Explain each hit; with --json as `matches`.")
@click.option(
    "-n", "--line-number", "lines", is_flag=True, help="Print path:line:text, like grep -n."
)
@click.option(
    "-l",
    "--files-with-matches",
    "files",
    is_flag=True,
    help="Print each file once, like grep -l.",
)
@click.option(
    "-c", "--count", "counts", is_flag=True, help="Print path:count of lines, like grep -c."
)
@click.option(
    "--update/--no-update",
    default=True,
    help="First read the files that changed since they were indexed.",
)
@query_encoder
@json_lines
def query(
    text: tuple[str, ...],
    index: Path | None,
    k: int,
    mode: str,
    where: str | None,
    pattern: str | None,
    language: tuple[str, ...],
    path: tuple[str, ...],
    group: bool,
    nprobe: int | None,
    candidates: int | None,
    explain: bool,
    lines: bool,
    files: bool,
    counts: bool,
    update: bool,
    encoder: str | None,
    json: bool,
) -> None:
    """Find the passages that answer TEXT best. Exit code 1 where there is none."""
    limit_blas_threads()
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
    root = Provenance.of(folder).root
    if update:
        update_before_query(target)
    given = {"nprobe": nprobe, "candidates": candidates}
    tuning = {name: value for name, value in given.items() if value is not None}
    filtered = narrowed(where, pattern, language, path)
    with limited_matches() if pattern is not None else nullcontext():
        result = target.search(" ".join(text), k, cast("Mode", mode), filtered, tuning, group)
    if not result:
        raise click.exceptions.Exit(NOTHING_FOUND)
    print_result(result, form, root)


app.add_command(serving.serve)
app.add_command(serving.mcp)


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
