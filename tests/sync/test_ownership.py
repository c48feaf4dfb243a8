"""Whose a passage is: a sync deletes what its sources gave, and nothing else."""

from __future__ import annotations

import json
import sqlite3

import pytest

from mbert_retrieval import Index, Passage
from mbert_retrieval.sync.apply import sync_with_sources
from support.cli import ids, run, run_json


@pytest.fixture
def built(tmp_path):
    root = tmp_path / "src"
    root.mkdir()
    for name in "ab":
        (root / f"{name}.py").write_text(f"def {name}(): pass\n")
    (tmp_path / "r.jsonl").write_text('{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n')
    where = ("--index", tmp_path / "i", "--encoder", "none")
    done = run("index", "build", root, tmp_path / "r.jsonl", *where)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_what_was_added_through_the_api_outlives_each_kind_of_sync(built):
    notes = {f"note{n}" for n in range(39)}
    Index.open(built / "i").add(Passage(id, f"by hand {id}") for id in notes)
    at = ("--index", built / "i")
    (facts,) = run_json("index", "update", *at)
    assert facts["deleted"] == 0
    sources = (built / "src", built / "r.jsonl")
    assert run_json("index", "build", *sources, *at)[0]["deleted"] == 0
    (built / "src/a.py").unlink()
    assert run("search", "query", "pass", *at).returncode == 0
    (built / "r.jsonl").write_text('{"id": "2", "text": "two"}\n')
    index = Index.open(built / "i")
    assert sync_with_sources(index.folder, index.encoders).deleted == 1
    run_json(
        "index", "build", *sources, *at, "--exclude", "b.py", "--include", "*.py", "--include", "x"
    )
    assert ids(built / "i") == notes | {"2"}
    assert run_json("index", "delete", *notes, *at)[0]["deleted"] == 39


def test_a_record_taken_over_by_another_collection_is_not_deleted_with_the_first(built):
    (built / "s.jsonl").write_text('{"id": "1", "text": "one"}\n')
    (built / "r.jsonl").write_text('{"id": "2", "text": "two"}\n')
    run_json("index", "add", built / "s.jsonl", "--index", built / "i")
    assert run_json("index", "update", "--index", built / "i")[0]["deleted"] == 0
    (store,) = built.glob("i/store.sqlite")
    rows = sqlite3.connect(store).execute("SELECT id, source FROM passages WHERE path IS NULL")
    assert dict(rows) == {"1": "s.jsonl", "2": "r.jsonl"} or dict(rows) == {}


@pytest.mark.parametrize("command", ["add", "update", "build"])
def test_a_deleted_passage_of_a_file_comes_back_when_the_file_is_named(built, command):
    """And not before, so that the deletion is worth something."""
    at = ("--index", built / "i")
    run_json("index", "delete", "b.py:1-1", *at)
    for _ in range(2):
        run("search", "query", "pass", *at)
        assert "b.py:1-1" not in ids(built / "i")
    sources = {"add": [built / "src/b.py"], "build": [built / "src", built / "r.jsonl"]}
    (facts,) = run_json("index", command, *sources.get(command, []), *at)
    assert facts["added"] == 1
    assert "b.py:1-1" in ids(built / "i")


def test_a_file_of_a_source_is_no_source_of_its_own(tmp_path):
    (tmp_path / "b.py").write_text("def b(): pass\n")
    (tmp_path / "yarn.lock").write_text("skipped among others")
    run_json("index", "build", ".", "--encoder", "none", cwd=tmp_path)
    run_json("index", "delete", "b.py:1-1", cwd=tmp_path)
    run_json("index", "add", "b.py", cwd=tmp_path)
    assert run_json("index", "build", ".", cwd=tmp_path)[0]["passages"] == 1
    run_json("index", "add", "yarn.lock", cwd=tmp_path)  # which only its being named makes one
    assert run("index", "build", ".", cwd=tmp_path).returncode == 2


def test_a_deleted_record_comes_back_with_an_update(built):
    at = ("--index", built / "i")
    run_json("index", "delete", "1", *at)
    assert run_json("index", "update", *at)[0]["added"] == 1


def test_an_index_of_an_older_format_is_named_in_one_line(built):
    manifest = built / "i/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 3}))
    done = run("search", "query", "pass", "--index", built / "i")
    assert done.returncode == 2
    assert "build the index again" in done.stderr
    assert done.stderr.count("\n") == 1
