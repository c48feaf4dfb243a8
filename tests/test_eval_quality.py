"""The quality benchmark puts its table where README.md has room for it, and changes no more."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.eval.results import Result

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "quality.py"


@pytest.fixture
def quality(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    dataset = {"name": "cosqa", "split": "dev", "checksums": {}}
    measures = {"nDCG@10": 0.25, "R@100": 0.5}
    result = Result("BM25", dataset, None, None, {}, measures, {}, {}, 0, "")
    result.write(tmp_path / "results" / "bm25.json")
    return module


def test_table_replaces_what_stands_between_the_markers(quality, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# T\n\n<!-- quality:begin -->\nold\n<!-- quality:end -->\n\nafter\n")
    quality.write_table(readme, "python benchmarks/quality.py --encoder nano")
    expected = (
        "# T\n\n<!-- quality:begin -->\nMade by `python benchmarks/quality.py --encoder nano`:\n\n"
        "| system | cosqa dev nDCG@10 | cosqa dev R@100 |\n"
        "| ------ | ----------------: | --------------: |\n"
        "| BM25   |             0.250 |           0.500 |\n<!-- quality:end -->\n\nafter\n"
    )
    assert readme.read_text() == expected
    quality.write_table(readme, "python benchmarks/quality.py --encoder nano")
    assert readme.read_text() == expected


def test_readme_without_room_is_left_alone(quality, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# T\n<!-- quality:begin -->\nrest")
    with pytest.raises(InputError, match="has no lines"):
        quality.write_table(readme, "x")
    assert readme.read_text() == "# T\n<!-- quality:begin -->\nrest"
