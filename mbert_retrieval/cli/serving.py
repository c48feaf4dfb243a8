"""`mbert-search serve` and `mbert-search mcp`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import locate
from .console import message

NearIndex = Annotated[
    Path | None,
    typer.Option(
        "--index", metavar="DIR", help="The index. Default: the nearest .mbert from here upward."
    ),
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Offer no changes to the index.")]


def add_to(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(mcp)


def serve(
    index: NearIndex = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; others need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 for any.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Holds the token that requests must carry. Or: MBERT_TOKEN."
        ),
    ] = None,
    read_only: ReadOnly = False,
    body: Annotated[int, typer.Option(min=1024, metavar="BYTES", help="The largest request.")] = 8
    * 2**20,
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests at once; more get 503.")
    ] = 256,
) -> None:
    """Serve an index over HTTP, with a page to search it. Ctrl+C stops when all is answered."""
    _check_installed()
    _one_thread_each()
    from ..serve.limits import Limits
    from ..serve.run import read_token
    from ..serve.run import serve as run_server
    from ..serve.service import Service

    token = read_token(token_file, host)
    place = locate.index_from_here(index)
    service = Service(place, Limits(body=body, concurrency=concurrency), not read_only)
    run_server(
        service, host, port, token, lambda url: message(f"{place} is at {url} (Ctrl+C stops)")
    )


def mcp(index: NearIndex = None, read_only: ReadOnly = False) -> None:
    """Serve an index to an agent: the Model Context Protocol on standard input and output."""
    _check_installed()
    from ..serve.mcp_server import run
    from ..serve.service import Service

    run(Service(locate.index_from_here(index), writable=not read_only))


def _one_thread_each() -> None:
    """Let searches run side by side, not each on all processors: the products are small, and BLAS
    threads that wait for one another do it a hundred times longer on a busy machine. To be called
    before numpy loads."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import mcp  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the package {error.name} is missing: pip install 'mbert-retrieval[serve]'"
        ) from None
