"""Clients that do not read their answers are cut off; slow ones are not."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from mbert_retrieval import Index, Passage

pytest.importorskip("fastapi")

SIZE = 6_000_000  # bytes of an answer
READERS = 10
SERVICE = """
import sys
from pathlib import Path
from mbert_retrieval.serve.limits import Limits
from mbert_retrieval.serve.run import serve
from mbert_retrieval.serve.service import Service

service = Service(Path(sys.argv[1]), Limits(idle_seconds=1))
serve(service, "127.0.0.1", 0, None, lambda url: print(url, flush=True))
"""
REQUEST = b"GET /api/passage?id=large HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Port of a service that gives its clients a second."""
    path = tmp_path_factory.mktemp("large") / "i"
    Index.build(path, [Passage("large", "word " + "a" * SIZE)], None)
    command = [sys.executable, "-c", SERVICE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.kill()


def reader(port: int, buffer: int = 4096) -> socket.socket:
    """Return a connection that has sent its request and takes little of the answer at once."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    connection.sendall(REQUEST)
    return connection


def read_all(connection: socket.socket, pause: float) -> int:
    """Read to the end of the answer, or of the connection. Returns the number of bytes."""
    count = 0
    with suppress(ConnectionError):
        while count < SIZE and (block := connection.recv(100_000)):
            count += len(block)
            time.sleep(pause)
    return count


def test_readers_that_do_not_read_are_cut_off(port):
    with reader(port) as connection:
        assert read_all(connection, 0) >= SIZE
    readers = [reader(port) for _ in range(READERS)]
    time.sleep(6)
    for connection in readers:
        with connection:
            assert read_all(connection, 0) < SIZE / 4  # the kernel holds none of it either


def test_a_slow_reader_gets_its_answer(port):
    with reader(port, 50_000) as connection:
        started = time.monotonic()
        assert read_all(connection, 0.02) >= SIZE
        assert time.monotonic() - started > 2  # longer than the service waits for a request
