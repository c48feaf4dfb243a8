"""Keep every file operation of an index inside its folder.

An index can come from somebody else, in a cloned repository for example, so its folder may hold
symbolic links that lead anywhere. Nothing here follows one: an index whose own files are links is
refused, and only folders with the name of a segment are removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from ..errors import InputError

_SEGMENT_NAME = re.compile(r"[0-9]{6,}")


def check_own_files(index: Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Raise InputError if one of these exists in `index` and is not a regular file or folder."""
    for names, is_expected, what in ((files, S_ISREG, "file"), (folders, S_ISDIR, "folder")):
        for name in names:
            with suppress(OSError):  # what cannot be looked at cannot be opened either
                if not is_expected(os.lstat(index / name).st_mode):
                    raise InputError(
                        f"{index / name} is not a {what} of the index but a link or something "
                        "else: remove it, and do not trust this index"
                    )


def check_inside(folder: Path, name: str) -> None:
    """Raise InputError unless `name` is a relative path below `folder` with no link on the way.

    Raises FileNotFoundError if there is no such file.
    """
    parts = name.split("/")
    if not all(part not in ("", ".", "..") and "\0" not in part for part in parts):
        raise InputError(f"{folder} is damaged: {name!r} cannot be the name of a file in it")
    for depth in range(len(parts) + 1):
        step = folder.joinpath(*parts[:depth])
        is_expected = S_ISREG if depth == len(parts) else S_ISDIR
        if not is_expected(os.lstat(step).st_mode):
            raise InputError(f"{step} is a link or not a regular file: do not trust this index")


def remove_segments_except(segments: Path, keep: set[int]) -> None:
    """Remove the segment folders in `segments` whose numbers are not in `keep`.

    Files and folders with other names are left alone, and no symbolic link is followed.
    """
    descriptor = os.open(segments, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in os.listdir(descriptor):
            if _SEGMENT_NAME.fullmatch(name) and int(name) not in keep:
                shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)
    finally:
        os.close(descriptor)
