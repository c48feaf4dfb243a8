"""Run the real commands in a subprocess."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from mbert_retrieval import Index
from mbert_retrieval.cli import console

TREE = {
    "net/retry.py": '''"""Retries."""

MAX_RETRIES = 3


def with_retries(call):
    """Call again when the connection is closed."""
    for _ in range(MAX_RETRIES):
        try:
            return call()
        except ConnectionError:
            continue
''',
    "net/http.py": "def parse_header(line):\n    return line.split(':', 1)\n",
    "docs/guide.md": "# Guide\n\nHow to install.\n\n## Caching\n\nThe cache holds tokens.\n",
    "ignored.log": "retries retries retries",
    ".gitignore": "*.log\n",
}


HEAVY = {"torch", "faiss", "transformers", "rich", "pygments", "sqlite3"}


def write_tree(root: Path) -> Path:
    """Write the files of TREE below `root`."""
    for name, content in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def run(command: str, *arguments: object, cwd: Path | None = None, **options):
    """Run `mbert-index`, `mbert-search` or another command. Returns the finished process."""
    line = [sys.executable, "-m", f"mbert_retrieval.cli.{command}", *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | options.pop("env", {})
    return subprocess.run(
        line, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **options
    )


def run_here(command: str, *arguments: object, cwd: Path | None = None, env=None):
    """Run a command as `run` does, but in this process, which is faster."""
    app = importlib.import_module(f"mbert_retrieval.cli.{command}").app
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch.dict(os.environ, env or {}),
        patch.object(sys, "argv", ["mbert", *map(str, arguments)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            console.run(app)
        except SystemExit as exit:
            code = exit.code
    for stream in (output, errors):
        stream.seek(0)
    return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


def run_json(command: str, *arguments: object, cwd: Path | None = None) -> list[dict]:
    """Run a command with --json, which must succeed. Returns its lines."""
    done = run(command, *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_refused(done: subprocess.CompletedProcess[str], expected: str) -> None:
    """Exit code 2 and one line on standard error that says `expected`."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


def assert_loads_nothing_heavy(command: str, *arguments: str) -> str:
    """The command imports none of HEAVY. Returns its output."""
    script = (
        f"import sys; sys.argv[1:] = {list(arguments)}\n"
        f"from mbert_retrieval.cli.{command} import app\n"
        "app(standalone_mode=False)\n"
        f"assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)"
    )
    line = [sys.executable, "-c", script]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def ids(index: Path) -> set[str]:
    """Return the ids of all passages."""
    return set(Index.open(index).folder.content_hashes())
