"""What all commands share: results on standard output, the rest on standard error, exit codes.

Exit codes: 0 done, 1 nothing found, 2 bad input or usage, 70 internal error (with a traceback),
130 interrupted. Rich is imported only when something is printed with it.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import InputError

NOTHING_FOUND, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED = 1, 2, 70, 130

_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


# what JSON need not escape, and what terminals and readers of lines may act on
_UNESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class _Program(click.Group):
    """A group whose help lists the commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def new_app(program: str, help: str) -> click.Group:
    """Return an app without commands. program: name of the executable."""
    app = _Program(
        program,
        help=help,
        no_args_is_help=False,  # it is an error of one line
        context_settings={"show_default": True},
    )
    return click.version_option(__version__)(app)


def run(app: click.Group) -> NoReturn:
    """Run a command and exit; errors become one line on standard error and an exit code."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `start`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.stdout is None:  # closed by the caller: `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # "?" for what the terminal lacks
            stream.reconfigure(errors="replace")
    try:
        code = _invoke(app)
        sys.stdout.flush()
    except InputError as error:
        code = _report_error(str(error))
    except click.ClickException as error:
        code = _report_error(f"{error.format_message().rstrip('.')}; see --help")
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = _close_output()
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        code = _report_error(f"{error.strerror or error}{file}")
    except Exception:
        import traceback

        traceback.print_exc()
        code = INTERNAL_ERROR
    sys.exit(code)


def _invoke(app: click.Group) -> int:
    """Do what `app.main` does, without its own ways with Ctrl+C and with a closed pipe."""
    try:
        with app.make_context(app.name, sys.argv[1:]) as context:
            app.invoke(context)
    except click.exceptions.Exit as exit:
        return exit.exit_code
    return 0


def message(text: str) -> None:
    """Print one line on standard error."""
    print(one_line(text), file=sys.stderr, flush=True)


def print_json(value: dict[str, Any]) -> None:
    """Print an object as one line of UTF-8 on standard output, whatever the terminal's encoding.

    What could control a terminal is escaped, which JSON allows anywhere in a string.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    line = _UNESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(line.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise click.exceptions.Exit(_close_output()) from None


@contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and remaining time on standard error, if that is a terminal.

    Yields a function to be called with the number done so far.
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
    """Return text that cannot control a terminal.

    Control characters and changes of text direction become U+FFFD; tabs and line ends stay.
    """
    return _CONTROL_CHARACTERS.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return `visible` text without line ends and tabs."""
    return visible(" ".join(text.splitlines())).replace("\t", " ")


def _report_error(text: str) -> int:
    message(f"error: {text}")
    return BAD_INPUT


def _close_output() -> int:
    """Discard further output, since its reader has left (`| head`), which is no error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return 0
