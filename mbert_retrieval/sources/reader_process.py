"""The process that splits files for `confined_reader`: within limits of time and memory.

It reads requests from its standard input and writes one line per answer. The kernel ends it where
a file takes too much processor time, wherever it is: in a grammar, a regular expression or zlib.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from dataclasses import astuple
from typing import BinaryIO

from ..errors import InputError
from .passages import file_passages
from .scan import SourceFile
from .selection import Selection

MEMORY = 2 << 30  # bytes of address space
SECONDS = 5  # of processor time per file, and one more for each BYTES_PER_SECOND of it
BYTES_PER_SECOND = 100_000
READY = b"ready\n"


def seconds_for(size: int) -> int:
    """Return the seconds of processor time that a file of this many bytes may take."""
    return math.ceil(SECONDS + size / BYTES_PER_SECOND)


def main() -> None:
    """Answer requests until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit(resource.RLIMIT_AS, MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    answers.write(READY)
    answers.flush()
    while line := sys.stdin.buffer.readline():
        answers.write(_answer(json.loads(line), sys.stdin.buffer) + b"\n")
        answers.flush()


def _answer(request: dict, stream: BinaryIO) -> bytes:
    """Return the passages of a file, or the reason why there are none, as JSON."""
    content = stream.read(request["size"])
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _limit(resource.RLIMIT_CPU, math.ceil(used + seconds_for(len(content))))
    file = SourceFile(request["path"], len(content), 0, request["explicit"])
    selection = Selection.from_json(request["selection"])
    try:
        passages = file_passages(file, request["path"], content, selection)
        return json.dumps({"passages": [astuple(passage) for passage in passages]}).encode()
    except InputError as error:
        reason = str(error)
    except MemoryError:
        reason = f"needs more than {MEMORY >> 30} GiB of memory"
    except RecursionError:
        reason = "too deeply nested"
    except Exception as error:  # of whatever library: one file must not stop the others
        reason = f"cannot be split ({type(error).__name__}: {error})"
    return json.dumps({"reason": reason}).encode()


def _limit(kind: int, value: int) -> None:
    """Set a limit of this process, which can be raised later up to what the system allows."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
