"""The data of a suite's task: from a local folder, the cache, the hub, or BEIR's own archive."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import InputError
from ..files import sha256_of_file
from .datasets import Dataset, read_beir
from .hub import RECORD, Unreachable, check_unchanged, fetch
from .suites.spec import Task

BEIR_ZIPS = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"


def default_cache() -> Path:
    """Return `mbert-retrieval/eval` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mbert-retrieval" / "eval"


def load_dataset(task: Task, cache: Path, data_root: Path | None = None) -> Dataset:
    """Find, read and check the data set of a task.

    Args:
        task: A task of a suite.
        cache: Folder for fetched data.
        data_root: Folder with local data: a BEIR folder with the name of the task or of BEIR's
            archive, or a copy of the repository under its name on the hub. If it is given, nothing
            is downloaded. Otherwise the data comes from `cache`, from the hub, or (with the `beir`
            package) from BEIR's own archive, in this order.

    Returns:
        The data set, under the name of the task.

    Raises:
        InputError: The data set cannot be found, or it is broken; the message names file and line.
    """
    return read_task(task, find_folder(task, cache, data_root))


def read_task(task: Task, folder: Path) -> Dataset:
    """Read the data set of a task from the folder that `find_folder` returned."""
    dataset = read_beir(folder, task.split)
    return replace(dataset, name=task.name, source=_source(folder))


def find_folder(task: Task, cache: Path, data_root: Path | None = None) -> Path:
    """Return the BEIR folder of a task, fetching it if necessary; see `load_dataset`."""
    if data_root is not None:
        return _in_root(task, cache, data_root)
    folder = cache / "data" / f"{task.name}-{_key(asdict(task.data))}"
    if folder.is_dir():
        check_unchanged(folder)
        return folder
    try:
        fetch(task.data, folder, task.split)
        return folder
    except Unreachable as error:
        unpacked = _from_beir_archive(task, cache)
        if unpacked is None:
            raise InputError(
                f"{error}. Name a folder that contains {task.name} with --data-root"
            ) from error
        return unpacked


def _in_root(task: Task, cache: Path, root: Path) -> Path:
    names = [task.name, *([task.beir[1]] if task.beir else [])]
    for name in names:
        if (root / name / "corpus.jsonl").is_file():
            return root / name
    copy = root / task.data.repo
    if not copy.is_dir():
        candidates = " or ".join(f"{root / name}/corpus.jsonl" for name in names)
        raise InputError(f"{root} has no {task.name}: neither {candidates} nor a folder {copy}")
    states = {
        path.relative_to(copy).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(copy.rglob("*"))
        if path.is_file()
    }
    state = {"data": asdict(task.data), "copy": str(copy.resolve()), "files": states}
    folder = cache / "data" / f"{task.name}-{_key(state)}"
    if folder.is_dir():
        check_unchanged(folder)
    else:
        fetch(task.data, folder, task.split, repo=str(copy))
    return folder


def _from_beir_archive(task: Task, cache: Path) -> Path | None:
    """Return the folder of BEIR's own archive; None without the `beir` package or the archive."""
    if task.beir is None:
        return None
    archive, inside = task.beir
    folder = cache / "data" / "beir" / inside
    if folder.is_dir():
        return folder
    try:
        from beir.util import download_and_unzip
    except ModuleNotFoundError:
        return None
    (cache / "data").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache / "data") as partial:
        try:
            download_and_unzip(f"{BEIR_ZIPS}/{archive}.zip", partial)
        except Exception:  # whatever requests and zipfile raise: no archive
            return None
        unpacked = Path(partial) / archive
        if not (Path(partial) / inside / "corpus.jsonl").is_file():
            return None
        target = cache / "data" / "beir" / archive
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacked.replace(target)
    return folder


def _source(folder: Path) -> dict[str, Any]:
    """Return `Dataset.source` of a folder."""
    record = folder / RECORD
    if not record.is_file():
        return {"folder": folder.resolve().name}
    origin = json.loads(record.read_text(encoding="utf-8"))
    return {key: origin[key] for key in ("repository", "revision")}


def checksums(folder: Path, split: str) -> dict[str, str]:
    """Return the SHA-256 of corpus, queries and qrels by file name, without parsing the files."""
    dataset = {"corpus.jsonl", "queries.jsonl"}
    qrels = {f"qrels/{path.name}" for path in (folder / "qrels").glob(f"{split}.*")}
    return {name: sha256_of_file(folder / name) for name in sorted(dataset | qrels)}


def _key(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
