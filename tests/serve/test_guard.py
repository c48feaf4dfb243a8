"""Requests that are refused before anything reads them."""

from __future__ import annotations

import asyncio

import pytest

from support.http import JSON_FORM, assert_problem
from support.serving import TOKEN

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from mbert_retrieval.serve import guard
from mbert_retrieval.serve.guard import Guard
from mbert_retrieval.serve.limits import Limits
from mbert_retrieval.serve.metrics import Metrics
from mbert_retrieval.serve.service import Service

URL = "http://localhost"
PRIVATE = ("/api/info", "/metrics", "/openapi.json", "/nothing")


@pytest.fixture(scope="module")
def token_client(index, connect):
    """A client of a service that needs a token, under a name that is not this machine's."""
    with connect(Service(index), TOKEN, "http://example.org") as client:
        yield client


@pytest.mark.parametrize("path", ["/health", "/", "/api.html", "/static/app.js"])
def test_public_paths_need_no_token(token_client, path):
    assert token_client.get(path).status_code == 200


@pytest.mark.parametrize("path", PRIVATE)
def test_other_paths_need_the_token(token_client, path):
    answer = token_client.get(path)
    assert_problem(answer, 401, "Authorization: Bearer")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize(
    "wrong", ["Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer"]
)
def test_a_wrong_token_is_refused(token_client, path, wrong):
    assert_problem(token_client.get(path, headers={"Authorization": wrong}), 401, "token")


@pytest.mark.parametrize("path", ["/api/info", "/metrics"])
def test_the_right_token_is_accepted(token_client, path):
    answer = token_client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.x", ""]
)
def test_other_hosts_are_refused(client, host):
    answer = client.get("/health", headers={"Host": host})
    assert_problem(answer, 421, f"the host {host!r} is not served")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "LOCALHOST", "[::1]:80", "localhost:1"])
def test_names_of_this_machine_are_accepted(client, host):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9", "http://["]
)
def test_pages_of_other_sites_are_refused(client, origin):
    answer = client.get("/api/info", headers={"Origin": origin})
    assert_problem(answer, 403, "other sites")


def test_the_own_page_is_accepted(client):
    assert client.get("/api/info", headers={"Origin": URL}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Security-Policy", "default-src 'self'"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
    ],
)
def test_answers_have_security_headers(client, name, value):
    assert value in client.get("/").headers[name]


@pytest.fixture(scope="module")
def small_client(index, connect):
    with connect(Service(index, Limits(body_bytes=2000))) as client:
        yield client


def test_a_large_body_is_refused(small_client):
    answer = small_client.post("/api/search", json={"query": "x" * 3000})
    assert_problem(answer, 413, "2,000 bytes")


def test_a_large_body_of_unknown_length_is_refused(small_client):
    chunks = (b'{"query":"' + b"x" * 1500, b"x" * 1500, b'"}')
    answer = small_client.post("/api/search", headers=JSON_FORM, content=iter(chunks))
    assert_problem(answer, 413, "2,000 bytes")


def run_guarded(limits: Limits, receive, paths: list[str]) -> list[int]:
    """Send requests at once to a guarded application that waits; return the statuses, sorted."""
    statuses: list[int] = []

    async def app(scope, receive, send) -> None:
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200})

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def main() -> None:
        guarded = Guard(app, limits, Metrics(), None)
        headers = [(b"host", b"localhost")]
        await asyncio.gather(
            *(
                guarded(
                    {"type": "http", "method": "GET", "path": path, "headers": headers},
                    receive,
                    send,
                )
                for path in paths
            )
        )

    asyncio.run(main())
    return sorted(statuses)


async def empty_body() -> dict:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_requests_beyond_the_limit_are_refused():
    statuses = run_guarded(Limits(concurrency=2), empty_body, ["/api/info"] * 5)
    assert statuses == [200, 200, 503, 503, 503]


def test_public_paths_are_answered_under_any_load():
    statuses = run_guarded(Limits(concurrency=2), empty_body, ["/health"] * 5)
    assert statuses == [200] * 5


def test_a_body_that_does_not_arrive_is_refused(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)

    async def stalled() -> dict:
        await asyncio.sleep(10)
        return await empty_body()

    assert run_guarded(Limits(), stalled, ["/api/info"]) == [408]


def test_a_request_that_is_cut_off_is_refused():
    async def disconnect() -> dict:
        return {"type": "http.disconnect"}

    assert run_guarded(Limits(), disconnect, ["/api/info"]) == [400]
