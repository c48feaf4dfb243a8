"""The quick start and the notebooks run as scripts, offline, and print what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(path, folder):
    """Standard output of a script that runs in an empty folder, without the Hub."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(EXAMPLES / path)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quick_start_ranks_the_answer_first_and_explains_it(tmp_path):
    lines = run("quickstart.py", tmp_path).splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "hybrid", "vector", "late", "dense", "lexical",
    ]  # fmt: skip
    assert all("1. retry.py" in line for line in lines[:4])
    assert any(line.startswith("late: rank 1") for line in lines)


def test_the_notebook_of_code_finds_a_definition_by_name(tmp_path):
    output = run("notebooks/search_code.py", tmp_path)
    assert "\nJSONDecodeError\nclass JSONDecodeError(ValueError):\n" in output


def test_the_notebook_of_documents_filters_and_changes_the_index(tmp_path):
    lines = run("notebooks/search_documents.py", tmp_path).splitlines()
    assert "4 passages" in lines
    assert lines[-1] == "Volunteers fill sandbags before the storm."


def test_the_notebook_of_fine_tuning_improves_the_ranking(tmp_path):
    pytest.importorskip("sentence_transformers")
    lines = run("notebooks/fine_tune.py", tmp_path).splitlines()  # it asserts the improvement
    assert lines[-2].startswith("margin before")
    assert lines[-1] == "4 rows with a hard negative"


def test_the_readme_names_every_example():
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"({path.name})" in readme or f"({path.name}/)" in readme, path.name
