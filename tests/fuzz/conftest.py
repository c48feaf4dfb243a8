"""The fuzz tests: `make fuzz`. Their outcomes are printed as a table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fuzzing
from support.trial_process import TrialProcess


def pytest_terminal_summary(terminalreporter):
    if fuzzing.outcomes:
        terminalreporter.section(f"fuzz (FUZZ_SCALE={fuzzing.SCALE:g} FUZZ_SEED={fuzzing.SEED})")
        for line in fuzzing.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def process() -> Iterator[TrialProcess]:
    with TrialProcess(
        ["support.index_trial", "mbert_retrieval.native.kernels", "faiss"]
    ) as process:
        yield process


@pytest.fixture
def area(tmp_path, monkeypatch) -> Path:
    """A folder with an index to be, and files beside it that nothing may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("not of the index")
    return tmp_path
