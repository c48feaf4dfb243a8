"""`mbert-search mcp`, asked by the protocol's own client."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from mbert_retrieval import Index
from support.serving import TEXTS, made_index

mcp = pytest.importorskip("mcp")


@pytest.fixture
def index(tmp_path, tiny_encoder_folder):
    return made_index(tmp_path / "i", tiny_encoder_folder)


def talk(index, conversation, *options):
    """Run `conversation(client)` against the command in a process of its own."""
    arguments = ["-m", "mbert_retrieval.cli.search", "mcp", "--index", str(index), *options]
    server = mcp.StdioServerParameters(command=sys.executable, args=arguments)

    async def main():
        async with mcp.Client(mcp.stdio_client(server)) as client:
            return await conversation(client)

    return asyncio.run(main())


async def call(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def refused(client, tool, text, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert text in result.content[0].text


def test_an_agent_finds_reads_and_understands(index):
    async def conversation(client):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {
            "search", "document", "passage", "explain", "info", "add", "delete", "update"
        }  # fmt: skip
        assert all(tool.description for tool in tools.values())
        assert tools["search"].annotations.read_only_hint
        assert not tools["delete"].annotations.read_only_hint
        assert tools["search"].input_schema["properties"]["k"]["maximum"] == 1000
        found = await call(client, "search", query="read the file", k=3, explain=True)
        expected = Index.open(index).search("read the file", k=3)
        assert [hit["id"] for hit in found["hits"]] == [hit.passage.id for hit in expected]
        assert found["hits"][0]["matches"]["tokens"]
        hit = found["hits"][0]
        passage = await call(client, "passage", id=hit["id"])
        assert passage["text"] == hit["text"] == TEXTS[hit["path"]]
        document = await call(client, "document", path=hit["path"])
        assert [each["id"] for each in document["passages"]] == [hit["id"]]
        reason = await call(client, "explain", query="read the file", id=hit["id"])
        assert reason["matches"]["legs"][0]["leg"] == "late"
        assert "table" not in reason["matches"]
        info = await call(client, "info")
        assert info["facets"]["language"] == {"python": len(TEXTS)}

    talk(index, conversation)


def test_an_agent_changes_the_index(index):
    async def conversation(client):
        zebra = {"id": "z", "text": "a zebra", "metadata": {"year": 1999}}
        assert (await call(client, "add", passages=[zebra]))["added"] == 1
        narrowed = await call(client, "search", query="read", path=["net"], language=["python"])
        assert {hit["path"] for hit in narrowed["hits"]} == {"net/retry.py", "net/http.py"}
        found = await call(client, "search", query="zebra", mode="lexical", where="year = 1999")
        assert [hit["id"] for hit in found["hits"]] == ["z"]
        assert (await call(client, "delete", ids=["z"]))["deleted"] == 1
        found = await call(client, "search", query="zebra", mode="lexical")
        assert found["hits"] == []

    talk(index, conversation)
    assert len(Index.open(index).folder) == len(TEXTS)


def test_mistakes_are_told_to_the_agent(index):
    async def conversation(client):
        await refused(client, "search", "the query is empty", query=" ")
        await refused(client, "search", "no passage has a field", query="x", where="nothing = 1")
        await refused(client, "search", "k", query="x", k=0)
        await refused(client, "passage", "no passage has the id 'x'", id="x")
        await refused(client, "delete", "nothing was deleted", ids=["x"])
        await refused(client, "update", "does not know its sources")
        assert (await call(client, "search", query="read"))["hits"]

    talk(index, conversation)


def test_a_reader_gets_no_tools_that_write(index):
    async def conversation(client):
        return {tool.name for tool in (await client.list_tools()).tools}

    tools = talk(index, conversation, "--read-only")
    assert tools == {"search", "document", "passage", "explain", "info"}
