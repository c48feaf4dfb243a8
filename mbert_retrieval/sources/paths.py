"""Paths of sources: the folder that passages' paths start from, and what a path points to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

BEIR_CORPUS = "corpus.jsonl"
COLLECTION_SUFFIXES = (".jsonl", ".ndjson")
INDEX_FILES = ("manifest.json", "store.sqlite")  # a folder with both is an index


def source_root(sources: Sequence[str | Path]) -> Path:
    """Return the folder that the paths of the sources' passages are relative to.

    This is the folder itself if the only source is a folder, else the deepest folder that contains
    all sources. Collections (`.jsonl` files and BEIR folders) do not count, because their passages
    have no path.

    Args:
        sources: Files and folders.

    Returns:
        A full path, with symbolic links resolved. The current folder if all sources are
        collections.

    Raises:
        TypeError: If `sources` is one path instead of a sequence of paths.
        InputError: If a source does not exist or cannot be read.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> library = Path(json.__file__).resolve().parent
        >>> source_root([library / "encoder.py", library / "decoder.py"]) == library
        True
    """
    paths = [path for path in existing_paths(sources) if not collection_file(path)]
    folders = [path if path.is_dir() else path.parent for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


def existing_paths(sources: Sequence[str | Path]) -> list[Path]:
    """Return the full paths of sources. Raise InputError if one does not exist."""
    if isinstance(sources, (str, os.PathLike)):
        raise TypeError(f"sources must be a sequence of paths, not one path: [{sources!r}]")
    return [_existing_path(source) for source in sources]


def _existing_path(source: str | Path) -> Path:
    path = Path(source)
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        raise InputError(f"no such file or folder: {path}") from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise InputError(f"cannot read {str(path)!r}: {error}") from None


def collection_file(path: Path) -> Path | None:
    """Return the `.jsonl` file to read if the source is a collection, else None."""
    if path.is_dir():
        corpus = path / BEIR_CORPUS
        return corpus if os.path.isfile(corpus) else None
    return path if path.suffix.lower() in COLLECTION_SUFFIXES and path.is_file() else None


def is_index(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is an index of this library."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in INDEX_FILES)


def passage_path(path: Path, root: Path) -> str:
    """Return a file's path as passages state it: below `root` if it is there, else in full."""
    return display_path(path.relative_to(root) if path.is_relative_to(root) else path)


def display_path(path: str | os.PathLike[str]) -> str:
    """Return a path with forward slashes. Bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace").replace(os.sep, "/")
