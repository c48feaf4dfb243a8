"""Every code block of the README and of docs/ runs, one after another, in a folder of its own.

A block that cannot run says why in a comment above it: `<!-- not run: needs the hub -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n)?```(?P<language>sh|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = {"choose-an-index", "fine-tuning", "recall-and-speed", "serving"}  # many builds; training
SOURCES = {
    "src/dates.py": (
        "from datetime import date, datetime\n\n\n"
        "def parse_date(text):\n"
        '    """Read a date such as 2024-02-29."""\n'
        '    return datetime.strptime(text, "%Y-%m-%d").date()\n\n\n'
        "def days_between(first, last):\n"
        "    return (last - first).days\n"
    ),
    "src/network.py": (
        "import socket\n\n"
        "MAX_RETRIES = 3  # how often a failed call is tried again\n\n\n"
        "def open_connection(host, port):\n"
        "    for attempt in range(MAX_RETRIES):\n"
        "        try:\n"
        "            return socket.create_connection((host, port))\n"
        "        except OSError:\n"
        "            continue\n"
        "    raise OSError(f'no connection to {host}')\n\n\n"
        "class Configuration:\n"
        '    """Retries, hosts and timeouts, read from a file."""\n\n'
        "    def read(self, path):\n"
        "        return path.read_text()\n"
    ),
    "manual/usage.md": "# Usage\n\nCall `parse_date`.\n\n# Retries\n\nSet MAX_RETRIES.\n",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and code of the page's blocks that run."""
    matches = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(match["language"], match["code"]) for match in matches if not match["skip"]]


def run_shell(code: str, folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


RUNNING = [
    pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in SLOW else [])
    for page in PAGES
    if blocks(page)
]


@pytest.mark.parametrize("page", RUNNING)
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, code in blocks(page):
        if language == "sh":
            run_shell(code, tmp_path)
        else:
            exec(compile(code, str(page), "exec"), names)


def test_readme_shows_the_library_and_the_commands():
    languages = [language for language, _ in blocks(ROOT / "README.md")]
    assert languages == ["sh", "python"]


def test_a_block_that_fails_is_noticed(tmp_path):
    with pytest.raises(AssertionError, match="absent is not an index"):
        run_shell("mbert-search query x --index absent", tmp_path)
