"""The files of an index folder: prepare a folder for them, and refuse links among them.

my.index/
  manifest.json      the encoders and engines; written once, last     (module `manifest`)
  store.sqlite       passages, BM25, live segments, tombstones        (module `store`)
  segments/NNNNNN/   vectors, immutable                               (module `segments`)
  writer.lock        who is writing                                   (module `lock`)
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import InputError
from ..files import make_folder
from .confined import check_own_files, remove_own
from .lock import FILE as LOCK_FILE
from .manifest import FILE as MANIFEST_FILE
from .segments import FOLDER as SEGMENTS_FOLDER
from .store import FILE as STORE_FILE

# what an interrupted `create` leaves behind, beside the folder of segments
_STORES = {STORE_FILE + suffix for suffix in ("", "-wal", "-shm", "-journal")}
_UNFINISHED = {*_STORES, LOCK_FILE, MANIFEST_FILE + ".new"}
_UNFINISHED_MANIFEST = re.compile(re.escape(MANIFEST_FILE) + r"\.\d+-\d+\.new")


def check_no_links(path: Path) -> None:
    """Raise InputError if something that the index reads, writes or removes is a link."""
    check_own_files(path, {MANIFEST_FILE, *_UNFINISHED}, [SEGMENTS_FOLDER])


def prepare(path: Path) -> None:
    """Make the folder of a new index.

    Raises:
        InputError: If it contains anything but the remains of an interrupted `create`.
    """
    try:
        make_folder(path, exist_ok=True)
        names = {file.name for file in path.iterdir()}
    except OSError as error:
        raise InputError(f"cannot make the index {path}: {error.strerror}") from None
    check_no_links(path)
    if MANIFEST_FILE in names:
        raise InputError(f"{path} is an index already: add to it, or remove it first")
    if foreign := {name for name in names if not _is_unfinished(name)}:
        raise InputError(f"{path} is not empty (it has {min(foreign)!r}): name another folder")


def remove_unfinished(path: Path) -> None:
    """Remove the remains of an interrupted `create`, except the lock."""
    names = {name for name in os.listdir(path) if _is_unfinished(name)}
    remove_own(path, names - {LOCK_FILE, SEGMENTS_FOLDER}, SEGMENTS_FOLDER)


def remove_index(path: Path) -> None:
    """Remove the files of an index, as far as that is possible, and nothing else in its folder."""
    names = {name for name in os.listdir(path) if name == MANIFEST_FILE or _is_unfinished(name)}
    remove_own(path, names - {SEGMENTS_FOLDER}, SEGMENTS_FOLDER)


def _is_unfinished(name: str) -> bool:
    return name in {*_UNFINISHED, SEGMENTS_FOLDER} or bool(_UNFINISHED_MANIFEST.fullmatch(name))
