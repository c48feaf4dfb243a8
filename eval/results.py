"""Result files: the measures of one evaluation and everything that produced them, as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import write_text_file

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
    """One evaluation: a system on a data set, one cell of a table.

    Args:
        system: Name of the system in tables.
        dataset: "name", "split", numbers of "documents", "queries" and "judgements", "checksums"
            (SHA-256 by file name), "source".
        encoder: "name", "fingerprint", "kind", "dimension", "query_length" and "document_length"
            in tokens, "precision"; None for BM25 alone and for a run file.
        index: "kind" (the engine), "seconds" to build, "reused" (documents that were indexed
            before), "bytes" of the folder, "vectors", "bytes_per_vector", "settings"; None for a
            run file.
        search: "mode", "k", "drop_own_id", "seconds" for all queries in batches (encoding
            included), "latency_ms" of single queries ("median", "p95", number of "queries"); for a
            run file its name and checksum. "queries_without_results" counts queries.
        measures: Means by measure, see `Scores`.
        per_query: Values by measure and query, see `Scores`.
        environment: Versions and machine, see `environment`.
        peak_memory_bytes: Largest resident size of the process up to the end of the evaluation.
        created: Time in UTC, ISO 8601.
        suite: "name", "task", "column", and the "published" row that the result is meant to
            reproduce; None outside of a suite.
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
        """Return the record without the values of each query."""
        record = asdict(self)
        del record["per_query"]
        return record

    def write(self, path: str | Path) -> None:
        """Write the record as JSON.

        Args:
            path: The file.

        Raises:
            InputError: The file cannot be written.
        """
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        write_text_file(Path(path), text + "\n")


@dataclass(frozen=True)
class EncoderRecord:
    """The description of an encoder in a result file.

    Args:
        name: Name or folder of the encoder.
        fingerprint: Identity of its files and settings.
        kind: "late" or "dense".
        dimension: Dimension of its vectors; None for several encoders.
        query_length: Tokens read of a query, None if unknown.
        document_length: Tokens read of a document, None if unknown.
        precision: The precision that its network computes in, None if unknown. Documents that were
            indexed before may have been encoded in another one.
    """

    name: str
    fingerprint: str
    kind: str
    dimension: int | None
    query_length: int | None = None
    document_length: int | None = None
    precision: str | None = None

    @classmethod
    def of(cls, encoder: Any) -> EncoderRecord:
        """Describe an encoder, or the identity of an encoder that an index stores."""
        query, document = (
            getattr(getattr(encoder, s, None), "limit", None) for s in ("query", "document")
        )
        identity = encoder.name, encoder.fingerprint, encoder.kind, encoder.dimension
        return cls(*identity, query, document, getattr(encoder, "precision", None))

    @classmethod
    def join(cls, several: Sequence[EncoderRecord]) -> EncoderRecord | None:
        """Describe the encoders of one index together; None if there are none."""
        if len(several) < 2:
            return several[0] if several else None
        return cls(
            name=" + ".join(each.name for each in several),
            fingerprint=" + ".join(each.fingerprint for each in several),
            kind=" + ".join(each.kind for each in several),
            dimension=None,
        )


def read_results(folder: str | Path) -> list[Result]:
    """Read every `*.json` of a folder, in the order of their names.

    Args:
        folder: A folder of result files.

    Returns:
        The results.

    Raises:
        InputError: The folder contains no result file, or a file that is not one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name one with result files")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(f"{folder} contains no result files: mbert-eval run --output writes them")
    return [read_result(path) for path in paths]


def read_result(path: Path) -> Result:
    """Read one result file.

    Args:
        path: The file.

    Returns:
        The result.

    Raises:
        InputError: The file cannot be read or is not a result.
    """
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
    """Return the name of a result file.

    Args:
        dataset: Name of the data set.
        split: Its split.
        system: Name of the system.
        suite: Name of the suite, if the result belongs to one.

    Returns:
        The parts in lower case, joined by hyphens.

    Example:
        >>> cell_file("scifact", "test", "nano late (plaid)", "beir")
        'beir-scifact-test-nano-late-plaid.json'
    """
    parts = [*([suite] if suite else []), dataset, split, system]
    return "-".join(_SLUG.sub("-", part.lower()).strip("-") for part in parts) + ".json"


def now() -> str:
    """Return the current time for `Result.created`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Describe software and machine; reads installed metadata, so it imports nothing heavy.

    Returns:
        "python", "platform", "processor", "cpus", "packages" (versions by name), and "git": the
        commit of the checkout that this package runs from ("-dirty" appended if files differ), or
        None.
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
    """Return the largest resident size of this process so far; None on Windows."""
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
