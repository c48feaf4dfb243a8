"""Requests to a service through a test client."""

from __future__ import annotations

JSON_FORM = {"Content-Type": "application/json"}


def search(client, query: str, **options) -> list[dict]:
    """Return the hits of a search that must succeed."""
    answer = client.post("/api/search", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


def hit_paths(client, query: str, **options) -> set[str]:
    """Return the paths of the hits of a search that must succeed."""
    return {hit["path"] for hit in search(client, query, **options)}


def add(client, *passages: dict):
    """Add passages given as JSON."""
    return client.post("/api/passages", json={"passages": list(passages)})


def assert_problem(answer, status: int, text: str) -> None:
    """The answer has this status and one line of detail that has the text."""
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert text in detail
    assert "\n" not in detail
