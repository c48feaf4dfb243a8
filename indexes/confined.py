"""Keep every file operation of an index inside its folder.

An index can come from somebody else, in a cloned repository for example, so its folder may hold
symbolic links that lead anywhere. Nothing here follows one: an index whose own files are links is
refused, and only folders with the name of a segment are removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from ..errors import InputError

DISTRUST = "remove it, and do not trust this index"
_SEGMENT_NAME = re.compile(r"[0-9]{6,}")


def check_own_files(index: Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Raise InputError if one of these exists in `index` and is not a regular file or folder."""
    for names, is_expected, what in ((files, S_ISREG, "file"), (folders, S_ISDIR, "folder")):
        for name in names:
            with suppress(OSError):  # what cannot be looked at cannot be opened either
                if not is_expected(os.lstat(index / name).st_mode):
                    raise InputError(
                        f"{index / name} is not a {what} of the index but a link or something "
                        f"else: {DISTRUST}"
                    )


def check_regular_below(folder: Path, depth: int) -> None:
    """Raise InputError if `folder`, or anything in it, is a link, device or pipe.

    depth: of the folders that are looked into; 1 for `folder` alone.

    Raises FileNotFoundError if there is no such folder.
    """
    if not S_ISDIR(os.lstat(folder).st_mode):
        raise InputError(f"{folder} is a link or not a folder: {DISTRUST}")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth > 1:
                    check_regular_below(folder / entry.name, depth - 1)
            elif not entry.is_file(follow_symlinks=False):
                raise InputError(f"{entry.path} is a link or not a regular file: {DISTRUST}")


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
            raise InputError(f"{step} is a link or not a regular file: {DISTRUST}")


def make_segment_folder(segments: Path, name: str) -> Path:
    """Make a folder in `segments`, following no link, and return its path."""
    with _opened(segments) as descriptor:
        os.mkdir(name, dir_fd=descriptor)
    return segments / name


def remove_segment(segments: Path, name: str) -> None:
    """Remove a folder in `segments`, as far as that is possible, following no link."""
    with suppress(OSError), _opened(segments) as descriptor:
        _remove(name, descriptor)


def remove_segments_except(segments: Path, keep: set[int]) -> None:
    """Remove what has the name of a segment in `segments` and a number that is not in `keep`.

    Files and folders with other names are left alone. A symbolic link is removed, not followed.
    """
    with _opened(segments) as descriptor:
        for name in os.listdir(descriptor):
            if _SEGMENT_NAME.fullmatch(name) and int(name) not in keep:
                _remove(name, descriptor)


def remove_own(index: Path, files: Iterable[str], segments: str) -> None:
    """Remove these files of an index and its segments, following no link; nothing else."""
    with suppress(OSError, InputError):
        remove_segments_except(index / segments, set())
    with suppress(OSError), _opened(index) as descriptor:
        for name in (*files, segments):  # a link goes, what it leads to stays
            with suppress(OSError):
                os.unlink(name, dir_fd=descriptor)
        with suppress(OSError):
            os.rmdir(segments, dir_fd=descriptor)


def unexpected_segments(segments: Path) -> list[Path]:
    """Return what has the name of a segment and is no folder."""
    with os.scandir(segments) as entries:
        return sorted(
            segments / entry.name
            for entry in entries
            if _SEGMENT_NAME.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False)
        )


def _remove(name: str, descriptor: int) -> None:
    """Remove an entry of an open folder, with what is in it if it is a folder and no link."""
    try:
        is_folder = S_ISDIR(os.lstat(name, dir_fd=descriptor).st_mode)
    except FileNotFoundError:  # another process was quicker
        return
    if is_folder:
        shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)
    else:
        with suppress(OSError):
            os.unlink(name, dir_fd=descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder that is no link, for functions that take `dir_fd`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
