"""Listening, and stopping well."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import InputError
from .app import make_app
from .service import Service

TOKEN_VARIABLE = "MBERT_TOKEN"
GRACE_SECONDS = 20  # for requests that are being answered when the service is told to stop
MOST_CONNECTIONS = 1024
SHORTEST_TOKEN = 16


def read_token(file: Path | None, host: str) -> str | None:
    """The token, from a file or else the environment. Raises InputError for one that is too short,
    and where there is none though other machines can reach the address."""
    if file is not None:
        token = file.read_text(encoding="utf-8").strip()
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(f"the token needs {SHORTEST_TOKEN} or more plain characters, no spaces")
    if not token and not is_loopback(host):
        raise InputError(
            f"other machines can reach {host}: give a token with --token-file FILE or in "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )
    return token or None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    service: Service, host: str, port: int, token: str | None, said: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; then answer what has come, and return. A second signal drops
    what is left.

    port: 0 for any. said: called with the address once requests are answered."""
    listener = _listen(host, port)
    config = uvicorn.Config(
        make_app(service, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=service.limits.idle,
        timeout_graceful_shutdown=GRACE_SECONDS,
        http=_Connection,
        lifespan="on",
        ws="none",
    )
    shown = f"[{host}]" if ":" in host else host
    _Server(config, lambda: said(f"http://{shown}:{listener.getsockname()[1]}")).run([listener])


class _Connection(H11Protocol):
    """Closed when it has asked nothing, or not to the end, for `timeout_keep_alive` seconds.
    (uvicorn alone counts from the first answer on, and only until a byte comes.)"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._closing = self._close_later()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._closing.cancel()
        self._closing = self._close_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing.cancel()
        super().connection_lost(exc)

    def _close_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _close_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Server(uvicorn.Server):
    """Says when it is ready, and ends a wanted stop without a signal's exit code."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        # asyncio turns Nagle's delay off only where the protocol is named: 40 ms an answer
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host}:{port}: {reason}") from None
    return listener
