"""A search that does not end is stopped, and so is a service with one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import pytest

from mbert_retrieval import Index, Passage
from support.http import assert_problem, search
from support.serving import fetch, served

pytest.importorskip("fastapi")
from mbert_retrieval.serve.limits import Limits
from mbert_retrieval.serve.service import Service

HOSTILE = " OR ".join(["text GLOB '*[^@]" + "?" * 4900 + "ZQ*'"] * 2)


@pytest.fixture(scope="module")
def long_index(tmp_path_factory):
    """An index of one long passage."""
    path = tmp_path_factory.mktemp("long") / "i"
    Index.build(path, [Passage("long", "word " + "a" * 4_000_000)], None)
    return path


def test_a_search_beyond_its_time_is_answered_with_504(long_index, connect):
    with connect(Service(long_index, Limits(search_seconds=0.3))) as client:
        for path, body in (("search", {}), ("explain", {"id": "long"})):
            started = time.monotonic()
            body |= {"query": "word", "where": HOSTILE}
            answer = client.post(f"/api/{path}", json=body)
            assert_problem(answer, 504, "longer than 0.3 s: use a simpler filter")
            assert time.monotonic() - started < 2
        assert search(client, "word")


def test_searches_with_the_same_filter_are_stopped_together(long_index, connect):
    limits = Limits(search_seconds=0.5)
    with connect(Service(long_index, limits)) as client, ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        body = {"query": "word", "where": HOSTILE}
        answers = [pool.submit(client.post, "/api/search", json=body) for _ in range(8)]
        assert {answer.result().status_code for answer in answers} <= {503, 504}
        assert time.monotonic() - started < 3


def test_a_service_stops_while_a_search_does_not_end(long_index):
    with served(long_index, "--timeout", "1.5") as (url, process):
        ended = threading.Thread(target=_search_in_vain, args=(url,))
        ended.start()
        time.sleep(0.5)
        assert json.loads(fetch(f"{url}/health"))["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        ended.join()


def _search_in_vain(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="504"):
        fetch(f"{url}/api/search", {"query": "word", "where": HOSTILE})


STUCK_SERVICE = """
import sys, time
from pathlib import Path
from mbert_retrieval.serve import run
from mbert_retrieval.serve.service import Service

class Stuck(Service):
    def _search_batch(self, request, queries):
        while True:
            time.sleep(1)

run.GRACE_SECONDS, run.STOP_SECONDS, run.FORCED_SECONDS = 1, 2, 0.5
run.serve(Stuck(Path(sys.argv[1])), "127.0.0.1", 0, None, lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize(("signals", "seconds"), [(1, (1.5, 5)), (2, (0.4, 1.9))])
def test_a_service_ends_although_a_thread_does_not(long_index, signals, seconds):
    command = [sys.executable, "-c", STUCK_SERVICE, str(long_index)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process, ThreadPoolExecutor() as pool:
        try:
            url = process.stdout.readline().strip()
            answer = pool.submit(fetch, f"{url}/api/search", {"query": "word"})
            time.sleep(0.3)
            started = time.monotonic()
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.1)
            assert process.wait(10) == 1
            assert seconds[0] < time.monotonic() - started < seconds[1]
            assert "_search_batch" in process.stderr.read()  # it says what did not end
            assert answer.exception()
        finally:
            process.kill()
