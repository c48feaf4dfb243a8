"""`mbert-search serve` and `mbert-search mcp`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import locate
from .console import message
from .locate import NearIndex, QueryEncoderName

if TYPE_CHECKING:
    from ..serve.service import Service

ReadOnly = Annotated[
    bool, typer.Option("--read-only", help="Let no client change the index, or tell it to update.")
]
FollowSources = Annotated[
    bool,
    typer.Option(
        "--update/--no-update",
        help="Before a search, read the files that changed since they were indexed.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(serve)
    app.command()(mcp)


def serve(
    index: NearIndex = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; one that other machines can reach needs a token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 for any free one.")
    ] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that requests must carry. Default: the variable MBERT_TOKEN.",
        ),
    ] = None,
    read_only: ReadOnly = False,
    update: FollowSources = True,
    body: Annotated[
        int, typer.Option(min=1024, metavar="BYTES", help="Largest size of a request.")
    ] = 8 * 2**20,
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests answered at once; more get 503.")
    ] = 256,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Time for a search; then 504."),
    ] = 10.0,
    encoder: QueryEncoderName = None,
) -> None:
    """Serve an index over HTTP, with a search page. Ctrl+C finishes the requests and stops."""
    _check_installed()
    _limit_blas_threads()
    from ..serve.limits import Limits
    from ..serve.run import read_token
    from ..serve.run import serve as run_server
    from ..serve.service import Service

    token = read_token(token_file, host)
    path = locate.index_from_here(index)
    limits = Limits(body_bytes=body, concurrency=concurrency, search_seconds=timeout)
    service = Service(path, limits, not read_only, encoder, update)
    _say_untrusted(service)
    run_server(
        service, host, port, token, lambda url: message(f"{path} is served at {url} (Ctrl+C stops)")
    )


def mcp(
    index: NearIndex = None,
    read_only: ReadOnly = False,
    update: FollowSources = True,
    encoder: QueryEncoderName = None,
) -> None:
    """Serve an index to an agent: Model Context Protocol on standard input and output."""
    _check_installed()
    from ..serve.mcp_server import run
    from ..serve.service import Service

    service = Service(locate.index_from_here(index), None, not read_only, encoder, update)
    _say_untrusted(service)
    run(service)


def _say_untrusted(service: Service) -> None:
    if service.caution:
        message(f"note: {service.caution}")


def _limit_blas_threads() -> None:
    """Let searches run side by side, each on one processor; call it before numpy loads.

    The matrix products are small, and on a busy machine BLAS threads that wait for each other make
    them a hundred times slower.
    """
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
