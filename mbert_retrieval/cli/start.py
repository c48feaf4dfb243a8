"""Entry points of the commands: Ctrl+C during their imports ends them without a traceback."""

from __future__ import annotations

import importlib
import signal


def index() -> None:
    """Run `mbert-index`."""
    _start("index")


def search() -> None:
    """Run `mbert-search`."""
    _start("search")


def eval() -> None:
    """Run `mbert-eval`."""
    _start("eval")


def train() -> None:
    """Run `mbert-train`."""
    _start("train")


def _start(command: str) -> None:
    # `console.run` sets Python's handler again, which lets a command finish what it does
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    importlib.import_module(f"{__package__}.{command}").main()
