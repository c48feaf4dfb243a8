"""Run functions on hostile input, each in a process of its own with limits of time and memory.

One server process imports what is needed and forks for each trial, which takes milliseconds. It
starts no threads, so that a fork is safe.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

MEMORY = 3 * 2**30  # of address space, beyond what the imports take
SECONDS = 30


class Outcome(NamedTuple):
    """kind: returned, raised, crashed, hung. value: what the function returned, or what is known
    of the failure."""

    kind: str
    value: Any


class TrialProcess:
    """A server for trials; use it in a `with` block.

    Args:
        imports: Modules to import before the first trial.
    """

    def __init__(self, imports: list[str]) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.trial_process", *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __enter__(self) -> TrialProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()

    def run(self, function: str, *arguments: Any) -> Outcome:
        """Call a function and return what came of it.

        Args:
            function: "module:name".
            arguments: JSON.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))


def serve(imports: list[str]) -> None:
    for name in imports:
        importlib.import_module(name)
    for line in sys.stdin:
        function, arguments = json.loads(line)
        print(json.dumps(_trial(function, arguments)), flush=True)


def _trial(function: str, arguments: list) -> Outcome:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as answer:
            json.dump(_called(function, arguments), answer)
        os._exit(0)
    os.close(writing)
    answer = b""
    while select.select([reading], [], [], SECONDS)[0]:
        piece = os.read(reading, 2**20)
        if not piece:
            break
        answer += piece
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return Outcome("hung", f"no end after {SECONDS} s")
    if code != 0:
        return Outcome("crashed", signal.Signals(-code).name if code < 0 else f"exit code {code}")
    return Outcome(*json.loads(answer))


def _called(function: str, arguments: list) -> Outcome:
    module, name = function.split(":")
    called = getattr(importlib.import_module(module), name)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 0)
    os.dup2(devnull, 1)
    try:
        return Outcome("returned", called(*arguments))
    except BaseException as error:
        where = "; ".join(
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)[-4:]
        )
        return Outcome("raised", f"{type(error).__name__}: {str(error)[:300]} ({where})")


if __name__ == "__main__":
    serve(sys.argv[1:])
