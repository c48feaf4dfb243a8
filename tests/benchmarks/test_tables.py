"""A measured table is put where the page has room for it, and nothing else changes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from mbert_retrieval import InputError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "readme.py"


@pytest.fixture(scope="module")
def readme():
    spec = importlib.util.spec_from_file_location("readme", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def write_table(readme):
    return readme.write_table


def test_table_replaces_what_stands_between_the_markers(write_table, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# T\n\n<!-- q:begin -->\nold\n<!-- q:end -->\n\nafter\n<!-- p:begin -->\n")
    expected = "# T\n\n<!-- q:begin -->\n| new |\n<!-- q:end -->\n\nafter\n<!-- p:begin -->\n"
    for _ in range(2):
        write_table("q", "| new |", page)
        assert page.read_text() == expected


def test_page_without_room_is_left_alone(write_table, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# T\n<!-- q:begin -->\nrest")
    with pytest.raises(InputError, match="has no lines"):
        write_table("q", "x", page)
    assert page.read_text() == "# T\n<!-- q:begin -->\nrest"


def test_the_command_of_a_table_leaves_out_where_this_machine_keeps_things(readme, monkeypatch):
    called = "/here/benchmarks/quality.py --encoder nano --cache /here/c --data=/here/d --long 8192"
    monkeypatch.setattr(sys, "argv", called.split())
    expected = "python benchmarks/quality.py --encoder nano --long 8192"
    assert readme.command_line() == expected
