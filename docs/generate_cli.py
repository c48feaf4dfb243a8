"""Write docs/reference/cli.md: the --help text of every command.

    python docs/generate_cli.py

A test compares the page with the commands' help, so run this after changing an option.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from mbert_retrieval.cli import eval, index, search, train

PAGE = Path(__file__).resolve().parent / "reference" / "cli.md"
PROGRAMS = {
    "mbert-index": index.app,
    "mbert-search": search.app,
    "mbert-eval": eval.app,
    "mbert-train": train.app,
}
INTRODUCTION = """\
# Command line

Four programs. This page is made of their `--help` texts by `python docs/generate_cli.py`.

With `--json` there is one JSON object per line on standard output and nothing else; progress and
messages go to standard error. Exit codes:

| code | meaning |
| --: | --- |
| 0 | done |
| 1 | nothing found |
| 2 | bad input or usage; the message says what to do |
"""


def help_text(app: click.Group, program: str, command: str | None = None) -> str:
    """Return what `PROGRAM [COMMAND] --help` prints on a terminal of 80 columns."""
    arguments = [*([command] if command else []), "--help"]
    environment = {"COLUMNS": "80", "NO_COLOR": "1"}
    result = CliRunner().invoke(app, arguments, prog_name=program, env=environment)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def sections() -> Iterator[str]:
    """Yield the page's sections: one per program, and one per command of it."""
    for program, app in PROGRAMS.items():
        yield f"## {program}\n\n```text\n{help_text(app, program)}\n```\n"
        for command in app.commands:
            text = help_text(app, program, command)
            yield f"### {program} {command}\n\n```text\n{text}\n```\n"


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *sections()])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
