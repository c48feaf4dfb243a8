"""Options that several commands share, as decorators."""

from __future__ import annotations

from pathlib import Path

import click

FILE_PATH = click.Path(path_type=Path)

near_index = click.option(
    "--index",
    type=FILE_PATH,
    metavar="DIR",
    help="Folder of the index. Default: the nearest .mbert from here upward.",
)
query_encoder = click.option(
    "--encoder",
    metavar="NAME",
    help="Load this encoder (nano, a folder, or a model on the hub), not the one that the index "
    "names; it must be the same.",
)
json_lines = click.option(
    "--json", is_flag=True, help="Print one JSON object per line and nothing else."
)
