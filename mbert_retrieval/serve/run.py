"""Listen, serve and stop: the HTTP server around the application."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import ipaddress
import os
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import InputError
from .app import make_app
from .service import Service

TOKEN_VARIABLE = "MBERT_TOKEN"
GRACE_SECONDS = 20  # in which requests in progress are finished when the service stops
FORCED_SECONDS = 5  # after a second signal
STOP_SECONDS = GRACE_SECONDS + 10  # after which the process ends, whatever still runs in it
MAX_CONNECTIONS = 1024
MIN_READ_RATE = 1024  # bytes per second that a client has to read of its answer
MIN_TOKEN_LENGTH = 16


def read_token(file: Path | None, host: str) -> str | None:
    """Return the token, from a file or else from the environment.

    Raises InputError for a token that is too short, and where there is none although other
    machines can reach `host`.
    """
    if file is not None:
        token = file.read_text(encoding="utf-8", errors="replace").strip()
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and (len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        raise InputError(f"the token needs {MIN_TOKEN_LENGTH} or more printable ASCII characters")
    if not token and not is_loopback(host):
        raise InputError(
            f"other machines can reach {host}: give a token with --token-file FILE or in "
            f"{TOKEN_VARIABLE}, or use --host 127.0.0.1"
        )
    return token or None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    service: Service, host: str, port: int, token: str | None, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; then finish the requests in progress, and return.

    A second signal drops the requests that are left. The process ends in any case: what does not
    stop by itself is written to standard error as a traceback, and the exit code is 1. The index
    stays as it was at the last commit.

    Args:
        service: What to serve; it is started and closed here.
        host: Address to listen on.
        port: 0 for any free port.
        token: See `guard.Guard`.
        on_ready: Called with the URL once requests are answered.

    Raises:
        InputError: The address cannot be listened on.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        make_app(service, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=service.limits.idle_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
        http=_Connection,
        lifespan="on",
        ws="none",
    )
    shown = f"[{host}]" if ":" in host else host
    _Server(config, lambda: on_ready(f"http://{shown}:{listener.getsockname()[1]}")).run([listener])


class _Connection(H11Protocol):
    """Closed after `timeout_keep_alive` seconds without a complete request, and aborted where its
    client does not read what it is sent.

    uvicorn alone counts from the first answer on, and only until a byte comes; what a client does
    not read it keeps in memory for good.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._closing = self._close_later()
        self._reading: asyncio.TimerHandle | None = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._closing.cancel()
        self._closing = self._close_later()
        self._watch_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing.cancel()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def _close_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _close_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()  # once everything is sent

    def _watch_reading(self) -> None:
        if self.transport.get_write_buffer_size() and self._reading is None:
            self._reading = self.loop.call_later(
                self.timeout_keep_alive, self._abort_unread, self._unread()
            )

    def _unread(self) -> int:
        """Return the bytes that the client has not yet received, also those in the kernel."""
        in_kernel = bytearray(4)
        fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, in_kernel)
        return self.transport.get_write_buffer_size() + int.from_bytes(in_kernel, sys.byteorder)

    @property
    def _socket(self) -> socket.socket:
        connection: socket.socket = self.transport.get_extra_info("socket")
        return connection

    def _abort_unread(self, before: int) -> None:
        """Abort unless the client reads MIN_READ_RATE. before: bytes unread at the last look."""
        self._reading = None
        if self._unread() > max(0, before - MIN_READ_RATE * self.timeout_keep_alive):
            # without this the kernel goes on holding what it could not send
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self._watch_reading()


class _Server(uvicorn.Server):
    """Calls `on_ready` once it is ready, and returns after a signal, without its exit code."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        # a timer in C, which no Python thread can hold up
        seconds = FORCED_SECONDS if self.should_exit else STOP_SECONDS
        faulthandler.dump_traceback_later(seconds, exit=True)
        self.handle_exit(number, None)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        # asyncio turns off Nagle's delay (40 ms per answer) only where the protocol is named
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:  # the last of a malformed name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host}:{port}: {reason}") from None
    return listener
