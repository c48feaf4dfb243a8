"""What all commands share: results on standard output, the rest on standard error, exit codes.

0 done, 1 nothing found, 2 bad input or usage, 70 a defect of ours (with its traceback),
130 interrupted. Rich loads when something is shown with it.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.exceptions import TyperException

from ..errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

NOTHING_FOUND, BAD_INPUT, DEFECT, INTERRUPTED = 1, 2, 70, 130

_DRIVING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def new_app(help: str) -> typer.Typer:
    """An app whose help and errors need neither Rich nor a traceback of Typer's."""
    app = typer.Typer(
        help=help,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_commands)  # so that an app of one command still takes its name
    return app


def _commands() -> None:
    pass


def run(app: typer.Typer) -> NoReturn:
    """Run a command and exit. The one place where errors become a line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the terminal lacks become "?"
            stream.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except InputError as error:
        code = _complain(str(error))
    except TyperException as error:
        code = _complain(f"{error.format_message().rstrip('.')}; --help says more")
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = _close_output()
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        code = _complain(f"{error.strerror or error}{file}")
    except Exception:
        import traceback

        traceback.print_exc()
        code = DEFECT
    sys.exit(code)


def message(text: str) -> None:
    """One line on standard error."""
    print(_one_line(text), file=sys.stderr, flush=True)


def print_json(value: dict[str, Any]) -> None:
    """One object as a line of UTF-8 on standard output, whatever the terminal's encoding."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(line.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise typer.Exit(_close_output()) from None


def output() -> Console:
    """Rich's console on standard output: colour on a terminal only."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise typer.Exit(_close_output())

    return Output(highlight=False, markup=False, emoji=False)


@contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar with rate and remaining time on standard error; nothing where that is no terminal.

    Gives a function that is called with the number done so far.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        Remaining(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, rate="")

        def advance(done: int) -> None:
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, completed=done, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance


def visible(text: str) -> str:
    """Text that cannot drive a terminal: control characters and changes of direction become
    U+FFFD; tabs and line ends stay."""
    return _DRIVING.sub("\ufffd", text)


def _one_line(text: str) -> str:
    return visible(" ".join(text.splitlines())).replace("\t", " ")


def _complain(text: str) -> int:
    message(f"error: {text}")
    return BAD_INPUT


def _close_output() -> int:
    """The reader of our output has gone (`| head`), which is no error: write to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return 0
