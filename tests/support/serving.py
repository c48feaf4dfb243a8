"""A small index to serve, and the real command serving it in a process of its own."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mbert_retrieval import Index, Passage, load_encoder

TOKEN = "a-token-of-some-length"

TEXTS = {
    "net/retry.py": "def with_retries(call):\n    # when the connection is closed\n    call()",
    "net/http.py": "def parse_headers(lines):\n    return dict(line.split(':') for line in lines)",
    "io/files.py": "def read_file(path):\n    return open(path).read()",
    "io/log.py": "def write_log(line):\n    print(line, file=LOG)",
}

DOCUMENTATION = "Read the whole content of a file. Encoding is that of the locale."


def passages() -> list[Passage]:
    return [
        Passage(
            f"{path}:1-3",
            text,
            title=path,
            path=path,
            start_line=1,
            end_line=text.count("\n") + 1,
            metadata={"language": "python", "kind": "function"}
            | ({"doc": DOCUMENTATION} if path == "io/files.py" else {}),
        )
        for path, text in TEXTS.items()
    ]


def made_index(folder: Path, encoder: Path | None = None) -> Path:
    """Build an index of `passages()`. encoder: a folder; None for BM25 alone."""
    loaded = None if encoder is None else load_encoder(encoder)
    Index.build(folder, passages(), loaded, engine=None if loaded is None else "flat")
    return folder


@contextmanager
def served(index: Path, *options: str, **popen: object) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run `mbert-search serve` on any free port. Yields (URL, process)."""
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "serve", "--index", str(index)]
    process = subprocess.Popen(
        [*command, "--port", "0", *options], stderr=subprocess.PIPE, text=True, **popen
    )
    try:
        yield _url(process), process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def fetch(url: str, body: object = None, token: str | None = None) -> bytes:
    """Send a GET request, or a POST request where there is a body; return the answer's body."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Fail unless `holds()` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _url(process: subprocess.Popen, seconds: float = 90) -> str:
    assert process.stderr is not None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([process.stderr], [], [], 1)[0]:
            line = process.stderr.readline()
            if match := re.search(r"http://\S+", line):
                return match[0]
            if not line:
                break
    raise AssertionError("the service did not start")
