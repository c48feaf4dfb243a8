"""The service under load: 32 connections that never rest, on this machine alone.

    python -m benchmarks.speed.serve --index DIR [--seconds 60] [--connections 32] [--dry]

Serves a copy of DIR (made by `mbert-index build`) with `mbert-search serve` in a process of its own
and asks it over the loopback address, from this one: each connection asks its next question when it
has the answer to the last. Questions are the names of functions in the index with the words of
their first lines, in an order that is always the same; k = 10. Meanwhile another connection adds
two passages, replaces one and deletes one, every second, and each change must be found, or gone, in
the next search. Any answer but 200 and any broken connection counts as failed.

Client and server share the processors. Writes docs/results/serve.md unless --dry is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.results_page import write_table
from mbert_retrieval import Index, InputError
from mbert_retrieval.indexes.trust import record_trust

QUESTIONS, WARM_SECONDS = 400, 3.0
PROGRAM = [sys.executable, "-m", "mbert_retrieval.cli.search", "serve"]


@dataclass
class Tally:
    """seconds: of each search that was answered."""

    seconds: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def row(self, what: str, took: float) -> str:
        ms = np.percentile(np.array(self.seconds) * 1000, [50, 95, 99]) if self.seconds else [0] * 3
        changes = f"{len(self.changes)} ({np.median(self.changes):.2f} s)" if self.changes else ""
        times = " | ".join(f"{value:.0f}" for value in ms)
        rate = len(self.seconds) / took
        return (
            f"| {what} | {len(self.seconds):,} | {rate:.0f} | {times} | {changes} "
            f"| {len(self.failed)} |"
        )


class Connection:
    """HTTP/1.1, kept alive."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def post(self, path: str, body: dict) -> dict:
        """Raises OSError for anything but a 200."""
        data = json.dumps(body).encode()
        host, port = self._address
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        self._writer.write(head.encode() + data)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"content-length: (\d+)", answered, re.IGNORECASE)
        content = await self._reader.readexactly(int(length[1])) if length else b""
        if not answered.startswith("HTTP/1.1 200 "):
            raise OSError(f"{path}: {answered.splitlines()[0]} {content[:200]!r}")
        return json.loads(content)

    def close(self) -> None:
        self._writer.close()


def questions(index: Path) -> list[str]:
    """A name and the words beside it, of passages spread over the index."""
    folder = Index.open(index).folder
    ids = sorted(folder.content_hashes())
    random.Random(0).shuffle(ids)
    texts = []
    for passage in folder.passages(ids[:QUESTIONS]):
        words = re.findall(r"[A-Za-z]{3,}", passage.text)[:6]
        texts.append(" ".join([str(passage.metadata.get("name", "")), *words]).strip() or "x")
    return texts


@contextmanager
def served(index: Path):
    """The address of `mbert-search serve`."""
    command = [*PROGRAM, "--index", str(index), "--port", "0", "--no-update"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://([\d.]+):(\d+)", process.stderr.readline())
        if not address:
            raise InputError("the service did not start")
        yield address[1], int(address[2])
    finally:
        process.terminate()
        process.wait()


async def load(
    address: tuple[str, int],
    queries: list[str],
    connections: int,
    seconds: float,
    body: dict,
    changing: bool,
) -> tuple[Tally, float]:
    """Ask for so long, after warming up; how it went, and the seconds from first to last."""
    tally = Tally()
    began = time.perf_counter() + WARM_SECONDS
    over: Callable[[], bool] = lambda: time.perf_counter() >= began + seconds  # noqa: E731

    async def ask(number: int) -> None:
        order = random.Random(number)
        connection = await Connection(address).open()
        while not over():
            start = time.perf_counter()
            try:
                await connection.post("/api/search", body | {"query": order.choice(queries)})
            except (OSError, asyncio.IncompleteReadError) as error:
                tally.failed.append(str(error))
                connection = await Connection(address).open()
                continue
            if start >= began:
                tally.seconds.append(time.perf_counter() - start)
        connection.close()

    async def change() -> None:
        connection = await Connection(address).open()
        number = 0
        while not over():
            next_start = time.perf_counter() + 1
            number += 1
            try:
                start = time.perf_counter()
                await change_once(connection, number)
                if start >= began:
                    tally.changes.append((time.perf_counter() - start) / 3)
            except (OSError, asyncio.IncompleteReadError) as error:
                tally.failed.append(str(error))
                connection = await Connection(address).open()
            await asyncio.sleep(max(0.0, next_start - time.perf_counter()))
        connection.close()

    await asyncio.gather(*(ask(n) for n in range(connections)), *([change()] if changing else []))
    return tally, time.perf_counter() - began


async def change_once(connection: Connection, number: int) -> None:
    """Three changes, each looked for. Raises OSError where one is not there, or still there."""
    letters = f"{number:06d}".translate(str.maketrans("0123456789", "bcdfghjmpq"))
    word = f"quokka{letters}"  # one word to BM25, and no suffix to its stemmer

    async def texts() -> set[str]:
        body = {"query": word, "mode": "lexical"}
        return {hit["text"] for hit in (await connection.post("/api/search", body))["hits"]}

    new = [{"id": f"{word}/{part}", "text": f"{word} part {part}"} for part in "ab"]
    await connection.post("/api/passages", {"passages": new})
    if await texts() != {f"{word} part a", f"{word} part b"}:
        raise OSError("an added passage is not found")
    await connection.post(
        "/api/passages", {"passages": [{"id": f"{word}/a", "text": f"{word} new"}]}
    )
    if await texts() != {f"{word} new", f"{word} part b"}:
        raise OSError("a replaced passage is not found")
    await connection.post("/api/delete", {"ids": [f"{word}/b"]})
    if await texts() != {f"{word} new"}:
        raise OSError("a deleted passage is found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--dry", action="store_true", help="print only")
    arguments = parser.parse_args()
    with TemporaryDirectory() as work:
        index = Path(work) / "index"
        shutil.copytree(arguments.index, index)
        os.environ["XDG_STATE_HOME"] = work  # what the copy is trusted by goes with it
        record_trust(index, Index.open(index).folder.manifest.index_id)
        queries = questions(index)
        info = Index.open(index).folder.info()
        rows = []
        plain, many = {"k": 10}, arguments.connections
        short = min(10.0, arguments.seconds)
        with served(index) as address:
            # the first change loads torch
            first = Connection(address)
            asyncio.run(_once(first))
            for what, connections, seconds, body, changing in (
                ("one connection", 1, short, plain, False),
                ("one, with marks", 1, short, plain | {"marks": True}, False),
                (f"{many} connections", many, short, plain, False),
                (f"{many}, and changes meanwhile", many, arguments.seconds, plain, True),
            ):
                tally, took = asyncio.run(
                    load(address, queries, connections, seconds, body, changing)
                )
                rows.append(tally.row(what, took))
                print(rows[-1], *tally.failed[:3], sep="\n", file=sys.stderr)
        vectors = sum(leg["vectors"] for leg in info["legs"].values())
        table = "\n".join(
            [
                f"{info['passages']:,} passages, {vectors:,} "
                f"vectors, legs: {', '.join([*info['legs'], 'lexical'])}; {os.cpu_count()} "
                f"processors, which client and server share; last row: {arguments.seconds:.0f} s:",
                "",
                "| load | searches | per second | median, ms | p95 | p99 | changes (each) "
                "| failed |",
                "| --- | --: | --: | --: | --: | --: | --: | --: |",
                *rows,
            ]
        )
    print(table)
    if not arguments.dry:
        write_table("serve", table)


async def _once(connection: Connection) -> None:
    await connection.open()
    await change_once(connection, 0)
    connection.close()


if __name__ == "__main__":
    main()
