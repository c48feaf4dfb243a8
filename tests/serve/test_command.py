"""`mbert-search serve` in a process of its own: listening, stopping, tokens, and the page."""

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
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.cli import assert_refused, run
from support.serving import TEXTS, made_index, served

pytest.importorskip("fastapi")

TOKEN = "a-token-of-some-length"


def fetch(url, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder_folder):
    return made_index(tmp_path_factory.mktemp("served") / "i", tiny_encoder_folder)


def wait_until_found(url: str, id: str, query: str, seconds: float = 30) -> None:
    """A commit of another process is seen when the service next looks."""
    deadline = time.monotonic() + seconds
    while True:
        hits = json.loads(fetch(f"{url}/api/search", {"query": query}))["hits"]
        if id in {hit["id"] for hit in hits}:
            return
        assert time.monotonic() < deadline, hits
        time.sleep(0.2)


def test_many_at_once_while_another_process_writes_and_a_stop_that_drops_nothing(tmp_path):
    index = made_index(tmp_path / "i")
    with served(index) as (url, process):
        stop = threading.Event()

        def ask(n: int) -> int:
            answered = 0
            while not stop.is_set():
                body = {"query": f"call read print line {n}", "k": 3}
                assert len(json.loads(fetch(f"{url}/api/search", body))["hits"]) == 3
                answered += 1
            return answered

        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(ask, n) for n in range(16)]
            for n in range(3):
                line = json.dumps({"id": f"new {n}", "text": f"zebra number {n}"})
                source = index.parent / "more.jsonl"
                source.write_text(line)
                assert run("index", "add", source, "--index", index).returncode == 0
            stop.set()
            assert min(each.result() for each in asked) > 0
        wait_until_found(url, "new 2", "zebra number 2")
        with ThreadPoolExecutor(16) as pool:
            last = [
                pool.submit(fetch, f"{url}/api/search", {"query": "read", "explain": True})
                for _ in range(16)
            ]
            last[0].result()
            process.send_signal(signal.SIGTERM)
            for each in last:
                try:
                    assert json.loads(each.result())["hits"]
                except urllib.error.URLError as error:  # it came too late: no longer listening
                    assert isinstance(error.reason, ConnectionError)  # noqa: PT017
        assert process.wait(30) == 0


def test_an_interrupt_stops_it_too_and_a_second_one_at_once(index):
    with served(index) as (url, process):
        assert fetch(f"{url}/health")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_connections_that_do_not_ask_are_closed_and_the_others_kept(index):
    """A second is given; the answer that takes longer is not cut off."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from mbert_retrieval.serve.limits import Limits\n"
        "from mbert_retrieval.serve.run import serve\n"
        "from mbert_retrieval.serve.service import Service\n"
        "service = Service(Path(sys.argv[1]), Limits(idle=1))\n"
        "passage = service.passage\n"
        "async def slow(id):\n"
        "    import asyncio\n"
        "    await asyncio.sleep(2.5)\n"
        "    return await passage(id)\n"
        "service.passage = slow\n"
        "serve(service, '127.0.0.1', 0, None, lambda url: print(url, flush=True))\n"
    )
    command = [sys.executable, "-c", program, str(index)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, port = process.stdout.readline().strip().rpartition("/")[2].split(":")

            def connected(first: bytes) -> socket.socket:
                connection = socket.create_connection((host, int(port)), timeout=20)
                connection.sendall(first)
                return connection

            began = time.monotonic()
            request = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            slow = connected(request.format("/api/passage?id=io/log.py:1-3").encode())
            kept = connected(request.format("/health").encode())
            assert b"200 OK" in kept.recv(4096)
            for silent in (connected(b""), connected(b"GET /health HTTP/1.1\r\nHost: l"), kept):
                while silent.recv(4096):
                    pass
            assert 0.9 < time.monotonic() - began < 2.4
            assert b"200 OK" in slow.recv(4096)
            assert time.monotonic() - began > 2.4
        finally:
            process.kill()


def test_other_machines_need_a_token(index, tmp_path):
    arguments = ("search", "serve", "--index", index, "--port", "0")
    assert_refused(run(*arguments, "--host", "0.0.0.0"), "give a token with --token-file")
    (tmp_path / "token").write_text("short\n")
    assert_refused(run(*arguments, "--token-file", tmp_path / "token"), "the token needs 16")
    assert_refused(run(*arguments, "--token-file", tmp_path / "none"), "none")
    assert_refused(run(*arguments, "--host", "no.such.host.invalid"), "give a token")
    (tmp_path / "token").write_text(TOKEN + "\n")
    options = ("--host", "0.0.0.0", "--token-file", str(tmp_path / "token"))
    with served(index, *options) as (url, _):
        url = url.replace("0.0.0.0", "127.0.0.1")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetch(f"{url}/api/info")
        assert json.loads(fetch(f"{url}/api/info", token=TOKEN))["passages"] >= len(TEXTS)
    environment = os.environ | {"MBERT_TOKEN": TOKEN}
    with (
        served(index, env=environment) as (url, _),
        pytest.raises(urllib.error.HTTPError, match="401"),
    ):
        fetch(f"{url}/api/info")


def test_what_cannot_be_served_is_told_in_a_line(index, tmp_path):
    assert_refused(run("search", "serve", "--index", tmp_path), "is not an index")
    with served(index) as (url, _):
        port = url.rpartition(":")[2]
        taken = run("search", "serve", "--index", index, "--port", port)
        assert_refused(taken, f"cannot listen on 127.0.0.1:{port}")
