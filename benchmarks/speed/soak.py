"""The service for half an hour: searches, changes and changing files, and nothing may fail or grow.

    python -m benchmarks.speed.soak [--minutes 30] [--connections 32] [--sources DIR] [--dry]

Copies DIR (default: this package), indexes it with `nano`, and serves it with `mbert-search serve`
in a process of its own. Each connection searches, waits PAUSE_SECONDS, and searches again. Beside
them one connection adds, replaces and deletes passages, each change being visible in the next
search, and another rewrites source files and searches until the change is visible, without calling
for an update. The resident memory of the service is read every second.

The soak fails, with exit code 1, where any request fails, where a change stays invisible for
VISIBLE_SECONDS, and where memory grew: the median of the last quarter of the time may be at most
GROWTH times that of the second quarter. Client and server share the processors. Writes
docs/results/soak.md unless --dry is given.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.results_page import ROOT, write_table
from benchmarks.speed.serve import PROGRAM, Connection, change_once, questions
from mbert_retrieval import Index, InputError

PAUSE_SECONDS = 0.5
CHANGE_SECONDS = 2.0  # between two changes
VISIBLE_SECONDS = 30.0
GROWTH = 1.1
FILES = 5  # that change
ERRORS = (OSError, asyncio.IncompleteReadError)


@dataclass
class Record:
    """What happened. searches, changes, files: seconds of each; memory: bytes, each second."""

    searches: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def growth(self) -> float:
        """Return the memory of the last quarter over that of the second."""
        quarters = np.array_split(np.array(self.memory, dtype=float), 4)
        return float(np.median(quarters[3]) / np.median(quarters[1]))

    def table(self, minutes: float, connections: int) -> str:
        """Return the results as Markdown."""
        rows = [
            f"{minutes:g} minutes, {connections} connections that pause {PAUSE_SECONDS:g} s after "
            f"each answer; {os.cpu_count()} processors, which client and server share.",
            "",
            "| what | number | p50, ms | p95, ms | p99, ms |",
            "| --- | --: | --: | --: | --: |",
        ]
        for what, seconds in (
            ("searches", self.searches),
            ("three changes, and the searches that check them", self.changes),
            ("a file changed, until a search has it", self.files),
        ):
            times = np.percentile(np.array(seconds or [np.nan]) * 1000, [50, 95, 99])
            numbers = " | ".join(f"{value:,.0f}" for value in times)
            rows.append(f"| {what} | {len(seconds):,} | {numbers} |")
        quarters = np.array_split(np.array(self.memory) / 2**20, 4)
        memory = ", ".join(f"{np.median(quarter):,.0f}" for quarter in quarters)
        rows += [
            "",
            f"Failed requests: {len(self.failed)}. Resident memory of the service, MiB, median of "
            f"each quarter of the time: {memory}; at most {max(self.memory) / 2**20:,.0f}.",
        ]
        return "\n".join(rows)


class Soak:
    """The clients of one service."""

    def __init__(self, address: tuple[str, int], tree: Path, queries: list[str], end: float):
        self.address, self.tree, self.queries, self.end = address, tree, queries, end
        self.record = Record()

    async def search(self, number: int) -> None:
        """Search again and again. number: of the connection."""
        order = random.Random(number)
        await asyncio.sleep(order.random() * PAUSE_SECONDS)

        async def once(connection: Connection, turn: int) -> None:
            start = time.perf_counter()
            body = {"query": order.choice(self.queries), "marks": turn % 10 == 0}
            await connection.post("/api/search", body)
            self.record.searches.append(time.perf_counter() - start)

        await self._repeat(once, PAUSE_SECONDS)

    async def change(self) -> None:
        """Add, replace and delete passages."""

        async def once(connection: Connection, turn: int) -> None:
            start = time.perf_counter()
            await change_once(connection, turn)
            self.record.changes.append(time.perf_counter() - start)

        await self._repeat(once, CHANGE_SECONDS)

    async def edit(self) -> None:
        """Rewrite source files."""

        async def once(connection: Connection, turn: int) -> None:
            word = "wombat" + f"{turn:06d}".translate(str.maketrans("0123456789", "bcdfghjmpq"))
            path = self.tree / f"soaked{turn % FILES}.py"
            path.write_text(f"def {word}():\n    return {turn}\n")
            start = time.perf_counter()
            body = {"query": word, "mode": "lexical"}
            while not (await connection.post("/api/search", body))["hits"]:
                if time.perf_counter() - start > VISIBLE_SECONDS:
                    raise OSError(f"a change of {path.name} is not visible")
                await asyncio.sleep(0.05)
            self.record.files.append(time.perf_counter() - start)

        await self._repeat(once, CHANGE_SECONDS)

    async def watch(self, process: int) -> None:
        """Read the memory of the service."""
        while time.perf_counter() < self.end:
            status = Path(f"/proc/{process}/status").read_text()
            resident = re.search(r"VmRSS:\s+(\d+) kB", status)
            self.record.memory.append(int(resident[1]) * 1024 if resident else 0)
            await asyncio.sleep(1)

    async def _repeat(
        self, once: Callable[[Connection, int], Awaitable[None]], pause: float
    ) -> None:
        connection = await Connection(self.address).open()
        turn = 0
        while time.perf_counter() < self.end:
            turn += 1
            try:
                await once(connection, turn)
            except ERRORS as error:
                self.record.failed.append(f"{type(error).__name__}: {error}")
                connection.close()
                connection = await Connection(self.address).open()
            await asyncio.sleep(pause)
        connection.close()


async def soak(
    address: tuple[str, int],
    process: int,
    tree: Path,
    queries: list[str],
    many: int,
    seconds: float,
) -> Record:
    """Run all clients for some seconds."""
    clients = Soak(address, tree, queries, time.perf_counter() + seconds)
    searches = (clients.search(number) for number in range(many))
    await asyncio.gather(*searches, clients.change(), clients.edit(), clients.watch(process))
    return clients.record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--sources", type=Path, default=ROOT / "mbert_retrieval")
    parser.add_argument("--dry", action="store_true", help="print only")
    arguments = parser.parse_args()
    with TemporaryDirectory() as work:
        os.environ["XDG_STATE_HOME"] = work  # what this index is trusted by goes with it
        tree, index = Path(work) / "tree", Path(work) / "index"
        shutil.copytree(arguments.sources, tree)
        build = [sys.executable, "-m", "mbert_retrieval.cli.index", "build", str(tree)]
        subprocess.run([*build, "--index", str(index)], check=True)
        queries = questions(index)
        passages = len(Index.open(index))
        command = [*PROGRAM, "--index", str(index), "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
            try:
                address = re.search(r"http://([\d.]+):(\d+)", service.stderr.readline())
                if not address:
                    raise InputError("the service did not start")
                where = address[1], int(address[2])
                many, seconds = arguments.connections, arguments.minutes * 60
                record = asyncio.run(soak(where, service.pid, tree, queries, many, seconds))
            finally:
                service.terminate()
    table = f"{passages:,} passages, {record.table(arguments.minutes, arguments.connections)}"
    print(table, *record.failed[:5], sep="\n")
    if not arguments.dry:
        write_table("soak", table)
    if record.failed or record.growth() > GROWTH or service.returncode != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
