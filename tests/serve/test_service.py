"""The service over HTTP: what it answers is what the library finds, and what it refuses."""

from __future__ import annotations

import json
import time

import pytest

from mbert_retrieval import Index
from mbert_retrieval.indexes.lock import WriterLock
from support.serving import TEXTS, made_index, passages

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from starlette.testclient import TestClient

from mbert_retrieval.serve.app import make_app
from mbert_retrieval.serve.limits import Limits
from mbert_retrieval.serve.service import Service

HERE = "http://localhost"
FORM = {"Content-Type": "application/json"}
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder_folder):
    return made_index(tmp_path_factory.mktemp("served") / "i", tiny_encoder_folder)


@pytest.fixture(scope="module")
def client(index):
    """Of an index that no test changes."""
    with TestClient(make_app(Service(index, writable=False)), base_url=HERE) as client:
        yield client


@pytest.fixture
def changing(tmp_path):
    with TestClient(make_app(Service(made_index(tmp_path / "i"))), base_url=HERE) as client:
        yield client


def asked(client, query, **more):
    answer = client.post("/api/search", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


def refused(answer, status, text):
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert text in detail
    assert "\n" not in detail


@pytest.mark.parametrize("mode", ["hybrid", "late", "vector", "lexical"])
def test_hits_are_those_of_the_library(client, index, mode):
    expected = Index.open(index).search("read the file", k=3, mode=mode)
    hits = asked(client, "read the file", k=3, mode=mode)
    assert [hit | {"score": 0} for hit in hits] == [
        hit.to_json() | {"score": 0} for hit in expected
    ]
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected])


def test_filters_marks_and_reasons(client, index):
    where = "path LIKE 'net/%'"
    hits = asked(client, "read the file", where=where, marks=True)
    assert {hit["path"] for hit in hits} == {"net/retry.py", "net/http.py"}
    for hit in hits:
        for start, end, heat in hit["marks"]:
            assert 0 <= start < end <= len(hit["text"])
            assert 0 < heat <= 1
    library = Index.open(index)
    hits = asked(client, "read the file", explain=True)
    expected = library.search("read the file").explain([hit["id"] for hit in hits])
    for hit, reason in zip(hits, expected, strict=True):
        value = json.loads(json.dumps(reason.to_json()))
        assert hit["matches"]["legs"] == [
            leg | {"score": pytest.approx(leg["score"]), "share": pytest.approx(leg["share"])}
            for leg in value["legs"]
        ]
        assert [token["text"] for token in hit["matches"]["tokens"]] == [
            token["text"] for token in value["tokens"]
        ]


def test_a_search_is_narrowed_as_by_the_command(client):
    def paths(**narrowing):
        return {hit["path"] for hit in asked(client, "read the file", **narrowing)}

    assert paths(language=["Python", "go"]) == set(TEXTS)
    assert paths(language=["go"]) == set()
    assert paths(path=["net"]) == {"net/retry.py", "net/http.py"}
    assert paths(path=["files.py", "*tp.py"]) == {"io/files.py", "net/http.py"}
    assert paths(path=["io"], where="path LIKE '%log%'", language=["python"]) == {"io/log.py"}
    body = {"query": "read the file", "id": "io/log.py:1-3", "path": ["io"]}
    legs = client.post("/api/explain", json=body).json()["matches"]["legs"]
    assert {leg["rank"] for leg in legs} <= {1, 2, None}
    assert legs[0]["rank"] is not None


def test_explain_has_the_whole_table(client):
    body = {"query": "read the file", "id": "io/log.py:1-3"}
    matches = client.post("/api/explain", json=body).json()["matches"]
    table = matches["table"]
    assert len(table["scores"]) == len(table["query"]) == len(matches["tokens"])
    assert {len(row) for row in table["scores"]} == {len(table["spans"])}
    for token, row in zip(matches["tokens"], table["scores"], strict=True):
        if token["part"] == "text":
            assert max(row) == pytest.approx(token["score"], abs=1e-3)
    refused(client.post("/api/explain", json=body | {"id": "x"}), 404, "no passage has the id 'x'")


def test_documents_and_passages_are_fetched(client):
    for passage in passages():
        answer = client.get("/api/passage", params={"id": passage.id})
        assert answer.json() == {**vars(passage)}
        answer = client.get("/api/document", params={"path": passage.path})
        assert answer.json() == {"path": passage.path, "passages": [vars(passage)]}
    refused(client.get("/api/passage", params={"id": "../../etc/passwd"}), 404, "no passage")
    refused(client.get("/api/document", params={"path": "/etc/passwd"}), 404, "no passage")


def test_info_says_what_is_there(client):
    info = client.get("/api/info").json()
    assert info["passages"] == len(TEXTS)
    assert info["modes"] == ["hybrid", "vector", "late", "lexical"]
    assert info["facets"] == {"language": {"python": 4}, "kind": {"function": 4}}
    assert client.get("/health").json() == {"status": "ok", "commit": info["commit"]}


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
        ({"query": "x", "language": "python"}, 422, "body.language"),
        ({"query": "x", "path": [""]}, 422, "body.path"),
        ({"query": "x", "path": ["a"] * 101}, 422, "body.path"),
        ({"query": "\ud800"}, 422, "query"),
        ({"query": "x", "where": "id = '\ud800'"}, 422, "where"),
        ([], 422, "body"),
    ],
)
def test_bad_requests_are_told_in_a_line(client, body, status, text):
    refused(client.post("/api/search", headers=FORM, content=json.dumps(body)), status, text)


def test_other_requests_are_refused(client):
    refused(client.post("/api/search", headers=FORM, content=b"{"), 422, "JSON")
    refused(client.post("/api/search", headers=FORM, content=b"\xff\xfe{}"), 422, "")
    refused(client.get("/nothing"), 404, "Not Found")
    refused(client.get("/api/search"), 405, "Not Allowed")
    refused(client.get("/static/..%2fapp.py"), 404, "Not Found")
    for path in ("/api/passages", "/api/delete", "/api/update"):
        body = (
            {"passages": [{"id": "a", "text": "b"}]} if path == "/api/passages" else {"ids": ["a"]}
        )
        refused(client.post(path, json=body), 400, "only reads")


def test_changes_are_found_at_once_and_are_whole(changing):
    before = changing.get("/health").json()["commit"]
    added = changing.post("/api/passages", json={"passages": [{"id": "z", "text": "a zebra"}]})
    counts = {"added": 1, "updated": 0, "unchanged": 0, "deleted": 0}
    assert added.json().items() >= counts.items()
    assert added.json()["commit"] == changing.get("/health").json()["commit"] > before
    assert [hit["id"] for hit in asked(changing, "zebra")] == ["z"]
    again = {"passages": [{"id": "z", "text": "a gnu", "metadata": {"n": [1, {"a": None}]}}]}
    assert changing.post("/api/passages", json=again).json()["updated"] == 1
    assert changing.post("/api/passages", json=again).json()["unchanged"] == 1
    assert asked(changing, "zebra") == []
    assert asked(changing, "gnu")[0]["metadata"] == {"n": [1, {"a": None}]}
    refused(changing.post("/api/delete", json={"ids": ["z", "nope"]}), 404, "nothing was deleted")
    assert [hit["id"] for hit in asked(changing, "gnu")] == ["z"]
    assert changing.post("/api/delete", json={"ids": ["z"]}).json()["deleted"] == 1
    assert asked(changing, "gnu") == []
    twice = {"passages": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}
    refused(changing.post("/api/passages", json=twice), 400, "two passages have the id 'a'")
    refused(changing.post("/api/update"), 400, "does not know its sources")


def test_update_reads_the_sources_again(tmp_path):
    from support.cli import run

    (tmp_path / "a.txt").write_text("the lion sleeps\n")
    assert run("index", "build", tmp_path, "--encoder", "none").returncode == 0
    with TestClient(make_app(Service(tmp_path / ".mbert")), base_url=HERE) as client:
        (tmp_path / "a.txt").write_text("the zebra sleeps\n")
        changed = client.post("/api/update").json()
        assert changed["added"] + changed["updated"] == 1
        assert asked(client, "lion") == []
        assert [hit["path"] for hit in asked(client, "zebra")] == ["a.txt"]


def test_update_keeps_to_what_the_index_takes_of_its_sources(tmp_path):
    from support.cli import run

    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"the lion {name} sleeps\n")
    done = run("index", "build", tmp_path, "--encoder", "none", "--exclude", "b.txt")
    assert done.returncode == 0, done.stderr
    with TestClient(make_app(Service(tmp_path / ".mbert")), base_url=HERE) as client:
        assert client.post("/api/update").json()["added"] == 0
        assert [hit["path"] for hit in asked(client, "lion")] == ["a.txt"]
    info = run("index", "update", "--index", tmp_path / ".mbert", "--json")
    assert json.loads(info.stdout)["unchanged"] == 1


def test_who_else_writes_is_named_and_reading_goes_on(tmp_path):
    index = made_index(tmp_path / "i")
    with TestClient(make_app(Service(index)), base_url=HERE) as client:
        lock = WriterLock(index)
        body = {"passages": [{"id": "z", "text": "a zebra"}]}
        refused(client.post("/api/passages", json=body), 409, "is being written by process")
        assert asked(client, "connection")
        lock.release()
        assert client.post("/api/passages", json=body).json()["added"] == 1


def test_commits_of_others_are_seen_and_a_vanished_index_is_still_served(tmp_path):
    index = made_index(tmp_path / "i")
    with TestClient(make_app(Service(index)), base_url=HERE) as client:
        Index.open(index).delete(["net/retry.py:1-3"])
        until = time.monotonic() + 20
        while asked(client, "connection closed") and time.monotonic() < until:
            time.sleep(0.05)
        assert asked(client, "connection closed") == []
        index.rename(tmp_path / "gone")
        while "trouble" not in client.get("/health").json() and time.monotonic() < until:
            time.sleep(0.05)
        assert "is not an index" in client.get("/health").json()["trouble"]
        assert asked(client, "read_file")
        made_index(index)  # another one, in its place
        while not asked(client, "connection closed") and time.monotonic() < until:
            time.sleep(0.05)
        assert asked(client, "connection closed")


def test_a_token_is_needed_where_there_is_one(index):
    with TestClient(make_app(Service(index), TOKEN), base_url="http://example.org") as client:
        assert client.get("/health").status_code == 200
        assert "<title>" in client.get("/").text
        for path in ("/api/info", "/metrics", "/openapi.json", "/nothing"):
            refused(client.get(path), 401, "Authorization: Bearer")
            for wrong in ("Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer"):
                refused(client.get(path, headers={"Authorization": wrong}), 401, "token")
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/info", headers=good).status_code == 200
        assert client.get("/metrics", headers=good).status_code == 200


def test_pages_of_other_sites_reach_nothing(client):
    for host in ("evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.x", ""):
        refused(client.get("/health", headers={"Host": host}), 421, "no service of the name")
    for host in ("127.0.0.1:8765", "LOCALHOST", "[::1]:80", "localhost:1"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    refused(client.get("/api/info", headers={"Origin": "http://evil.example"}), 403, "other sites")
    refused(client.get("/api/info", headers={"Origin": "null"}), 403, "other sites")
    assert client.get("/api/info", headers={"Origin": HERE}).status_code == 200
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy


def test_too_much_is_refused(index):
    service = Service(index, Limits(body=2000, concurrency=2, seconds=0.0))
    with TestClient(make_app(service), base_url=HERE) as client:
        large = {"query": "x" * 3000}
        refused(client.post("/api/search", json=large), 413, "2,000 bytes")
        chunks = (b'{"query":"' + b"x" * 1500, b"x" * 1500, b'"}')
        refused(client.post("/api/search", headers=FORM, content=iter(chunks)), 413, "2,000 bytes")
        slow = client.post("/api/search", json={"query": "x"})
        refused(slow, 503, "no answer within 0 s")
        assert slow.headers["Retry-After"] == "1"


def test_metrics_count_what_was_answered(changing):
    asked(changing, "connection")
    changing.post("/api/search", json={"query": ""})
    changing.request("MAGIC", "/health")
    changing.post("/api/passages", json={"passages": [{"id": "z", "text": "a zebra"}]})
    lines = dict(
        line.rsplit(" ", 1)
        for line in changing.get("/metrics").text.splitlines()
        if not line.startswith("#")
    )
    search = 'mbert_requests_total{method="POST",route="/api/search",status="%d"}'
    assert float(lines[search % 200]) == float(lines[search % 422]) == 1
    assert any(line.startswith('mbert_requests_total{method="other"') for line in lines)
    assert float(lines["mbert_batch_size_count"]) == 1
    assert float(lines["mbert_index_passages"]) == len(TEXTS) + 1
    assert float(lines['mbert_passages_changed_total{how="added"}']) == 1
    assert float(lines["mbert_index_opened_total"]) == 2
    assert float(lines["mbert_requests_in_flight"]) == 1
