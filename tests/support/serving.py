"""A small index to serve, and the real command serving it in a process of its own."""

from __future__ import annotations

import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mbert_retrieval import Index, Passage, load_encoder

TEXTS = {
    "net/retry.py": "def with_retries(call):\n    # when the connection is closed\n    call()",
    "net/http.py": "def parse_headers(lines):\n    return dict(line.split(':') for line in lines)",
    "io/files.py": "def read_file(path):\n    return open(path).read()",
    "io/log.py": "def write_log(line):\n    print(line, file=LOG)",
}


def passages() -> list[Passage]:
    return [
        Passage(
            f"{path}:1-3",
            text,
            title=path,
            path=path,
            start_line=1,
            end_line=text.count("\n") + 1,
            metadata={"language": "python", "kind": "function"},
        )
        for path, text in TEXTS.items()
    ]


def made_index(folder: Path, encoder: Path | None = None) -> Path:
    """encoder: a folder; None for BM25 alone."""
    loaded = None if encoder is None else load_encoder(encoder)
    Index.build(folder, passages(), loaded, kind=None if loaded is None else "flat")
    return folder


@contextmanager
def served(index: Path, *options: str, **popen: object) -> Iterator[tuple[str, subprocess.Popen]]:
    """(address, process) of `mbert-search serve`, on any free port."""
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "serve", "--index", str(index)]
    process = subprocess.Popen(
        [*command, "--port", "0", *options], stderr=subprocess.PIPE, text=True, **popen
    )
    try:
        yield _address(process), process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _address(process: subprocess.Popen, seconds: float = 90) -> str:
    assert process.stderr is not None
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if select.select([process.stderr], [], [], 1)[0]:
            line = process.stderr.readline()
            if found := re.search(r"http://\S+", line):
                return found[0]
            if not line:
                break
    raise AssertionError("the service did not start")
