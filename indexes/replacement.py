"""Replace an index, perhaps a damaged one, by another that was built beside it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR

from ..errors import InputError, LockedError
from ..files import sync_folder
from .folder import IndexFolder
from .layout import remove_index
from .lock import WriterLock
from .manifest import FILE as MANIFEST_FILE
from .manifest import read_manifest
from .segments import FOLDER as SEGMENTS_FOLDER
from .store import FILE as STORE_FILE
from .trust import forget_former, record_made, revoke

SUFFIX = ".rebuild"  # of the folder in which the new index is built
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Replace the index at `path` when the `with` block ends; until then it stays as it is.

    Args:
        path: The folder of an index, which nothing is read from.

    Yields:
        The folder beside it in which to build the new index. After an interruption it may hold a
        part of it, from which to go on.

    Raises:
        InputError: There is something else than an index at `path`, or another process writes it.
    """
    _check_is_index(path)
    beside = path.with_name(path.name + SUFFIX)
    with _locked(path):
        if os.path.lexists(beside) and not _can_go_on(beside):
            _check_is_index(beside, least=0)
            remove_index(beside)
        yield beside
        manifest = read_manifest(beside)
        record_made(path, manifest.index_id)
        _exchange(beside, path)
        forget_former(path, manifest.index_id)
        revoke(beside, manifest.index_id)
        _remove_former(beside, path)


def _check_is_index(path: Path, least: int = 2) -> None:
    """Raise InputError unless this is a folder with so many of the parts of an index."""
    if not S_ISDIR(os.lstat(path).st_mode):
        raise InputError(f"{path} is a link or a file: name the folder of the index itself")
    parts = (MANIFEST_FILE, STORE_FILE, SEGMENTS_FOLDER)
    if sum(os.path.lexists(path / name) for name in parts) < least:
        raise InputError(f"{path} is not an index, so it is not replaced: name another folder")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let no other process write to an index, if its lock can be taken at all."""
    lock = None
    try:
        lock = WriterLock(path)
    except LockedError:
        raise
    except InputError:  # damaged so that no other can write either
        pass
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _can_go_on(beside: Path) -> bool:
    """Return whether an interrupted rebuild of this user is there and whole."""
    try:
        return IndexFolder.open(beside).is_trusted
    except (InputError, OSError):
        return False


def _exchange(beside: Path, path: Path) -> None:
    """Exchange two folders, at once where the system can."""
    arguments = (_AT_FDCWD, os.fsencode(beside), _AT_FDCWD, os.fsencode(path), _RENAME_EXCHANGE)
    try:
        exchanged = ctypes.CDLL(None).renameat2(*arguments) == 0
    except AttributeError:  # a C library without it
        exchanged = False
    if not exchanged:
        aside = path.with_name(path.name + ".old")
        os.rename(path, aside)
        os.rename(beside, path)
        os.rename(aside, beside)
    sync_folder(path.absolute().parent)


def _remove_former(former: Path, path: Path) -> None:
    """Remove the index that was replaced; files that are not its own go over to the new one."""
    remove_index(former)
    with suppress(OSError):
        for name in os.listdir(former):
            if not os.path.lexists(path / name):
                os.rename(former / name, path / name)
            elif name == ".gitignore":  # the command that builds an index makes one
                (former / name).unlink()
        former.rmdir()
