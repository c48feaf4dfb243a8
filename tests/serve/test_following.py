"""A service reads changed files before it answers, and says how old its answer is."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from mbert_retrieval import Index
from support.cli import run
from support.http import assert_problem, search
from support.serving import wait_until

pytest.importorskip("fastapi")
from mbert_retrieval.serve.limits import Limits
from mbert_retrieval.serve.service import Service
from mbert_retrieval.sync import refresh


@pytest.fixture
def tree(tmp_path):
    """A folder of two files, with an index of it in `.mbert`."""
    (tmp_path / "a.py").write_text("def alpha():\n    return 1\n")
    (tmp_path / "b.py").write_text("def beta():\n    return 2\n")
    for file in tmp_path.iterdir():  # settled: see `files.is_settled`
        os.utime(file, (time.time() - 60,) * 2)
    assert run("index", "build", tmp_path, "--encoder", "none").returncode == 0
    return tmp_path


@pytest.fixture
def following(tree, connect):
    with connect(Service(tree / ".mbert", writable=False)) as client:
        yield client


def answer(client, query: str) -> dict:
    answer = client.post("/api/search", json={"query": query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def paths(client, query: str) -> set[str]:
    return {hit["path"] for hit in answer(client, query)["hits"]}


def test_a_search_answers_from_files_as_they_are_now(tree, following):
    assert paths(following, "zebra") == set()
    for n in "vwxyz":
        (tree / "a.py").write_text(f"def zebra{n}():\n    pass\n")
        assert paths(following, f"zebra{n}") == {"a.py"}
    (tree / "a.py").unlink()
    assert paths(following, "zebraz") == set()


def test_documents_and_passages_are_as_the_files_are_now(tree, following):
    (tree / "b.py").write_text("def zebra():\n    return 5\n")
    document = following.get("/api/document", params={"path": "b.py"}).json()
    assert "zebra" in document["passages"][0]["text"]
    (tree / "b.py").unlink()
    gone = following.get("/api/passage", params={"id": document["passages"][0]["id"]})
    assert_problem(gone, 404, "no passage")


def test_an_answer_says_how_old_it_is(tree, following):
    before = time.time()
    response = answer(following, "alpha")
    as_of = datetime.fromisoformat(response["as_of"]).timestamp()
    assert before - 0.01 <= as_of <= time.time()
    assert 0 <= response["age_s"] < 5
    assert "stale" not in response
    assert following.get("/api/info").json()["as_of"] >= response["as_of"]


def test_an_index_without_sources_has_no_age(writing_client):
    response = answer(writing_client, "file")
    assert (response["as_of"], response["age_s"]) == (None, None)
    assert "stale" not in response


def test_without_reading_files_the_answer_is_called_stale(tree, connect):
    with connect(Service(tree / ".mbert", follow_sources=False)) as client:
        first = answer(client, "alpha")
        assert "stale" not in first
        (tree / "a.py").write_text("def zebra():\n    return 1\n")
        time.sleep(0.3)
        response = answer(client, "alpha")
    assert response["hits"]
    assert "files may have changed" in response["stale"]
    assert response["age_s"] >= 0.3


def test_commits_of_another_process_are_seen_at_once(tree, connect):
    with connect(Service(tree / ".mbert", writable=False, follow_sources=False)) as client:
        for n in "xyz":
            (tree / "a.py").write_text(f"def zebra{n}():\n    pass\n")
            assert run("index", "update", cwd=tree).returncode == 0
            assert paths(client, f"zebra{n}") == {"a.py"}


def test_a_search_waits_for_another_writer_for_a_limited_time(tree, connect, monkeypatch):
    monkeypatch.setattr(refresh, "WRITER_SECONDS", 0.2)
    limits = Limits(refresh_seconds=0.5)
    with connect(Service(tree / ".mbert", limits)) as client:
        assert answer(client, "alpha")["hits"]
        with Index.open(tree / ".mbert").folder.writer():
            (tree / "a.py").write_text("def zebra():\n    return 1\n")
            time.sleep(0.2)
            started = time.monotonic()
            response = answer(client, "alpha")
            assert time.monotonic() - started < 3
            assert response["hits"]  # from before the edit
            assert f"process {os.getpid()}" in response["stale"]
            assert response["age_s"] >= 0.2
        wait_until(lambda: paths(client, "zebra") == {"a.py"})


def test_too_many_changed_files_are_left_to_an_update(tree, connect, monkeypatch):
    monkeypatch.setattr(refresh, "MAX_CHANGED_FILES", 2)
    with connect(Service(tree / ".mbert")) as client:
        for n in "xyz":
            (tree / f"new{n}.py").write_text(f"def zebra{n}():\n    pass\n")
        response = answer(client, "zebray")
        assert response["hits"] == []
        assert "3 files changed" in response["stale"]
        assert client.post("/api/update").json()["added"] == 3
        wait_until(lambda: "stale" not in answer(client, "zebray"))
        assert search(client, "zebray")


def test_sources_that_are_gone_are_still_searched(tree, connect, tmp_path_factory):
    index = tmp_path_factory.mktemp("index") / "i"
    source = Path(tmp_path_factory.mktemp("source"))
    (source / "a.py").write_text("def alpha():\n    return 1\n")
    assert run("index", "build", source, "--index", index, "--encoder", "none").returncode == 0
    with connect(Service(index)) as client:
        (source / "a.py").unlink()
        source.rmdir()
        response = answer(client, "alpha")
    assert response["hits"]
    assert "no such file or folder" in response["stale"]


def test_a_service_is_ready_until_the_index_cannot_be_read(tree, following):
    assert following.get("/ready").json()["status"] == "ready"
    (tree / ".mbert").rename(tree / "away")
    wait_until(lambda: following.get("/ready").status_code == 503)
    assert_problem(following.get("/ready"), 503, "cannot be read")
    assert following.get("/health").status_code == 200
