"""The record of one evaluation: its measures and everything that produced them, one JSON file."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import write_whole

PACKAGES = (
    "mbert-retrieval",
    "torch",
    "numpy",
    "faiss-cpu",
    "datasets",
    "ir_measures",
    "pytrec_eval-terrier",
    "sentence-transformers",
)


_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Result:
    """One cell of a table: a system on a dataset.

    system: how the table names it.
    dataset: name, split, documents, queries, judgements, checksums (file name to sha256), source.
    encoder: name, fingerprint, kind, dimension, and the lengths that it reads and the precision
        that it computes in where it has them; None for BM25 alone and for a foreign run file.
    index: kind, seconds to build, reused (documents that were there already, not built again),
        bytes of the folder, vectors, bytes_per_vector, settings; None for a foreign run file.
    search: what was asked (mode, k, drop_own_id) and seconds for all queries in batches, their
        encoding included; latency_ms, one query at a time (median, p95, how many queries); for a
        foreign run file its name and checksum.
    measures, per_query: see `measures.Scores`.
    environment: see `environment`.
    peak_memory_bytes: the most that the process had resident up to the end of this evaluation.
    created: UTC, ISO 8601.
    suite: name, task, column, and the published row that it is meant to reproduce; None outside of
        a suite.
    """

    system: str
    dataset: dict[str, Any]
    encoder: dict[str, Any] | None
    index: dict[str, Any] | None
    search: dict[str, Any]
    measures: dict[str, float]
    per_query: dict[str, dict[str, float]]
    environment: dict[str, Any]
    peak_memory_bytes: int | None
    created: str
    suite: dict[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """The record without the values of each query."""
        record = asdict(self)
        del record["per_query"]
        return record

    def write(self, path: str | Path) -> None:
        """Write the record. Raises InputError when the file cannot be written."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        write_whole(Path(path), text + "\n")


def read_results(folder: str | Path) -> list[Result]:
    """Every `*.json` in a folder, in the order of their names.

    Raises InputError when the folder holds none, or one that is not a result.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name one with result files")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(f"{folder} holds no result files: mbert-eval run --output makes them")
    return [read_result(path) for path in paths]


def read_result(path: Path) -> Result:
    """Read one record. Raises InputError when the file is not one."""
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
        result.dataset["name"], result.dataset["split"], result.dataset["checksums"]
        {name: float(value) for name, value in result.measures.items()}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} is not a result file of mbert-eval") from None
    return result


def cell_file(dataset: str, split: str, system: str, suite: str | None = None) -> str:
    """The name of a cell's file: suite, data set, split and system, in lower case."""
    parts = [*([suite] if suite else []), dataset, split, system]
    return "-".join(_SLUG.sub("-", part.lower()).strip("-") for part in parts) + ".json"


def now() -> str:
    """The time for `Result.created`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Versions and machine: python, platform, processor, cpus, packages, git commit.

    Reads installed metadata, so it imports nothing heavy. "git" is the commit of the checkout that
    this package runs from ("-dirty" appended when files differ from it), None when there is none.
    """
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "packages": packages,
        "git": _git_commit(),
    }


def peak_memory_bytes() -> int | None:
    """Largest resident size of this process so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _git_commit() -> str | None:
    here = Path(__file__).resolve()
    tracked = ["git", "-C", str(here.parent), "ls-files", "--error-unmatch", here.name]
    describe = ["git", "-C", str(here.parent), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        subprocess.run(tracked, capture_output=True, check=True, timeout=30)
        done = subprocess.run(
            [*describe, "--exclude=*"], capture_output=True, check=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
