"""`mbert-search serve` and `mbert-search mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from . import locate
from .blas import limit_blas_threads
from .console import message
from .options import FILE_PATH, near_index, query_encoder

if TYPE_CHECKING:
    from ..serve.service import Service

read_only_option = click.option(
    "--read-only", is_flag=True, help="Let no client change the index, or tell it to update."
)
update_option = click.option(
    "--update/--no-update",
    default=True,
    help="Before a search, read the files that changed since they were indexed.",
)


@click.command()
@near_index
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Address to listen on; one that other machines can reach needs a token.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    metavar="N",
    help="Port; 0 for any free one.",
)
@click.option(
    "--token-file",
    type=FILE_PATH,
    metavar="FILE",
    help="File with the token that requests must carry. Default: the variable MBERT_TOKEN.",
)
@read_only_option
@update_option
@click.option(
    "--body",
    type=click.IntRange(min=1024),
    default=8 * 2**20,
    metavar="BYTES",
    help="Largest size of a request.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=256,
    metavar="N",
    help="Requests answered at once; more get 503.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    metavar="SECONDS",
    help="Time for a search; then 504.",
)
@query_encoder
def serve(
    index: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    read_only: bool,
    update: bool,
    body: int,
    concurrency: int,
    timeout: float,
    encoder: str | None,
) -> None:
    """Serve an index over HTTP, with a search page. Ctrl+C finishes the requests and stops."""
    _check_installed()
    limit_blas_threads()
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


@click.command()
@near_index
@read_only_option
@update_option
@query_encoder
def mcp(index: Path | None, read_only: bool, update: bool, encoder: str | None) -> None:
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
