"""`mbert-eval collect`: build a judged collection from public packages."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .console import message, print_json, progress_bar


class Collection(StrEnum):
    manpages = "manpages"
    python = "python"


def collect(
    name: Annotated[
        Collection,
        typer.Argument(
            help="manpages: manual pages of Debian packages by their one-line descriptions; "
            "python: functions of pinned packages by their docstrings."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to create.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Build a judged collection, a BEIR folder, from public packages.

    The same packages give the same collection. Measure on it with: mbert-eval run --data OUT
    """
    from ..eval.collections import manpages, python

    module = manpages if name == Collection.manpages else python
    with progress_bar(f"collecting {name.value}") as advance:
        documents, queries = module.collect(out, progress=advance)
    if as_json:
        print_json({"folder": str(out), "documents": documents, "queries": queries})
    else:
        message(f"{out}: {documents} documents, {queries} queries")
