"""`mbert-index info`, `verify`, `compact` and `export`, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from mbert_retrieval import Index
from support.cli import assert_refused, ids, run, run_json


def test_info_counts_passages_and_bytes(built):
    (facts,) = run_json("index", "info", cwd=built)
    files = [file for file in (built / ".mbert").rglob("*") if file.is_file()]
    assert facts["passages"] == 5
    assert (facts["legs"], facts["lexical"]) == ({}, True)
    assert facts["bytes"] == sum(file.stat().st_size for file in files)
    assert facts["bytes"] == sum(facts["bytes_by_part"].values())


def test_info_prints_one_fact_per_line(built):
    assert re.search(r"^passages +5$", run("index", "info", cwd=built).stdout, re.M)


def test_verify_finds_no_problem_in_a_sound_index(built):
    index = built / ".mbert"
    assert run_json("index", "verify", "--index", index) == [
        {"index": str(index), "whole": True, "problems": []}
    ]
    assert run("index", "verify", "--index", index).stdout == f"{index}: no problems found\n"


@pytest.fixture(scope="module")
def compacted(tmp_path_factory, tiny_encoder_folder):
    """An index of d0..d29 without d0..d9, compacted: (path, info before, JSON, info after)."""
    folder = tmp_path_factory.mktemp("compacted")
    records = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(30)]
    (folder / "c.jsonl").write_text("\n".join(records))
    index = ("--index", folder / "i")
    run_json("index", "build", folder / "c.jsonl", "--encoder", tiny_encoder_folder, *index)
    run_json("index", "delete", *(f"d{n}" for n in range(10)), *index)
    (before,) = run_json("index", "info", *index)
    (facts,) = run_json("index", "compact", *index)
    (after,) = run_json("index", "info", *index)
    return folder / "i", before, facts, after


def test_compact_makes_one_segment_without_deleted_passages(compacted):
    _, before, facts, after = compacted
    assert (before["segments"], before["tombstones"]) == (1, 10)
    assert facts["replaced"] == 1
    assert (after["segments"], after["tombstones"], after["passages"]) == (1, 0, 20)


def test_compact_makes_the_vectors_smaller(compacted):
    _, before, _, after = compacted
    assert after["legs"]["late"]["vectors"] < before["legs"]["late"]["vectors"]
    assert after["bytes_by_part"]["vectors"] < before["bytes_by_part"]["vectors"]


def test_a_compacted_index_is_sound(compacted):
    index, *_ = compacted
    assert run_json("index", "verify", "--index", index)[0]["whole"]
    assert ids(index) == {f"d{n}" for n in range(10, 30)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_encoder_folder):
    """An index of two records and its export: (folder of `i` and `out`, JSON of `export`)."""
    pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("exported")
    records = [
        {"_id": "ü", "title": "T", "text": "read", "year": 1999},
        {"_id": "b", "text": "write the log"},
        {"_id": "c", "text": "gone"},
    ]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, records)))
    index = ("--index", folder / "i")
    run_json("index", "build", folder / "c.jsonl", "--encoder", tiny_encoder_folder, *index)
    run_json("index", "delete", "c", *index)
    (facts,) = run_json("index", "export", folder / "out", *index)
    return folder, facts


def read_parquet(file: Path) -> list[dict]:
    return pytest.importorskip("pyarrow.parquet").read_table(file).to_pylist()


def test_export_names_its_files(exported):
    folder, facts = exported
    names = ["passages.parquet", "vectors_late.parquet"]
    assert facts["files"] == [str(folder / "out" / name) for name in names]
    assert sorted(os.listdir(folder / "out")) == names


def test_export_writes_the_passages(exported):
    folder, _ = exported
    none = {"path": None, "start_line": None, "end_line": None}
    assert read_parquet(folder / "out/passages.parquet") == [
        {"id": "ü", "title": "T", "text": "read", "metadata": '{"year": 1999}'} | none,
        {"id": "b", "title": "", "text": "write the log", "metadata": "{}"} | none,
    ]


def test_export_writes_the_vectors(exported):
    folder, _ = exported
    expected = Index.open(folder / "i").encoder.encode_documents(["T read", "write the log"])
    exported_rows = read_parquet(folder / "out/vectors_late.parquet")
    assert [row["id"] for row in exported_rows] == ["ü", "b"]
    for row, vectors in zip(exported_rows, expected, strict=True):
        assert row["vectors"] == [pytest.approx(vector, abs=1e-5) for vector in vectors.tolist()]


def test_export_replaces_files_only_by_force(exported):
    folder, _ = exported
    arguments = ("index", "export", folder / "out", "--index", folder / "i")
    assert_refused(run(*arguments), "exists already: name another folder, or use --force")
    run_json(*arguments, "--force")


def test_export_into_a_file_is_refused(exported):
    folder, _ = exported
    done = run("index", "export", folder / "c.jsonl", "--index", folder / "i")
    assert_refused(done, "cannot write to")


def test_verify_reports_damage(built):
    store = built / ".mbert/store.sqlite"
    content = store.read_bytes()
    assert b"connection is closed" in content
    store.write_bytes(content.replace(b"connection is closed", b"connection is closer"))
    done = run("index", "verify", "--json", cwd=built)
    assert done.returncode == 2
    facts = json.loads(done.stdout)
    assert not facts["whole"]
    assert any("net/retry.py:6-12" in problem for problem in facts["problems"])
