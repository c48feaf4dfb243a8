"""Check every request before anything reads it: its host and token, its size, the load."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from .limits import Limits
from .metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# and all under /static/; they reveal nothing of the index
PUBLIC_PATHS = ("/", "/health", "/ready", "/api.html")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODY_SECONDS = 30.0  # in which the body of a request must arrive
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
]


class _Refused(Exception):
    """A request is refused: becomes an answer with this status."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, list(headers)


class Guard:
    """ASGI middleware, the outermost: checks requests, counts them, and adds security headers."""

    def __init__(self, app: App, limits: Limits, metrics: Metrics, token: str | None) -> None:
        """Wrap an application.

        Args:
            app: The application.
            limits: `body_bytes` and `concurrency` are used.
            metrics: Counts the requests.
            token: What `Authorization: Bearer` must carry. Without one, a request must name this
                machine as its host, so that no page of another site can reach the service under
                a name that the site makes resolve to this machine (DNS rebinding).
        """
        self.app, self.limits, self.metrics = app, limits, metrics
        self._token = None if token is None else token.encode()
        self._in_flight = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, responded = time.perf_counter(), 500, False

        async def observed_send(message: Message) -> None:
            nonlocal status, responded
            if message["type"] == "http.response.start":
                status, responded = message["status"], True
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS]
            await send(message)

        self._in_flight += 1
        self.metrics.in_flight.inc()
        try:
            headers = {name.lower(): value for name, value in scope["headers"]}
            self._check(scope, headers)
            body = await self._read_body(headers, receive)
            await self.app(scope, _replay(body, receive), observed_send)
        except _Refused as refused:
            if not responded:
                await _send_refusal(refused, observed_send)
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    def _check(self, scope: Message, headers: dict[bytes, bytes]) -> None:
        """Raise _Refused for a foreign host or origin, a wrong token, or too many requests."""
        path, host = scope["path"], headers.get(b"host", b"").decode("latin-1")
        if self._token is None and _host_name(host) not in LOOPBACK_NAMES:
            raise _Refused(421, f"the host {host!r} is not served: use localhost")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in (f"http://{host}", f"https://{host}"):
            raise _Refused(403, "requests from pages of other sites are refused")
        if path in PUBLIC_PATHS or path.startswith("/static/"):
            return
        if self._token is not None:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
                raise _Refused(
                    401, "send the token as Authorization: Bearer", (b"www-authenticate", b"Bearer")
                )
        if self._in_flight > self.limits.concurrency:
            raise _Refused(503, "too many requests at once: try again", (b"retry-after", b"1"))

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Return the complete body. Raise _Refused before more than the limit is in memory."""
        declared = headers.get(b"content-length", b"0")
        too_large = _Refused(413, f"the body may have {self.limits.body_bytes:,} bytes at most")
        if not declared.isdigit() or int(declared) > self.limits.body_bytes:
            raise too_large
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _Refused(400, "the request ended before its body was complete")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
                    if size > self.limits.body_bytes:
                        raise too_large
        except TimeoutError:
            raise _Refused(408, f"the body did not arrive in {BODY_SECONDS:g} s") from None
        return b"".join(parts)


def _host_name(host: str) -> str:
    """Return a Host header without its port."""
    name, _, port = host.rpartition(":")
    return (name if port.isdigit() and name else host).lower()


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once, then whatever comes after it."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _send_refusal(refused: _Refused, send: Send) -> None:
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
