"""Files of lines, read with their numbers for messages; files and folders written atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from ..files import write_atomically


class Digest(Protocol):
    """What `hashlib.sha256()` returns."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def line_error(path: Path, line: int, message: str) -> InputError:
    """Return the error for one line of a file, as `path:line: message`."""
    return InputError(f"{path}:{line}: {message}")


def read_lines(path: Path, digest: Digest | None = None) -> Iterator[tuple[int, str]]:
    """Iterate over the lines of a UTF-8 file that are not blank.

    Only a line feed ends a line: Unicode's other separators may occur inside JSON strings.

    Args:
        path: The file.
        digest: Updated with every byte of the file, so that one pass both reads and checksums it.

    Yields:
        The line number, counted from 1, and the text without its line end.

    Raises:
        InputError: The file cannot be read, or a line is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                if digest is not None:
                    digest.update(raw)
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise line_error(path, number, f"not UTF-8 ({error.reason})") from None
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def read_objects(path: Path, digest: Digest | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the objects of a JSON-lines file.

    Args:
        path: The file, with one JSON object per line.
        digest: As in `read_lines`.

    Yields:
        The line number, counted from 1, and the object.

    Raises:
        InputError: A line is not a JSON object.
    """
    for number, line in read_lines(path, digest):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            message = f"broken JSON: {error.msg} (column {error.colno})"
            raise line_error(path, number, message) from None
        except RecursionError:
            raise line_error(path, number, "broken JSON: nested too deeply") from None
        if not isinstance(value, dict):
            raise line_error(path, number, f"expected a JSON object, not {type(value).__name__}")
        yield number, value


def make_parent(path: Path) -> None:
    """Create the folder that a file will be written to, before the work that produces the file.

    Args:
        path: The file to be written.

    Raises:
        InputError: The folder cannot be created, or `path` is itself a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file to write")


def write_text_file(path: Path, text: str) -> None:
    """Write a UTF-8 file and the folder it belongs to; readers see the old text or all of the new.

    Args:
        path: The file.
        text: Its new content.

    Raises:
        InputError: The file cannot be written.
    """
    make_parent(path)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Create a folder that appears under its name only when the `with` block succeeds.

    Args:
        folder: The folder to create.

    Yields:
        A temporary folder beside it, for the block to fill; it is renamed at the end.

    Raises:
        InputError: The folder exists already, or cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder} already exists: remove it first")
    make_parent(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        partial.replace(folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
