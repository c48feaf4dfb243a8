"""Run the real commands in a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mbert_retrieval import Index

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


def run(command: str, *arguments: object, cwd: Path | None = None, **options):
    """Run `mbert-index` or `mbert-search`; the finished process, its output as text."""
    line = [sys.executable, "-m", f"mbert_retrieval.cli.{command}", *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | options.pop("env", {})
    return subprocess.run(
        line, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **options
    )


def run_json(command: str, *arguments: object, cwd: Path | None = None) -> list[dict]:
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


def ids(index: Path) -> set[str]:
    return set(Index.open(index).folder.content_hashes())
