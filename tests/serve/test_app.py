"""The service over HTTP returns what the library returns, and one line for a bad request."""

from __future__ import annotations

import json

import pytest

from mbert_retrieval import Index
from mbert_retrieval.indexes.lock import WriterLock
from support.cli import run
from support.http import JSON_FORM, add, assert_problem, hit_paths, search
from support.serving import DOCUMENTATION, TEXTS, passages

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from mbert_retrieval.serve.service import Service

FILE_QUERY = "read the file"
LOG = {"query": FILE_QUERY, "id": "io/log.py:1-3"}
ZEBRA = {"id": "z", "text": "a zebra"}
GNU = {"id": "z", "text": "a gnu", "metadata": {"n": [1, {"a": None}]}}


@pytest.mark.parametrize("mode", ["hybrid", "late", "vector", "lexical"])
def test_hits_are_those_of_the_library(client, index, mode):
    expected = Index.open(index).search(FILE_QUERY, k=3, mode=mode)
    hits = search(client, FILE_QUERY, k=3, mode=mode)
    assert [hit | {"score": 0} for hit in hits] == [
        hit.to_json() | {"score": 0} for hit in expected
    ]
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected])


def test_an_answer_names_the_commit_and_the_seconds(client):
    answer = client.post("/api/search", json={"query": FILE_QUERY}).json()
    assert answer["commit"] == client.get("/health").json()["commit"]
    assert answer["seconds"] > 0


def test_marks_are_spans_of_the_text(client):
    for hit in search(client, FILE_QUERY, marks=True):
        assert all(0 <= start < end <= len(hit["text"]) for start, end, _ in hit["marks"])
        assert all(0 < heat <= 1 for _, _, heat in hit["marks"])


def test_marks_are_those_of_the_library(client, index):
    hits = search(client, FILE_QUERY, marks=True)
    expected = Index.open(index).search(FILE_QUERY).marks()
    assert any(expected)
    assert [[tuple(mark) for mark in hit["marks"]] for hit in hits] == expected


def test_explanations_of_hits_are_those_of_the_library(client, index):
    hits = search(client, FILE_QUERY, explain=True)
    result = Index.open(index).search(FILE_QUERY)
    for hit, explanation in zip(hits, result.explain([hit["id"] for hit in hits]), strict=True):
        expected = json.loads(json.dumps(explanation.to_json()))
        assert hit["matches"]["legs"] == [
            leg | {"score": pytest.approx(leg["score"]), "share": pytest.approx(leg["share"])}
            for leg in expected["legs"]
        ]
        assert [token["text"] for token in hit["matches"]["tokens"]] == [
            token["text"] for token in expected["tokens"]
        ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"where": "path LIKE 'net/%'"}, {"net/retry.py", "net/http.py"}),
        ({"language": ["Python", "go"]}, set(TEXTS)),
        ({"language": ["go"]}, set()),
        ({"path": ["net"]}, {"net/retry.py", "net/http.py"}),
        ({"path": ["files.py", "*tp.py"]}, {"io/files.py", "net/http.py"}),
        (
            {"path": ["io"], "where": "path LIKE '%log%'", "language": ["python"]},
            {"io/log.py"},
        ),
    ],
)
def test_a_search_can_be_filtered(client, options, expected):
    assert hit_paths(client, FILE_QUERY, **options) == expected


def test_explain_ranks_within_the_filter(client):
    body = LOG | {"path": ["io"]}
    legs = client.post("/api/explain", json=body).json()["matches"]["legs"]
    assert legs[0]["rank"] in (1, 2)  # of two passages


def test_explain_returns_all_token_scores(client):
    matches = client.post("/api/explain", json=LOG).json()["matches"]
    table = matches["table"]
    assert len(table["scores"]) == len(table["query"]) == len(matches["tokens"])
    assert {len(row) for row in table["scores"]} == {len(table["spans"])}
    for token, row in zip(matches["tokens"], table["scores"], strict=True):
        if token["part"] == "text":
            assert max(row) == pytest.approx(token["score"], abs=1e-3)


def test_explain_returns_the_passage(client):
    (log,) = (passage for passage in passages() if passage.id == LOG["id"])
    assert client.post("/api/explain", json=LOG).json()["passage"] == vars(log)


def test_passages_are_returned_as_stored(client):
    for passage in passages():
        answer = client.get("/api/passage", params={"id": passage.id})
        assert answer.json() == vars(passage)


def test_documents_are_returned_as_stored(client):
    for passage in passages():
        answer = client.get("/api/document", params={"path": passage.path})
        assert answer.json() == {"path": passage.path, "passages": [vars(passage)]}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/api/passage", {"params": {"id": "../../etc/passwd"}}),
        ("/api/document", {"params": {"path": "/etc/passwd"}}),
        ("/api/explain", {"json": LOG | {"id": "x"}}),
    ],
)
def test_a_passage_that_does_not_exist_is_404(client, path, options):
    answer = client.request("POST" if "json" in options else "GET", path, **options)
    assert_problem(answer, 404, "no passage has the")


def test_info_says_what_is_served(client):
    info = client.get("/api/info").json()
    assert info["passages"] == len(TEXTS)
    assert info["modes"] == ["hybrid", "late", "lexical"]  # "vector" is "late" here
    assert info["examples"] == [DOCUMENTATION.partition(".")[0]]
    assert list(info["parts"]) == ["late", "lexical"]
    assert not info["writable"]


def test_unknown_words_of_a_query_get_words_of_the_index(client):
    answer = client.get("/api/spelling", params={"query": "conection of parze file"})
    assert answer.json() == {"words": {"conection": ["connection"], "parze": ["parse"]}}


@pytest.mark.parametrize("query", ["", "x" * 10_001])
def test_spelling_refuses_what_search_refuses(client, query):
    assert client.get("/api/spelling", params={"query": query}).status_code == 422


def test_info_counts_the_values_to_filter_by(client):
    facets = client.get("/api/info").json()["facets"]
    assert facets == {"language": {"python": 4}, "kind": {"function": 4}}


def test_health_names_the_commit(client):
    commit = client.get("/api/info").json()["commit"]
    assert client.get("/health").json() == {"status": "ok", "commit": commit}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"query": " "}, 400, "the query is empty"),
        ({"query": ""}, 422, "query"),
        ({"query": "x" * 10_001}, 422, "10000 characters"),
        ({"query": "x", "k": 0}, 422, "body.k"),
        ({"query": "x", "k": 1001}, 422, "body.k"),
        ({"query": "x", "k": "3"}, 422, "body.k"),
        ({"query": "x", "magic": 1}, 422, "body.magic"),
        ({"query": "x", "mode": "magic"}, 422, "body.mode"),
        ({"query": "x", "mode": "dense"}, 400, "has no dense vectors"),
        ({"query": "x", "where": "language ="}, 400, "filter"),
        ({"query": "x", "where": "nothing = 1"}, 400, "no passage has a field 'nothing'"),
        ({"query": "x", "k": 101, "marks": True}, 400, "k may be 100"),
        ({"query": "x", "k": 101, "explain": True}, 400, "k may be 100"),
        ({"query": "x", "language": "python"}, 422, "body.language"),
        ({"query": "x", "path": [""]}, 422, "body.path"),
        ({"query": "x", "path": ["a"] * 101}, 422, "body.path"),
        ({"query": "\ud800"}, 422, "query"),
        ({"query": "x", "where": "id = '\ud800'"}, 422, "where"),
        ([], 422, "body"),
    ],
)
def test_bad_searches_are_refused(client, body, status, text):
    answer = client.post("/api/search", headers=JSON_FORM, content=json.dumps(body))
    assert_problem(answer, status, text)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}"])
def test_a_body_that_is_not_json_is_refused(client, content):
    answer = client.post("/api/search", headers=JSON_FORM, content=content)
    assert_problem(answer, 422, "body")


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/nothing", 404, "Not Found"),
        ("/api/search", 405, "Not Allowed"),
        ("/static/..%2fapp.py", 404, "Not Found"),
    ],
)
def test_other_paths_and_methods_are_refused(client, path, status, text):
    assert_problem(client.get(path), status, text)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/passages", {"passages": [ZEBRA]}),
        ("/api/delete", {"ids": ["io/log.py:1-3"]}),
        ("/api/update", None),
    ],
)
def test_a_read_only_service_refuses_changes(client, path, body):
    assert_problem(client.post(path, json=body), 400, "only reads")


def test_a_long_search_ends_in_time(index, connect):
    from mbert_retrieval.serve.limits import Limits

    with connect(Service(index, Limits(search_seconds=0.0))) as client:
        answer = client.post("/api/search", json={"query": "x"})
    assert_problem(answer, 503, "no answer within 0 s")
    assert answer.headers["Retry-After"] == "1"


def test_added_passages_are_found_at_once(writing_client):
    before = writing_client.get("/health").json()["commit"]
    changed = add(writing_client, ZEBRA).json()
    assert changed["commit"] == writing_client.get("/health").json()["commit"] > before
    assert [hit["id"] for hit in search(writing_client, "zebra")] == ["z"]


def test_changes_are_counted(writing_client):
    none = {"added": 0, "updated": 0, "unchanged": 0, "deleted": 0}
    for passage, how in [(ZEBRA, "added"), (GNU, "updated"), (GNU, "unchanged")]:
        assert add(writing_client, passage).json().items() >= (none | {how: 1}).items()
    deleted = writing_client.post("/api/delete", json={"ids": ["z"]}).json()
    assert deleted.items() >= (none | {"deleted": 1}).items()


def test_a_passage_with_the_same_id_is_replaced(writing_client):
    add(writing_client, ZEBRA)
    add(writing_client, GNU)
    assert search(writing_client, "zebra") == []
    assert search(writing_client, "gnu")[0]["metadata"] == GNU["metadata"]


def test_deleted_passages_are_not_found(writing_client):
    add(writing_client, ZEBRA)
    writing_client.post("/api/delete", json={"ids": ["z"]})
    assert search(writing_client, "zebra") == []


def test_nothing_is_deleted_where_one_passage_does_not_exist(writing_client):
    add(writing_client, ZEBRA)
    answer = writing_client.post("/api/delete", json={"ids": ["z", "nope"]})
    assert_problem(answer, 404, "nothing was deleted")
    assert [hit["id"] for hit in search(writing_client, "zebra")] == ["z"]


def test_nothing_is_added_where_an_id_comes_twice(writing_client):
    answer = add(writing_client, {"id": "a", "text": "yak"}, {"id": "a", "text": "y"})
    assert_problem(answer, 400, "two passages have the id 'a'")
    assert search(writing_client, "yak") == []


def test_an_index_without_sources_cannot_be_updated(writing_client):
    assert_problem(writing_client.post("/api/update"), 400, "does not know its sources")


def test_update_reads_the_sources_again(tmp_path, connect):
    (tmp_path / "a.txt").write_text("the lion sleeps\n")
    assert run("index", "build", tmp_path, "--encoder", "none").returncode == 0
    with connect(Service(tmp_path / ".mbert")) as client:
        (tmp_path / "a.txt").write_text("the zebra sleeps\n")
        changed = client.post("/api/update").json()
        assert changed["added"] + changed["updated"] == 1
        assert search(client, "lion") == []
        assert hit_paths(client, "zebra") == {"a.txt"}


def test_update_takes_only_the_files_that_the_index_was_built_with(tmp_path, connect):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"the lion {name} sleeps\n")
    done = run("index", "build", tmp_path, "--encoder", "none", "--exclude", "b.txt")
    assert done.returncode == 0, done.stderr
    with connect(Service(tmp_path / ".mbert")) as client:
        assert client.post("/api/update").json()["added"] == 0
        assert hit_paths(client, "lion") == {"a.txt"}
    updated = run("index", "update", "--index", tmp_path / ".mbert", "--json")
    assert json.loads(updated.stdout)["unchanged"] == 1


def test_a_change_is_refused_while_another_process_writes(lexical_index, writing_client):
    lock = WriterLock(lexical_index)
    assert_problem(add(writing_client, ZEBRA), 409, "is being written by process")
    lock.release()
    assert add(writing_client, ZEBRA).json()["added"] == 1


def test_searches_go_on_while_another_process_writes(lexical_index, writing_client):
    lock = WriterLock(lexical_index)
    assert search(writing_client, "connection")
    lock.release()
