"""`mbert-eval collect`: build a judged collection from public packages."""

from __future__ import annotations

from pathlib import Path

import click

from .console import message, print_json, progress_bar
from .options import FILE_PATH

COLLECTIONS = ("manpages", "python")


@click.command()
@click.argument(
    "name",
    type=click.Choice(COLLECTIONS),
    help="manpages: manual pages of Debian packages by their one-line descriptions; "
    "python: functions of pinned packages by their docstrings.",
)
@click.option("--out", type=FILE_PATH, required=True, help="Folder to create.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def collect(name: str, out: Path, as_json: bool) -> None:
    """Build a judged collection, a BEIR folder, from public packages.

    The same packages give the same collection. Measure on it with: mbert-eval run --data OUT
    """
    from ..eval.collections import manpages, python

    module = manpages if name == "manpages" else python
    with progress_bar(f"collecting {name}") as advance:
        documents, queries = module.collect(out, progress=advance)
    if as_json:
        print_json({"folder": str(out), "documents": documents, "queries": queries})
    else:
        message(f"{out}: {documents} documents, {queries} queries")
