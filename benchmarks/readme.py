"""Tables of Markdown pages are written by the scripts that measured them, between markers."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from mbert_retrieval import InputError
from mbert_retrieval.eval.files import write_whole

README = Path(__file__).resolve().parent.parent / "README.md"
LOCAL = ("--cache", "--data")  # options that only say where this machine keeps something


def command_line() -> str:
    """How the running script was called, for its table; without LOCAL."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in LOCAL:
        parser.add_argument(option)
    _, others = parser.parse_known_args()
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *others])


def write_table(name: str, table: str, page: Path = README) -> None:
    """Replace what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.

    Raises InputError, and changes nothing, when the page has no such markers.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise InputError(f"{page} has no lines {begin} and {end} to put the table between")
    write_whole(page, f"{head}{begin}\n{table}\n{end}{tail}")
