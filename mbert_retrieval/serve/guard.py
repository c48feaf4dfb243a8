"""What every request passes before anything reads it: who may ask, how much, how many at once."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from .limits import Limits
from .metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/", "/health", "/api.html")  # and what is under /static/: they say nothing of the index
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODY_SECONDS = 30.0  # for a request's body to arrive
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
]


class _Refused(Exception):
    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, list(headers)


class Guard:
    """ASGI middleware, the outermost.

    token: what `Authorization: Bearer` must carry; None: no token, and then a request must name
        this machine as its host, so that no page of another site can reach the service by a name
        that it makes resolve to here.
    """

    def __init__(self, app: App, limits: Limits, metrics: Metrics, token: str | None) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self._token = None if token is None else token.encode()
        self._in_flight = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, answered = time.perf_counter(), 500, False

        async def observed(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        self._in_flight += 1
        self.metrics.in_flight.inc()
        try:
            headers = {name.lower(): value for name, value in scope["headers"]}
            self._admit(scope, headers)
            body = await self._body(headers, receive)
            await self.app(scope, _replayed(body, receive), observed)
        except _Refused as refused:
            if not answered:
                await _refuse(refused, observed)
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _admit(self, scope: Message, headers: dict[bytes, bytes]) -> None:
        path, host = scope["path"], headers.get(b"host", b"").decode("latin-1")
        if self._token is None and _name(host) not in LOCAL:
            raise _Refused(421, f"no service of the name {host!r} here: ask for localhost")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc != host:
            raise _Refused(403, "pages of other sites may not ask")
        if path in OPEN or path.startswith("/static/"):
            return
        if self._token is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                raise _Refused(
                    401, "send the token as Authorization: Bearer", (b"www-authenticate", b"Bearer")
                )
        if self._in_flight > self.limits.concurrency:
            raise _Refused(503, "too many requests at once: try again", (b"retry-after", b"1"))

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, or a refusal before more than the limit is held."""
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.limits.body:
            raise _Refused(413, f"the body may have {self.limits.body:,} bytes at most")
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _Refused(400, "the request was cut off")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
                    if size > self.limits.body:
                        raise _Refused(413, f"the body may have {self.limits.body:,} bytes at most")
        except TimeoutError:
            raise _Refused(408, f"the body did not arrive in {BODY_SECONDS:g} s") from None
        return b"".join(parts)


def _name(host: str) -> str:
    """Without the port."""
    name, _, port = host.rpartition(":")
    return (name if port.isdigit() and name else host).lower()


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then whatever comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(refused: _Refused, send: Send) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *refused.headers,
    ]
    if refused.status in (408, 413):
        headers.append((b"connection", b"close"))
    with suppress(OSError):
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
