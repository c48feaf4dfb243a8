"""Text files: reading by numbered lines with plain faults, writing whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError


class Digest(Protocol):
    """What `hashlib.sha256()` returns."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def fault(path: Path, line: int, message: str) -> InputError:
    """The error for one line of a file, in the form that editors and compilers use."""
    return InputError(f"{path}:{line}: {message}")


def read_lines(path: Path, digest: Digest | None = None) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) for every line that is not blank.

    Only a line feed ends a line (Unicode's other separators may stand inside JSON strings).
    digest: fed every byte of the file, so that one pass both reads and checksums.

    Raises InputError when the file cannot be read or a line is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                if digest is not None:
                    digest.update(raw)
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise fault(path, number, f"not UTF-8 ({error.reason})") from None
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def read_objects(path: Path, digest: Digest | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for every line of a JSON-lines file. Raises InputError on any other."""
    for number, line in read_lines(path, digest):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            message = f"broken JSON: {error.msg} (column {error.colno})"
            raise fault(path, number, message) from None
        except RecursionError:
            raise fault(path, number, "broken JSON: nested too deeply") from None
        if not isinstance(value, dict):
            raise fault(path, number, f"expected a JSON object, found {type(value).__name__}")
        yield number, value


def make_parent(path: Path) -> None:
    """Make the folder that a file will be written to, before the work that fills it.

    Raises InputError when it cannot be made or the path is a folder itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file to write")


def write_whole(path: Path, text: str) -> None:
    """Write a file by renaming a finished one into place. Raises InputError when it cannot."""
    make_parent(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes its name once it is filled: it is there whole or not.

    Raises InputError when it cannot be written, or something is there already.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already: remove it first")
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
