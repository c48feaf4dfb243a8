"""`mbert-search mcp`, called by the protocol's own client."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from mbert_retrieval import Index
from support.serving import TEXTS, made_index

mcp = pytest.importorskip("mcp")
READING = {"search", "document", "passage", "explain", "info"}
WRITING = {"add", "delete", "update"}
FILE_QUERY = "read the file"
ZEBRA = {"id": "z", "text": "a zebra", "metadata": {"year": 1999}}


def converse(index, conversation, *options):
    """Run `conversation(client)` against the command in a process of its own."""
    arguments = ["-m", "mbert_retrieval.cli.search", "mcp", "--index", str(index), *options]
    env = dict(os.environ)
    server = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=env)

    async def main():
        async with mcp.Client(mcp.stdio_client(server)) as client:
            return await conversation(client)

    return asyncio.run(main())


async def call(client, tool, **arguments):
    """Return the result of a tool; a string for an error."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        return result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def list_tools(client):
    return {tool.name: tool for tool in (await client.list_tools()).tools}


@pytest.fixture(scope="module")
def tools(index):
    return converse(index, list_tools)


@pytest.fixture(scope="module")
def results(index):
    """Results of one conversation, by tool."""

    async def conversation(client):
        found = await call(client, "search", query=FILE_QUERY, k=3, explain=True)
        hit = found["hits"][0]
        return {
            "search": found,
            "filtered": await call(client, "search", query="a", path=["net"], language=["python"]),
            "passage": await call(client, "passage", id=hit["id"]),
            "document": await call(client, "document", path=hit["path"]),
            "explain": await call(client, "explain", query=FILE_QUERY, id=hit["id"]),
            "info": await call(client, "info"),
        }

    return converse(index, conversation, "--read-only")


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """Results of one conversation that adds a passage, searches for it, and deletes it."""
    index = made_index(tmp_path_factory.mktemp("mcp") / "i")

    async def conversation(client):
        zebra = {"query": "zebra", "where": "year = 1999"}
        return {
            "add": await call(client, "add", passages=[ZEBRA]),
            "after add": await call(client, "search", **zebra),
            "delete": await call(client, "delete", ids=["z"]),
            "after delete": await call(client, "search", query="zebra"),
        }

    return converse(index, conversation)


def test_every_tool_is_described(tools):
    assert set(tools) == READING | WRITING
    assert all(tool.description for tool in tools.values())


def test_tools_say_whether_they_write(tools):
    assert {name for name, tool in tools.items() if tool.annotations.read_only_hint} == READING


def test_tools_state_their_limits(tools):
    assert tools["search"].input_schema["properties"]["k"]["maximum"] == 1000


def test_a_reader_gets_no_tools_that_write(index):
    assert set(converse(index, list_tools, "--read-only")) == READING


def test_hits_are_those_of_the_library(results, index):
    expected = Index.open(index).search(FILE_QUERY, k=3)
    assert [hit["id"] for hit in results["search"]["hits"]] == [hit.passage.id for hit in expected]


def test_a_search_can_explain_its_hits(results):
    assert results["search"]["hits"][0]["matches"]["tokens"]


def test_a_search_can_be_filtered(results):
    paths = {hit["path"] for hit in results["filtered"]["hits"]}
    assert paths == {"net/retry.py", "net/http.py"}


def test_a_passage_has_its_text(results):
    passage = results["passage"]
    assert passage["text"] == results["search"]["hits"][0]["text"] == TEXTS[passage["path"]]


def test_a_document_has_its_passages(results):
    hit = results["search"]["hits"][0]
    assert [passage["id"] for passage in results["document"]["passages"]] == [hit["id"]]


def test_explain_leaves_out_the_table(results):
    matches = results["explain"]["matches"]
    assert matches["legs"][0]["leg"] == "late"
    assert "table" not in matches


def test_info_names_the_languages(results):
    assert results["info"]["facets"]["language"] == {"python": len(TEXTS)}


def test_an_agent_adds_passages(changes):
    assert changes["add"]["added"] == 1
    assert [hit["id"] for hit in changes["after add"]["hits"]] == ["z"]


def test_an_agent_deletes_passages(changes):
    assert changes["delete"]["deleted"] == 1
    assert changes["after delete"]["hits"] == []


def test_errors_are_reported_to_the_agent(index):
    cases = [
        ("search", {"query": " "}, "the query is empty"),
        ("search", {"query": "x", "where": "nothing = 1"}, "no passage has a field"),
        ("search", {"query": "x", "k": 0}, "k"),
        ("passage", {"id": "x"}, "no passage has the id 'x'"),
        ("delete", {"ids": ["x"]}, "nothing was deleted"),
        ("update", {}, "does not know its sources"),
    ]

    async def conversation(client):
        return [await call(client, tool, **arguments) for tool, arguments, _ in cases]

    for error, (_, _, expected) in zip(converse(index, conversation), cases, strict=True):
        assert isinstance(error, str)
        assert expected in error
