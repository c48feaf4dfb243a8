"""Split files in a process of its own, so that no file can stop what reads it.

A file can make a parser run for hours, need all memory, or crash. The process that splits files has
limits for each, and the kernel ends it where a limit is reached; the next file gets a new one.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..errors import InputError, UnreadableError
from ..types import Passage
from .reader_process import READY, seconds_for
from .scan import SourceFile
from .selection import Selection

# Isolated, without `site`, which takes longer than everything else; the path is the parent's.
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    f"from {__package__}.reader_process import main; main()"
)


class ConfinedReader:
    """Splits files in another process, which starts for the first and ends with the `with` block.

    Example:
        >>> from mbert_retrieval.sources.scan import SourceFile
        >>> from mbert_retrieval.sources.selection import EVERYTHING
        >>> with ConfinedReader() as reader:
        ...     file = SourceFile("a.py", 3, 0)
        ...     [passage.id for passage in reader.passages(file, "a.py", b"x=1", EVERYTHING)]
        ['a.py:1-1']
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def __enter__(self) -> ConfinedReader:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def passages(
        self, file: SourceFile, path: str, content: bytes, selection: Selection
    ) -> list[Passage]:
        """Return the passages of one file.

        Args:
            file: A file of a scan.
            path: Its path as passages state it.
            content: All bytes of the file, see `passages.read_file`.
            selection: How to split the file.

        Returns:
            What `passages.file_passages` yields.

        Raises:
            InputError: As there, and where the file takes too much time or memory, or crashes its
                parser. The message is the reason alone.
            UnreadableError: Something else ended the process, so that nothing is known of the file.
        """
        request = {
            "path": path,
            "explicit": file.explicit,
            "selection": selection.to_json(),
            "size": len(content),
        }
        answer = self._send(json.dumps(request).encode() + b"\n" + content)
        if answer is None:
            raise self._reason(len(content))
        if "reason" in answer:
            raise InputError(answer["reason"])
        return [Passage(*fields) for fields in answer["passages"]]

    def _send(self, request: bytes) -> dict | None:
        """Return the answer to a request, None if the process ended instead."""
        process = self._process or self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        if not self._is_ready and process.stdout.readline() != READY:
            self._stop()
            raise InputError(
                f"cannot start {sys.executable} as the process that reads files: nothing was read"
            )
        self._is_ready = True
        try:
            process.stdin.write(request)
            process.stdin.flush()
        except BrokenPipeError:
            return None
        line = process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def _reason(self, size: int) -> InputError:
        """Return why the process ended while it had a file of this size."""
        assert self._process is not None
        code = self._process.wait()
        self._stop()
        if code == -signal.SIGXCPU:
            return InputError(f"takes more than {seconds_for(size)} s of processor time")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return UnreadableError("the process that read it was ended from outside")
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return InputError(f"crashes its parser ({ended})")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, so that it is ready earlier."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C at a terminal is for this process, which ends the other
        )
        self._is_ready = False
        assert process.stdin is not None
        here = str(Path(__file__).parents[__package__.count(".") + 1])
        with suppress(BrokenPipeError):  # `_send` notices that it did not start
            process.stdin.write(json.dumps([here, *sys.path]).encode() + b"\n")
            process.stdin.flush()
        return process

    def _stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # of a request that it did not read
                    stream.close()
