"""Copy an index, sharing the files of its vectors with the original."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from ..errors import InputError
from ..files import make_folder, sync_file, sync_folder
from .folder import IndexFolder
from .manifest import write_manifest
from .segments import FOLDER as SEGMENTS_FOLDER
from .snapshot import open_snapshot
from .store import FILE as STORE_FILE
from .store import store_errors
from .trust import record_made

ATTEMPTS = 3


def copy_index(source: IndexFolder, target: Path) -> None:
    """Copy the newest commit of an index.

    Segments never change, so their files are hard links where the file system allows; the store is
    copied, and forced to the disk. The manifest is written last: before that, `target` is not an
    index. The copy is trusted if the original is.

    Args:
        source: The index to copy.
        target: The folder to make; it must not exist.

    Raises:
        InputError: If the copy cannot be made. An unfinished copy is removed.
    """
    try:
        make_folder(target)
    except OSError as error:
        raise InputError(f"cannot make the index {target}: {error.strerror}") from None
    try:
        for attempt in range(ATTEMPTS):
            try:
                _copy(source, target)
                break
            except FileNotFoundError:  # a writer dropped a segment meanwhile
                if attempt + 1 == ATTEMPTS:
                    raise
        if source.is_trusted:
            record_made(target, source.manifest.index_id)
        write_manifest(target, source.manifest)
    except (OSError, InputError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise InputError(f"cannot copy the index {source.path} to {target}: {error}") from None


def _copy(source: IndexFolder, target: Path) -> None:
    snapshot = open_snapshot(source.path, source.manifest)
    (target / STORE_FILE).unlink(missing_ok=True)
    shutil.rmtree(target / SEGMENTS_FOLDER, ignore_errors=True)
    (target / SEGMENTS_FOLDER).mkdir()
    with store_errors(source.path):
        store = sqlite3.connect(target / STORE_FILE, isolation_level=None)
        try:
            snapshot.connection.backup(store)
            store.execute("PRAGMA journal_mode = WAL")
        finally:
            store.close()
    for segment in snapshot.segments:
        folder = target / segment.record.folder
        shutil.copytree(source.path / segment.record.folder, folder, copy_function=_link)
        for path, _, _ in os.walk(folder):
            sync_folder(Path(path))
    sync_folder(target / SEGMENTS_FOLDER)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
        sync_file(Path(target))
