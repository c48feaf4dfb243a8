"""A query as a process imports little, so that it answers soon after it starts."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from mbert_retrieval import Index, Passage
from mbert_retrieval.encoders import load_query_encoder

PACKAGES = {"click", "mbert_retrieval", "numpy", "safetensors", "tokenizers"}
# of the standard library: each costs several milliseconds, alone or by what it imports
SLOW = {
    "asyncio", "concurrent", "email", "http", "importlib.metadata", "logging",
    "multiprocessing", "socket", "ssl", "subprocess", "tempfile", "unittest", "xml",
}  # fmt: skip
SCRIPT = """
import sys
before = set(sys.modules)
from mbert_retrieval.cli.start import search
try:
    search()
finally:
    print(*set(sys.modules) - before, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("imports") / "i"
    passages = [Passage("a", "parse a date"), Passage("b", "open a socket")]
    Index.build(path, passages, load_query_encoder("nano")).close()
    return path


def imported(index, *options: str, stdout: int = subprocess.DEVNULL) -> set[str]:
    """The modules that a query imports."""
    line = [sys.executable, "-c", SCRIPT, "query", "date cache", "--index", index, *options]
    environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"}
    done = subprocess.run(
        line, stdout=stdout, stderr=subprocess.PIPE, env=environment, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("options", [[], ["--json"], ["-n"], ["--explain"]])
def test_a_query_imports_few_packages(index, options):
    names = imported(index, *options)
    others = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert others == PACKAGES
    assert names & SLOW == set()


def test_a_query_by_words_alone_loads_no_encoder(index):
    names = imported(index, "--mode", "lexical")
    assert not {"tokenizers", "safetensors", "mbert_retrieval.encoders.base"} & names


def test_a_query_that_looks_for_changed_files_imports_few_packages(built):
    for file in built.rglob("*.*"):
        os.utime(file, (10**9, 10**9))  # files that were just written are read again
    imported(built / ".mbert")
    names = imported(built / ".mbert")
    others = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert "mbert_retrieval.sources.scan" in names
    assert others == {"click", "mbert_retrieval", "numpy"}
    assert names & SLOW == set()


def test_rich_is_imported_for_a_terminal(index):
    main, end = pty.openpty()
    names = imported(index, stdout=end)
    os.close(end)
    assert b"\x1b[" in os.read(main, 65536)
    os.close(main)
    assert "rich" in names
    assert names & {"asyncio", "typer", "pydantic"} == set()
