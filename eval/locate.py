"""Where a suite's data set is: a local folder, the cache, the hub, or BEIR's own zip."""

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
from .datasets import Dataset, read_beir
from .files import sha256_of
from .hub import RECORD, Unreachable, check_unchanged, fetch
from .suites.spec import Task

BEIR_ZIPS = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"


def default_cache() -> Path:
    """Where fetched data and indexes are kept: `mbert-retrieval/eval` in the user's cache folder
    (XDG_CACHE_HOME, else ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mbert-retrieval" / "eval"


def locate(task: Task, cache: Path, data_root: Path | None = None) -> Dataset:
    """The data set of a task, read and checked.

    data_root: a folder with a BEIR folder named as the task or as BEIR's zip, or with the
        repository's files under its name on the hub; nothing else is looked at then.
    Otherwise: the copy in `cache`, the hub, and with the `beir` package BEIR's own zip.

    Raises InputError when the data set is nowhere, and for broken data, naming file and line.
    """
    return read_task(task, find(task, cache, data_root))


def read_task(task: Task, folder: Path) -> Dataset:
    """The data set of a task in a folder that `find` gave."""
    dataset = read_beir(folder, task.split)
    return replace(dataset, name=task.name, source=_source(folder))


def find(task: Task, cache: Path, data_root: Path | None = None) -> Path:
    """The BEIR folder of a task, fetched if it is not there yet. See `locate`."""
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
        zipped = _from_zip(task, cache)
        if zipped is None:
            raise InputError(
                f"{error}. Name a folder that has {task.name} with --data-root"
            ) from error
        return zipped


def _in_root(task: Task, cache: Path, root: Path) -> Path:
    names = [task.name, *([task.beir[1]] if task.beir else [])]
    for name in names:
        if (root / name / "corpus.jsonl").is_file():
            return root / name
    copy = root / task.data.repo
    if not copy.is_dir():
        looked = " or ".join(f"{root / name}/corpus.jsonl" for name in names)
        raise InputError(f"{root} has no {task.name}: neither {looked} nor a folder {copy}")
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


def _from_zip(task: Task, cache: Path) -> Path | None:
    """The folder of BEIR's own zip, by the `beir` package; None without the package or the zip."""
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
        except Exception:  # whatever requests and zipfile raise: it is not to be had
            return None
        unpacked = Path(partial) / archive
        if not (Path(partial) / inside / "corpus.jsonl").is_file():
            return None
        target = cache / "data" / "beir" / archive
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacked.replace(target)
    return folder


def _source(folder: Path) -> dict[str, Any]:
    """What the record of a result says of the origin."""
    record = folder / RECORD
    if not record.is_file():
        return {"folder": folder.resolve().name}
    said = json.loads(record.read_text(encoding="utf-8"))
    return {key: said[key] for key in ("repository", "revision")}


def checksums(folder: Path, split: str) -> dict[str, str]:
    """sha256 of the three files of a BEIR folder, without reading what is in them."""
    dataset = {"corpus.jsonl", "queries.jsonl"}
    qrels = {f"qrels/{path.name}" for path in (folder / "qrels").glob(f"{split}.*")}
    return {name: sha256_of(folder / name) for name in sorted(dataset | qrels)}


def _key(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
