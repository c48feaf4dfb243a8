"""`mbert-search serve` in a process of its own: listening, stopping, tokens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest

from support.cli import assert_refused, run
from support.serving import TEXTS, TOKEN, fetch, served, wait_until

pytest.importorskip("fastapi")


def hits(url: str, query: str, **options) -> list[dict]:
    return json.loads(fetch(f"{url}/api/search", {"query": query, **options}))["hits"]


def test_searches_go_on_while_another_process_writes(lexical_index):
    stop = threading.Event()

    def search_on(url: str, n: int) -> int:
        answered = 0
        while not stop.is_set():
            assert len(hits(url, f"call read print line {n}", k=3)) == 3
            answered += 1
        return answered

    with served(lexical_index) as (url, _), ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(search_on, url, n) for n in range(16)]
        try:
            for n in range(3):
                source = lexical_index.with_name("more.jsonl")
                source.write_text(json.dumps({"id": f"new {n}", "text": f"zebra number {n}"}))
                assert run("index", "add", source, "--index", lexical_index).returncode == 0
        finally:
            stop.set()
        assert min(client.result() for client in clients) > 0
        wait_until(lambda: "new 2" in {hit["id"] for hit in hits(url, "zebra number 2")})


def test_a_stop_answers_the_requests_in_progress(index):
    with served(index) as (url, process), ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(hits, url, "read", explain=True) for _ in range(16)]
        waiting[0].result()
        process.send_signal(signal.SIGTERM)
        for answer in waiting:
            try:
                assert answer.result()
            except urllib.error.URLError as error:  # it came too late: no longer listening
                assert isinstance(error.reason, ConnectionError)  # noqa: PT017
        assert process.wait(30) == 0


def test_an_interrupt_ends_with_exit_code_0(index):
    with served(index) as (url, process):
        assert fetch(f"{url}/health")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


SLOW_SERVICE = """
import asyncio, sys
from pathlib import Path
from mbert_retrieval.serve.limits import Limits
from mbert_retrieval.serve.run import serve
from mbert_retrieval.serve.service import Service

class Slow(Service):
    async def passage(self, id):
        await asyncio.sleep(2.5)
        return await super().passage(id)

service = Slow(Path(sys.argv[1]), Limits(idle_seconds=1))
serve(service, "127.0.0.1", 0, None, lambda url: print(url, flush=True))
"""
REQUEST = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def slow_service(index) -> Iterator[tuple[str, int]]:
    """Yield (host, port) of a service that closes connections after a second without a request.

    It needs 2.5 seconds to return a passage.
    """
    command = [sys.executable, "-c", SLOW_SERVICE, str(index)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, port = process.stdout.readline().strip().rpartition("/")[2].split(":")
            yield host, int(port)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def slow_address(index):
    with slow_service(index) as address:
        yield address


def connected(address: tuple[str, int], sent: bytes) -> socket.socket:
    connection = socket.create_connection(address, timeout=20)
    connection.sendall(sent)
    return connection


def seconds_until_closed(connection: socket.socket) -> float:
    started = time.monotonic()
    while connection.recv(4096):
        pass
    return time.monotonic() - started


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: l"])
def test_a_connection_without_a_complete_request_is_closed(slow_address, sent):
    with connected(slow_address, sent) as connection:
        assert 0.9 < seconds_until_closed(connection) < 2.4


def test_an_idle_connection_is_closed_after_its_answer(slow_address):
    with connected(slow_address, REQUEST.format("/health").encode()) as connection:
        assert b"200 OK" in connection.recv(4096)
        assert 0.9 < seconds_until_closed(connection) < 2.4


def test_a_connection_in_use_stays_open(slow_address):
    connection = HTTPConnection(*slow_address, timeout=20)
    connection.connect()
    connection.auto_open = 0  # an error where it was closed
    for _ in range(5):  # longer than a second, all together
        time.sleep(0.3)
        connection.request("GET", "/health")
        assert b'"ok"' in connection.getresponse().read()
    connection.close()


def test_an_answer_that_takes_longer_is_not_cut_off(slow_address):
    request = REQUEST.format("/api/passage?id=io/log.py:1-3").encode()
    with connected(slow_address, request) as connection:
        started = time.monotonic()
        assert b"200 OK" in connection.recv(4096)
        assert time.monotonic() - started > 2.4


@pytest.mark.parametrize("host", ["0.0.0.0", "no.such.host.invalid", ""])
def test_an_address_that_others_can_reach_needs_a_token(index, host):
    done = run("search", "serve", "--index", index, "--port", "0", "--host", host)
    assert_refused(done, "give a token with --token-file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"short\n", "the token needs 16"),
        (b"a token with a bell \x07", "the token needs 16"),
        (b"\xff\xfe" * 20, "the token needs 16"),
        (None, "No such file"),
    ],
)
def test_a_bad_token_is_refused(index, tmp_path, content, expected):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    arguments = ("--port", "0", "--token-file", tmp_path / "token")
    assert_refused(run("search", "serve", "--index", index, *arguments), expected)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 100])
def test_an_address_that_cannot_be_listened_on_is_refused(index, host):
    done = run("search", "serve", "--index", index, "--host", host, env={"MBERT_TOKEN": TOKEN})
    assert_refused(done, f"cannot listen on {host}")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--port", "many", "--port"),
        ("--port", "65536", "--port"),
        ("--concurrency", "0", "--concurrency"),
        ("--body", "10", "--body"),
        ("--index", "nope", "nope is not an index"),
    ],
)
def test_a_bad_option_is_refused(tmp_path, option, value, expected):
    assert_refused(run("search", "serve", option, value, cwd=tmp_path), expected)


def test_a_port_in_use_is_refused(index):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = run("search", "serve", "--index", index, "--port", port)
    assert_refused(done, f"cannot listen on 127.0.0.1:{port}")


@pytest.fixture(params=["file", "environment"])
def url_with_token(request, index, tmp_path):
    """A service on all addresses, whose token comes from a file or from the environment."""
    options, environment = ["--host", "0.0.0.0"], dict(os.environ)
    if request.param == "file":
        (tmp_path / "token").write_text(TOKEN + "\n")
        options += ["--token-file", str(tmp_path / "token")]
    else:
        environment["MBERT_TOKEN"] = TOKEN
    with served(index, *options, env=environment) as (url, _):
        yield url.replace("0.0.0.0", "127.0.0.1")


def test_the_token_is_needed_and_accepted(url_with_token):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        fetch(f"{url_with_token}/api/info")
    info = json.loads(fetch(f"{url_with_token}/api/info", token=TOKEN))
    assert info["passages"] == len(TEXTS)


def test_the_options_reach_the_service(index):
    with served(index, "--read-only", "--body", "2000") as (url, _):
        info = json.loads(fetch(f"{url}/api/info"))
    assert (info["writable"], info["limits"]["body"]) == (False, 2000)
