"""The service over the Model Context Protocol, for agents."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, ParamSpec

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from .. import __version__
from ..errors import InputError
from .limits import MAX_K, MAX_PASSAGES, MAX_QUERY_LENGTH, Overloaded
from .models import Languages, Mode, NewPassage, Paths, Where
from .service import SearchRequest, Service

P = ParamSpec("P")
JSON = dict[str, Any]

INSTRUCTIONS = """\
Searches an index of code and documents by meaning and by words. Call `search` with plain words or
identifiers ("where are retries configured", "parse_date"); each hit has its path, lines and text.
Then `document` returns the entire file as it was indexed, `passage` one passage, and `explain` why
a passage has its score. Paths are relative to the folder that was indexed."""

Query = Annotated[
    str, Field(min_length=1, max_length=MAX_QUERY_LENGTH, description="What to look for.")
]
Count = Annotated[int, Field(ge=1, le=MAX_K, description="Number of hits at most.")]
READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITING = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)


def make_server(service: Service) -> MCPServer:
    """Return the server, which starts the service and closes it.

    It has tools that change the index only where the service is writable.
    """

    @asynccontextmanager
    async def lifespan(server: MCPServer) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    server = MCPServer(
        "mbert-search",
        instructions=INSTRUCTIONS,
        version=__version__,
        lifespan=lifespan,
        log_level="WARNING",
    )
    _add_reads(server, service)
    if service.writable:
        _add_writes(server, service)
    return server


def run(service: Service) -> None:
    """Serve on standard input and output until the input ends."""
    make_server(service).run("stdio")


def _add_reads(server: MCPServer, service: Service) -> None:
    @server.tool(annotations=READ_ONLY)
    @_report_errors
    async def search(
        query: Query,
        k: Count = 10,
        mode: Mode = "hybrid",
        where: Where = None,
        language: Languages = (),
        path: Paths = (),
        explain: Annotated[bool, Field(description="Explain the score of each hit.")] = False,
    ) -> JSON:
        """Return the passages that answer a question best, best first."""
        request = SearchRequest(k, mode, where, tuple(language), tuple(path), explain=explain)
        return await service.search(query, request)

    @server.tool(annotations=READ_ONLY)
    @_report_errors
    async def document(path: Annotated[str, Field(description="Path of a hit.")]) -> JSON:
        """Return all passages of a file, in order, as they were indexed."""
        return await service.document(path)

    @server.tool(annotations=READ_ONLY)
    @_report_errors
    async def passage(id: Annotated[str, Field(description="Id of a hit.")]) -> JSON:
        """Return one passage with its complete text."""
        return await service.passage(id)

    @server.tool(annotations=READ_ONLY)
    @_report_errors
    async def explain(
        query: Query,
        id: str,
        k: Count = 10,
        mode: Mode = "hybrid",
        where: Where = None,
        language: Languages = (),
        path: Paths = (),
    ) -> JSON:
        """Explain why a passage has its score: by leg, by token and by word."""
        request = SearchRequest(k, mode, where, tuple(language), tuple(path))
        explanation = await service.explain(query, id, request)
        del explanation["matches"]["table"]  # thousands of numbers
        return explanation

    @server.tool(annotations=READ_ONLY)
    @_report_errors
    async def info() -> JSON:
        """Return what the index holds, and the languages and kinds to filter by."""
        return await service.info()


def _add_writes(server: MCPServer, service: Service) -> None:
    @server.tool(annotations=WRITING)
    @_report_errors
    async def add(
        passages: Annotated[list[NewPassage], Field(min_length=1, max_length=MAX_PASSAGES)],
    ) -> JSON:
        """Add passages and replace those with the same ids."""
        return await service.add([passage.to_passage() for passage in passages])

    @server.tool(annotations=WRITING)
    @_report_errors
    async def delete(
        ids: Annotated[list[str], Field(min_length=1, max_length=MAX_PASSAGES)],
    ) -> JSON:
        """Delete passages: all of them, or none where one does not exist."""
        return await service.delete(ids)

    @server.tool(annotations=WRITING)
    @_report_errors
    async def update() -> JSON:
        """Bring the index in sync with the files that it was built from."""
        return await service.update()


def _report_errors(tool: Callable[P, Awaitable[JSON]]) -> Callable[P, Awaitable[JSON]]:
    """Turn errors that the agent can correct into tool errors of one line."""

    @functools.wraps(tool)
    async def reporting(*args: P.args, **kwargs: P.kwargs) -> JSON:
        try:
            return await tool(*args, **kwargs)
        except (InputError, Overloaded) as error:
            raise ToolError(str(error)) from None

    return reporting
