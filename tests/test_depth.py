"""Metadata that is nested too deep is refused wherever it comes in, and never breaks a search."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from mbert_retrieval import Index, InputError, Passage
from mbert_retrieval.sources.jsonl import read_jsonl
from mbert_retrieval.types import MAX_DEPTH, is_too_deep
from support.cli import assert_refused, run, run_json

DEPTHS = [MAX_DEPTH + 1, 500, 990, 5000, 100_000]


def nested(levels: int) -> dict:
    """Return {"a": {"a": ... 1}} with so many objects."""
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value  # type: ignore[return-value]


def nested_text(levels: int) -> str:
    """The same as JSON, which json.dumps could not write."""
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("levels", DEPTHS)
def test_the_library_refuses_it(tmp_path, levels):
    index = Index.build(tmp_path / "i", [Passage("a", "word", metadata=nested(MAX_DEPTH))], None)
    with pytest.raises(InputError, match=f"more than {MAX_DEPTH} levels"):
        index.add([Passage("b", "word", metadata=nested(levels))])
    (hit,) = index.search("word", where="a.a IS NOT NULL")
    assert hit.passage.metadata == nested(MAX_DEPTH)
    assert hit.to_json()["metadata"] == nested(MAX_DEPTH)


def test_a_value_that_contains_itself_is_too_deep():
    value: dict = {}
    value["a"] = [value, value]
    assert is_too_deep(value)


def test_wide_and_shared_values_are_counted_once():
    value: list = [[]] * 1000
    for _ in range(MAX_DEPTH - 2):
        value = [value, value]
    assert not is_too_deep(value)
    assert is_too_deep([value])


@pytest.mark.parametrize("levels", DEPTHS)
@pytest.mark.parametrize("escape", ["", "\\ud800"])
def test_a_collection_with_it_is_refused(tmp_path, levels, escape):
    file = tmp_path / "c.jsonl"
    deep = f'{{"id": "{escape}b", "text": "word", "m": {nested_text(levels)}}}'
    file.write_text(f'{{"id": "a", "text": "word"}}\n{deep}\n')
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: nested more than"):
        list(read_jsonl(file))


def test_the_command_line_refuses_it(tmp_path):
    file = tmp_path / "c.jsonl"
    file.write_text(f'{{"id": "b", "text": "word", "m": {nested_text(500)}}}')
    done = run("index", "build", file, "--index", tmp_path / "i", "--encoder", "none")
    assert_refused(done, "line 1: nested more than")
    file.write_text(f'{{"id": "b", "text": "word", "m": {nested_text(MAX_DEPTH - 1)}}}')
    run_json("index", "build", file, "--index", tmp_path / "i", "--encoder", "none")
    (hit,) = run_json("search", "query", "word", "--index", tmp_path / "i")
    assert hit["metadata"]["m"] == nested(MAX_DEPTH - 1)


@pytest.mark.parametrize("levels", DEPTHS)
def test_the_service_refuses_it(tmp_path, levels):
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from mbert_retrieval.serve.app import make_app
    from mbert_retrieval.serve.service import Service

    Index.build(tmp_path / "i", [Passage("a", "word")], None)
    body = f'{{"passages": [{{"id": "b", "text": "x", "metadata": {nested_text(levels)}}}]}}'
    app = make_app(Service(tmp_path / "i"))
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.post(
            "/api/passages", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422)
        assert answer.json()["detail"]
        hits = client.post("/api/search", json={"query": "word"}).json()["hits"]
    assert [hit["id"] for hit in hits] == ["a"]


def test_an_agent_is_told(tmp_path):
    mcp = pytest.importorskip("mcp")
    Index.build(tmp_path / "i", [Passage("a", "word")], None)
    arguments = ["-m", "mbert_retrieval.cli.search", "mcp", "--index", str(tmp_path / "i")]
    server = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))

    async def add() -> str:
        async with mcp.Client(mcp.stdio_client(server)) as client:
            passage = {"id": "b", "text": "x", "metadata": nested(MAX_DEPTH + 1)}
            result = await client.call_tool("add", {"passages": [passage]})
            assert result.is_error
            return json.dumps(result.content[0].text)

    assert f"more than {MAX_DEPTH} levels" in asyncio.run(add())
