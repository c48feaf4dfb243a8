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
from .limits import LARGEST_K, LONGEST_QUERY, MOST_PASSAGES, Overloaded
from .models import Languages, Mode, NewPassage, Paths, Where
from .service import Asked, Service

P = ParamSpec("P")
JSON = dict[str, Any]

INSTRUCTIONS = """\
Searches an index of code and documents by meaning and by words. Ask `search` in plain words or with
identifiers ("where are retries configured", "parse_date"); each hit has its path, lines and text.
Then `document` gives the whole file as it was indexed, `passage` one passage, `explain` the reason
for a hit. Paths are relative to the folder that was indexed."""

Query = Annotated[
    str, Field(min_length=1, max_length=LONGEST_QUERY, description="What to look for.")
]
Count = Annotated[int, Field(ge=1, le=LARGEST_K, description="How many hits at most.")]
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)


def make_server(service: Service) -> MCPServer:
    """It starts the service and closes it. Tools that change the index are there where the service
    is writable."""

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
    @server.tool(annotations=READS)
    @_told
    async def search(
        query: Query,
        k: Count = 10,
        mode: Mode = "hybrid",
        where: Where = None,
        language: Languages = (),
        path: Paths = (),
        explain: Annotated[bool, Field(description="Say why each was found.")] = False,
    ) -> JSON:
        """The passages that answer a question best, best first."""
        return await service.search(
            query, Asked(k, mode, where, tuple(language), tuple(path), explain=explain)
        )

    @server.tool(annotations=READS)
    @_told
    async def document(path: Annotated[str, Field(description="As a hit has it.")]) -> JSON:
        """All passages of a file, in order, as they were indexed."""
        return await service.document(path)

    @server.tool(annotations=READS)
    @_told
    async def passage(id: Annotated[str, Field(description="As a hit has it.")]) -> JSON:
        """One passage, whole."""
        return await service.passage(id)

    @server.tool(annotations=READS)
    @_told
    async def explain(
        query: Query,
        id: str,
        k: Count = 10,
        mode: Mode = "hybrid",
        where: Where = None,
        language: Languages = (),
        path: Paths = (),
    ) -> JSON:
        """Why a passage has its score: each part of the index, each token, each word."""
        asked = Asked(k, mode, where, tuple(language), tuple(path))
        explained = await service.explain(query, id, asked)
        del explained["matches"]["table"]  # thousands of numbers
        return explained

    @server.tool(annotations=READS)
    @_told
    async def info() -> JSON:
        """What the index holds, and the languages and kinds to filter by."""
        return await service.info()


def _add_writes(server: MCPServer, service: Service) -> None:
    @server.tool(annotations=WRITES)
    @_told
    async def add(
        passages: Annotated[list[NewPassage], Field(min_length=1, max_length=MOST_PASSAGES)],
    ) -> JSON:
        """Add passages; one whose id is there is replaced."""
        return await service.add([passage.to_passage() for passage in passages])

    @server.tool(annotations=WRITES)
    @_told
    async def delete(
        ids: Annotated[list[str], Field(min_length=1, max_length=MOST_PASSAGES)],
    ) -> JSON:
        """Delete passages: all of them, or none when one is not there."""
        return await service.delete(ids)

    @server.tool(annotations=WRITES)
    @_told
    async def update() -> JSON:
        """Bring the index up to date with the files that it was built from."""
        return await service.update()


def _told(tool: Callable[P, Awaitable[JSON]]) -> Callable[P, Awaitable[JSON]]:
    """What the agent can mend becomes an error that it is told, in a line."""

    @functools.wraps(tool)
    async def told(*args: P.args, **kwargs: P.kwargs) -> JSON:
        try:
            return await tool(*args, **kwargs)
        except (InputError, Overloaded) as error:
            raise ToolError(str(error)) from None

    return told
